package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control/api"
)

// shellTests are shells as people have them, with what makes them complete.
// $D is a directory with the scripts as they are installed.
var shellTests = []struct {
	name, shell string
	args        []string
	begin       string
}{
	{"bash with the package bash-completion", "bash", []string{"--norc", "--noprofile"},
		". /usr/share/bash-completion/bash_completion; export BASH_COMPLETION_USER_DIR=$D"},
	{"bash without it", "bash", []string{"--norc", "--noprofile"}, ". $D/completions/scgictl"},
	{"zsh", "zsh", []string{"-f"}, "fpath=($D/zsh $fpath); autoload -U compinit; compinit -u -D"},
	{"fish", "fish", []string{"--no-config"}, "source $D/scgictl.fish"},
}

// The scripts complete in the shells themselves, at the press of a key: verbs,
// names of pools, ids of workers, flags.
func TestCompletionInTheShellsThemselves(t *testing.T) {
	dir, err := os.MkdirTemp("", "cmp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for script, path := range map[string]string{"bash": "completions/scgictl", "zsh": "zsh/_scgictl", "fish": "scgictl.fish"} {
		text, _, status := ctlRun(t, "completion", script)
		if status != exitDone {
			t.Fatalf("scgictl completion %s: exit status %d", script, status)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"wiki", "blog"} {
		socket := filepath.Join(dir, "system", name, api.SocketName)
		if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
			t.Fatal(err)
		}
		startTopPool(t, socket, "-name", name, "-busy", "1")
	}
	for _, tt := range shellTests {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			t.Parallel() // the shells mostly wait
			shell, err := exec.LookPath(tt.shell)
			if err != nil && os.Getenv("CI") == "true" {
				t.Fatal("needs " + tt.shell)
			} else if err != nil {
				t.Skip("needs " + tt.shell)
			}
			m := runTmux(t, 100, 40, []string{"D=" + dir, envSystem + "=" + dir + "/system", "XDG_RUNTIME_DIR=" + dir + "/none", "HOME=" + dir,
				"LC_ALL=C.UTF-8", envPool + "=", "PATH=" + os.Getenv("PATH")}, append([]string{shell}, append(tt.args, "-i")...))
			m.keys("cd /; "+tt.begin+"; echo be''gun", "Enter")
			m.shows("begun")
			press := func(typed string, want ...string) {
				t.Helper()
				cleared := time.Time{}
				m.until("an empty line", func(s string) bool {
					if time.Since(cleared) > 2*time.Second { // what came late is cleared too
						m.keys("C-u", "C-l")
						cleared = time.Now()
					}
					return !strings.Contains(s, "scgictl ")
				})
				m.keys(typed)
				m.shows(strings.TrimSpace(typed))
				pressed := time.Now()
				m.keys("Tab")
				m.until(strings.Join(want, " "), func(s string) bool {
					for _, w := range want {
						if !strings.Contains(s, w) {
							// Bash lists at the second press; others have nothing more to do.
							if tt.shell == "bash" && time.Since(pressed) > 500*time.Millisecond {
								m.keys("Tab")
								pressed = time.Now()
							}
							return false
						}
					}
					return true
				})
			}
			press("scgictl sca", "scgictl scale")
			press("scgictl status ", "blog", "wiki")
			press("scgictl status wi", "scgictl status wiki")
			press("scgictl retire wiki ", "pid 4712, busy", "pid 4713, idle")
			press("scgictl log-level wiki wa", "scgictl log-level wiki warning")
			press("scgictl scale wiki --min-", "--min-idle")
			press("scgictl completion f", "scgictl completion fish")
		})
	}
}
