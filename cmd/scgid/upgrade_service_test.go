package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// The service manager hears READY, STATUS and the watchdog's sign of life from
// the new program too: its variables are still there.
func TestTheServiceManagerHearsTheNewProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	heard := func(what ...string) {
		t.Helper()
		left := slices.Clone(what)
		buf := make([]byte, 4096)
		for len(left) > 0 {
			manager.SetReadDeadline(time.Now().Add(60 * time.Second))
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("never heard: %q", left)
			}
			left = slices.DeleteFunc(left, func(w string) bool { return strings.Contains(string(buf[:n]), w) })
		}
	}
	u := startUpgradable(t, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=60000000"})
	heard("READY=1", "STATUS=")
	u.install("two")
	if op, answer := u.upgrade(); op.State != control.OpDone {
		t.Fatalf("%+v, %v", op, answer)
	}
	heard("READY=1", "STATUS=", "WATCHDOG=1")
	u.stop()
	heard("STOPPING=1")
}

// The socket and the record stay those of the service manager, and the record
// tells of what the new program did.
func TestTheRecordForACrashGoesAlong(t *testing.T) {
	k := newKeeper(t)
	k.program = filepath.Join(k.dir, "scgid")
	(&upgradable{server: &server{t: t}, program: k.program}).install("one")
	s, c := k.start("--set", "Pool.MaxWorkers=4")
	u := &upgradable{server: s, c: c, program: k.program}
	if err := c.Call(t.Context(), "scale", map[string]any{"max_workers": 7}, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"two", "error", "one"} {
		u.install(name)
		u.upgrade()
	}
	if now, stores := k.kept(); now != 1 || stores != 1 {
		t.Errorf("%d records are kept, %d were stored", now, stores)
	}
	if _, err := exchange(u.addr, "/x"); err != nil {
		t.Fatal(err)
	}
	let := u.hold(k)
	u.until("both are counted", func() bool { r := u.now().Requests; return r.Served == 1 && r.Active == 1 })
	u.kill()
	next, c := k.start("--set", "Pool.MaxWorkers=4")
	if lost, active, served := next.tells(s); lost != 0 || active != 1 || served != 1 {
		t.Errorf("lost %d, at workers %d, served %d", lost, active, served)
	}
	if st := next.status(c); st.Limits.MaxWorkers != 7 {
		t.Errorf("limits %+v", st.Limits)
	}
	let()
}

// As an ordinary user and with a file, as a service does.
func TestAServiceOfAnOrdinaryUserIsUpgraded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own := filepath.Join(dir, "own")
	if err := errors.Join(os.Mkdir(own, 0o755), os.Chown(own, 1, 1)); err != nil {
		t.Fatal(err)
	}
	worker := filepath.Join(dir, "worker")
	data, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(worker, data, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(own, "control.sock")
	u := &upgradable{
		server: &server{t: t, addr: own + "/s", journal: own + "/journal", log: &logBuffer{}, exited: make(chan error, 1)},
		c:      api.NewClient(socket), program: filepath.Join(dir, "scgid"),
	}
	u.install("one")
	file := filepath.Join(dir, "test.conf")
	conf := fmt.Sprintf("[Pool]\nListen=%s\nMaxWorkers=2\n[Worker]\nExecStart=%s\nEnvironment=%s=%s\n[Control]\nSocket=%s\nBus=off\n",
		u.addr, worker, beWorker, u.journal, socket)
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	u.begin([]string{"PATH=/usr/bin:/bin"}, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}, u.program, "serve", "--config", file)
	for _, name := range []string{"two", "error", "one"} {
		u.install(name)
		want := control.OpDone
		if name == "error" {
			want = control.OpFailed
		}
		if op, answer := u.upgrade(); op.State != want {
			t.Fatalf("%s: %+v, %v", name, op, answer)
		}
		if text, err := exchange(u.addr, "/x"); err != nil || !strings.HasSuffix(text, "/x") {
			t.Errorf("%q %v", text, err)
		}
		// The applications have the same user and shall not see into it.
		out, err := exec.Command("/bin/sh", "-c", fmt.Sprintf("setpriv --reuid 1 --regid 1 --clear-groups ls /proc/%d/fd 2>&1", u.cmd.Process.Pid)).CombinedOutput()
		if err == nil {
			t.Errorf("another process of this user sees its descriptors: %s", out)
		}
	}
	u.stop()
}
