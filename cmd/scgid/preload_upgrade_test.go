package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"golang.org/x/sys/unix"
)

func TestAPreloadedProcessMakesWorkersForTheNextProgramToo(t *testing.T) {
	dir, own := app(t, helloPID), t.TempDir()
	socket := filepath.Join(own, "control.sock")
	u := &upgradable{
		server:  &server{t: t, addr: filepath.Join(own, "s"), log: &logBuffer{}, exited: make(chan error, 1)},
		c:       api.NewClient(socket),
		program: filepath.Join(own, "scgid"),
	}
	u.install("one")
	args := append([]string{"run", "--name", "test", "--listen", u.addr, "--set", "Control.Socket=" + socket, "--set", "Worker.WorkingDirectory=" + dir,
		"--set", "Worker.Preload=application"}, workersAre(3)...)
	cmd := exec.Command(u.program, append(args, "--", "/usr/bin/python3", wsgi(t), "app")...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	u.start(cmd, "worker is ready")
	p := &preloading{server: u.server, c: u.c, dir: dir}
	before, maker := u.allReady(3), p.maker()
	u.install("two")
	if op, err := u.upgrade(); op.State != control.OpDone {
		t.Fatal(op, err)
	}
	if now := p.maker(); now != maker || u.now().Version != "two" {
		t.Errorf("the preloaded process was %d, is %d; %+v", maker, now, u.now())
	}
	for _, w := range before { // the preloaded process is among them
		if w != maker {
			unix.Kill(w, unix.SIGKILL)
		}
	}
	u.until("all are others", func() bool {
		w := u.now().Workers
		return w.Idle == 3 && w.Total == 3 && !slices.ContainsFunc(u.workers(), func(pid int) bool { return pid != maker && slices.Contains(before, pid) })
	})
	p.must("/")
	if now := p.maker(); now != maker {
		t.Errorf("the preloaded process was %d, is %d", maker, now)
	}
	u.stop()
	if err := unix.Kill(maker, 0); err != unix.ESRCH {
		t.Errorf("the preloaded process is left: %v", err)
	}
}
