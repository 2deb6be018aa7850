package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// No web server of another user can reach $XDG_RUNTIME_DIR, and nobody is to
// open it.
func TestDoctorDoesNotOpenTheRuntimeDirectoryOfAUser(t *testing.T) {
	dir := openDir(t)
	t.Setenv("XDG_RUNTIME_DIR", dir+"/run")
	t.Setenv("XDG_CONFIG_HOME", dir+"/config")
	for _, d := range []string{dir + "/run", dir + "/run/scgid", dir + "/config", dir + "/config/scgid"} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config/scgid/mine.conf"), []byte("[Worker]\nExecStart=/bin/true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := dir + "/run/scgid/mine.sock"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	out, errs, _ := ctlRun(t, "doctor", "mine", "--json", "--web-user", "nobody", "--timeout", "3s")
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	if strings.Contains(out, "chmod") {
		t.Errorf("doctor would open the directory")
	}
	var seen []grade
	for _, k := range d.Checks {
		if k.Check == socketCheck {
			seen = append(seen, k.Grade)
		}
	}
	if len(seen) != 2 || seen[0] != good || seen[1] != notable {
		t.Errorf("the checks of the socket:\n%s", findings(d))
	}
}
