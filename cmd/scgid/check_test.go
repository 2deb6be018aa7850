package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Whatever is the matter with a configuration, scgid(8) promises status 2.
func TestAWrongOrMissingConfigurationIsExitStatus2(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	folder := filepath.Join(dir, "folder.conf")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	good := "[Pool]\nListen=@scgid-test-none\n[Worker]\nExecStart=/bin/true\n"
	bad, gone, spaced := file("bad.conf", "[Pool]\nMinWorker=2\n"), file("gone.conf", "[Worker]\nExecStart=/no/such\n"), file("a b.conf", good)
	for _, args := range [][]string{
		{"check", "a b"},
		{"check", ""},
		{"check", "no-such-pool"},
		{"check", dir + "/none.conf"},
		{"check", bad + "/none.conf"},
		{"check", folder},
		{"check", folder + "/"},
		{"check", spaced},
		{"check", bad},
		{"check", gone},
		{"serve", "a b"},
		{"serve", "no-such-pool"},
		{"serve", "--config", dir + "/none.conf"},
		{"serve", "--config", folder},
		{"serve", "--config", spaced},
		{"serve", "--config", bad},
	} {
		if status, out := scgidStatus(t, args...); status != exitUsage {
			t.Errorf("scgid %q: exit status %d, want %d: %s", args, status, exitUsage, out)
		}
	}
	if status, out := scgidStatus(t, "check", file("good.conf", good)); status != 0 {
		t.Errorf("a good one: exit status %d: %s", status, out)
	}
}

// scgidStatus runs scgid to its end.
func scgidStatus(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	cmd := exec.Command(self(t), args...)
	cmd.Env = append(os.Environ(), beScgid+"=1")
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(said)
}
