package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// need returns the path of a program of others that a test uses.
func need(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs %s", name)
		}
		t.Skipf("needs %s", name)
	}
	return path
}

var (
	buildMutex sync.Mutex
	built      = map[string]string{}
)

// build builds one of our other commands, once. It lies beside the scgid that
// the scripts run, in a directory that ends with the test binary.
func build(t *testing.T, name string) string {
	t.Helper()
	buildMutex.Lock()
	defer buildMutex.Unlock()
	if built[name] != "" {
		return built[name]
	}
	scgid, err := exec.LookPath("scgid")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(scgid), name+".built")
	if out, err := exec.Command("go", "build", "-o", path, "../"+name).CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v\n%s", name, err, out)
	}
	built[name] = path
	return path
}
