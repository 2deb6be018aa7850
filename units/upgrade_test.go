package units

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// sbin is the server's program, where the units have it.
const sbin = "/usr/sbin/scgid"

// upgradeTo puts a program where the server's is, as a package does: the old
// file continues to exist only in those that run it.
func (m *machine) upgradeTo(t *testing.T, text []byte) {
	t.Helper()
	path, mode := m.path(sbin), os.FileMode(scgidMode)
	if strings.HasPrefix(string(text), "#!") {
		mode = 0o755 // an interpreter has to read it
	}
	if err := os.WriteFile(path+".new", text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// builtAs returns a program of ours, built with these flags.
func builtAs(t *testing.T, flags ...string) []byte {
	t.Helper()
	path := t.TempDir() + "/scgid"
	if err := build(path, "scgid", flags...); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// keepProgram puts the program back at the end of the test.
func (m *machine) keepProgram(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(m.path(sbin))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.upgradeTo(t, text) })
	return text
}

func TestUpgradesUnderLoadFailNoRequest(t *testing.T) {
	const upgrades = 20
	m := booted(t)
	builds := [][]byte{m.keepProgram(t), builtAs(t, "-ldflags", "-X main.version=9.9.9")}
	p := newPool(t, "upgraded", "[Pool]\nMinWorkers=2\nMaxWorkers=4\n"+wsgi)
	l := newLoad(p, 32)
	p.m.run(t, "scgictl", "scale", p.name, "--max", "3")
	held := p.hold(1, "over")
	master := p.show(p.service(), "MainPID")
	for i := 1; i <= upgrades; i++ {
		m.upgradeTo(t, builds[i%2])
		var thrown sync.WaitGroup
		// Each reload takes its time.
		more := map[int][]string{0: {"systemctl", "kill", "--kill-who=main", "-s", "HUP", p.service()}, 2: {"systemctl", "reload", p.service()}}[i%4]
		if more != nil {
			thrown.Add(1)
			go func() {
				defer thrown.Done()
				if out, err := p.m.try(more...); err != nil {
					t.Errorf("%s: %v\n%s", strings.Join(more, " "), err, out)
				}
			}()
		}
		if out, err := p.m.try("scgictl", "upgrade", p.name); err != nil {
			t.Errorf("upgrade %d: %v\n%s", i, err, out)
		}
		thrown.Wait()
		want := fmt.Sprintf(`"version": "%s"`, []string{"0.1.0-dev", "9.9.9"}[i%2])
		if out := p.m.run(t, "scgictl", "status", p.name, "--json"); !strings.Contains(out, want) {
			t.Errorf("after upgrade %d: no %s in %s", i, want, out)
		}
		if i == 3 && held.release() > 0 {
			t.Error("the request that was at work over three upgrades and a reload was lost")
		}
	}
	l.more(100)
	if bad := l.stop(); len(bad) > 0 {
		t.Errorf("%d requests failed beside %d good ones: %v", len(bad), l.good.Load(), bad[0])
	}
	if now := p.show(p.service(), "MainPID"); now != master {
		t.Errorf("main process %s, was %s", now, master)
	}
	if n := p.show(p.service(), "NRestarts"); n != "0" {
		t.Errorf("%s restarts", n)
	}
	if out := p.m.run(t, "scgictl", "status", p.name, "--json"); !strings.Contains(out, `"max_workers": 3`) {
		t.Errorf("the limit set at run time is gone: %s", out)
	}
	// systemd still hears it, and may still stop it in order.
	p.waitShow(p.service(), "StatusText", func(s string) bool { return strings.HasPrefix(s, "0/3 busy") })
	p.m.run(t, "systemctl", "stop", p.service())
	if got := p.show(p.service(), "Result"); got != "success" {
		t.Errorf("the service ended as %s", got)
	}
	t.Logf("%d requests answered over %d upgrades", l.good.Load(), upgrades)
}

func TestUpgradeToABadProgramLeavesTheOldOneServing(t *testing.T) {
	m := booted(t)
	good := m.keepProgram(t)
	p := newPool(t, "kept", "[Pool]\nMinWorkers=4\nMaxWorkers=4\n"+wsgi)
	l := newLoad(p, 32)
	master := p.show(p.service(), "MainPID")
	for _, test := range []struct {
		name    string
		program []byte
		want    string
	}{
		{"exits with 1", []byte("#!/bin/sh\necho this is no scgid >&2\nexit 1\n"), "this is no scgid"},
		{"cannot decode the state", builtAs(t, "-tags", "scgid_otherstate"), "format"},
		{"fails after execve", builtAs(t, "-tags", "scgid_broken"), "could not continue"},
		{"is no program", []byte("\x7fELF"), "exec format error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m.upgradeTo(t, test.program)
			out, err := m.try("scgictl", "upgrade", p.name)
			if err == nil {
				t.Errorf("the upgrade succeeds: %s", out)
			}
			if !strings.Contains(out, "cannot upgrade") || !strings.Contains(out, test.want) {
				t.Errorf("it does not say %q: %s", test.want, out)
			}
			m.upgradeTo(t, good)
			l.more(50)
			if now := p.show(p.service(), "MainPID"); now != master {
				t.Errorf("main process %s, was %s", now, master)
			}
		})
	}
	// And a good one goes through after all.
	m.run(t, "scgictl", "upgrade", p.name)
	l.more(50)
	if bad := l.stop(); len(bad) > 0 {
		t.Errorf("%d requests failed beside %d good ones: %v", len(bad), l.good.Load(), bad[0])
	}
	if err := unix.Access(m.path("/run/scgid/kept/control.sock"), unix.R_OK); err != nil {
		t.Error(err)
	}
}
