package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// make install gives scgid to root, with mode 0711: its user can execute it, and
// not read it, so that the kernel at no moment lets that user at its memory.
func TestAProgramThatItsUserCannotReadServesAndIsUpgraded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const uid = 1
	own, exe := roomFor(t, uid)
	u := &upgradable{
		server:  &server{t: t, addr: own + "/s", journal: own + "/journal", log: &logBuffer{}, exited: make(chan error, 1)},
		c:       api.NewClient(own + "/control.sock"),
		program: filepath.Join(filepath.Dir(own), "scgid"),
	}
	install := func(name string) {
		t.Helper()
		data, err := os.ReadFile(scgidBuild(t, name))
		if err != nil {
			t.Fatal(err)
		}
		u.write(data)
		if err := os.Chmod(u.program, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	install("one")
	u.begin([]string{"PATH=/usr/bin:/bin"}, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}, u.program,
		"run", "--name", "test", "--listen", u.addr, "--set", "Control.Socket="+u.c.Socket(), "--set", "Pool.MinWorkers=2", "--set", "Pool.MaxWorkers=2",
		"--set", "Worker.Environment="+beWorker+"="+u.journal, "--", exe)
	check := func(version string) {
		t.Helper()
		if text, err := exchange(u.addr, "/x"); err != nil || !strings.HasSuffix(text, "/x") {
			t.Errorf("%s: %q, %v", version, text, err)
		}
		st := u.now()
		if st.Version != version || st.Build == "" {
			t.Errorf("version %s, build %q, want version %s", st.Version, st.Build, version)
		}
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", st.PID)); string(comm) != "scgid\n" {
			t.Errorf("%s: the process is called %q, %v", version, comm, err)
		}
		// The files in /proc of a process that is not dumpable are root's.
		info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", st.PID))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("%s: the memory is the user's: %v, %v", version, info, err)
		}
	}
	check("one")
	for _, worker := range u.allReady(2) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", worker))
		if err != nil || strings.TrimSpace(string(text)) == "0" {
			t.Errorf("the oom_score_adj of a worker is %q, %v", text, err)
		}
	}
	install("two")
	if op, err := u.upgrade(); op.State != control.OpDone {
		t.Fatalf("%+v, %v", op, err)
	}
	check("two")
	install("error")
	if op, err := u.upgrade(); op.State != control.OpFailed || !strings.Contains(op.Error, "this build is broken") {
		t.Fatalf("%+v, %v", op, err)
	}
	check("two")
	if strings.Contains(u.log.String(), "cannot tell which build") {
		t.Error("the build is not known")
	}
	u.cmd.Process.Signal(unix.SIGTERM)
	if err := u.wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(u.addr); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}
