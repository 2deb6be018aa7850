package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"golang.org/x/sys/unix"
)

// Upgrades need real programs that are executed. builds are how go build makes
// them; each is made once.
var builds = map[string][]string{
	"one":   {"-ldflags", "-X main.version=one"},
	"two":   {"-ldflags", "-X main.version=two"},
	"other": {"-tags", "scgid_otherstate", "-ldflags", "-X main.version=other"},
	"error": {"-tags", "scgid_broken"},
	"panic": {"-tags", "scgid_broken", "-ldflags", "-X main.how=panic"},
	"hang":  {"-tags", "scgid_broken", "-ldflags", "-X main.how=hang"},
}

// scgidBuild returns the path of a program, which nobody may change.
func scgidBuild(t *testing.T, name string) string {
	t.Helper()
	tool := need(t, "go")
	scgid, err := exec.LookPath("scgid")
	if err != nil {
		t.Fatal(err)
	}
	buildMutex.Lock()
	defer buildMutex.Unlock()
	if path := built["scgid-"+name]; path != "" {
		return path
	}
	// Beside the scgid of the scripts: in a directory that ends with us.
	path := filepath.Join(filepath.Dir(scgid), "scgid-"+name)
	args := append([]string{"build", "-o", path}, builds[name]...)
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := exec.Command(tool, append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	built["scgid-"+name] = path
	return path
}

// An upgradable is a server whose program is a file of its own.
type upgradable struct {
	*server
	c       *api.Client
	program string
}

// startUpgradable runs build "one" with the test binary as its worker.
func startUpgradable(t *testing.T, env []string, flags ...string) *upgradable {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "control.sock")
	u := &upgradable{
		server:  &server{t: t, addr: filepath.Join(dir, "s"), journal: filepath.Join(dir, "journal"), log: &logBuffer{}, exited: make(chan error, 1)},
		c:       api.NewClient(socket),
		program: filepath.Join(dir, "scgid"),
	}
	u.install("one")
	args := append([]string{"run", "--name", "test", "--listen", u.addr, "--set", "Control.Socket=" + socket,
		"--set", "Worker.Environment=" + beWorker + "=" + u.journal}, flags...)
	u.begin(append(os.Environ(), env...), &syscall.SysProcAttr{Setsid: true}, u.program, append(args, "--", self(t))...)
	return u
}

// install puts a build in the place of the program, as a package manager does.
func (u *upgradable) install(name string) {
	u.t.Helper()
	from := scgidBuild(u.t, name)
	if os.Link(from, u.program+".new") == nil {
		if err := os.Rename(u.program+".new", u.program); err != nil {
			u.t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		u.t.Fatal(err)
	}
	u.write(data)
}

func (u *upgradable) write(program []byte) {
	u.t.Helper()
	if err := os.WriteFile(u.program+".new", program, 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Rename(u.program+".new", u.program); err != nil {
		u.t.Fatal(err)
	}
}

// now is the status; a connection that the master drops as it executes is made
// again.
func (u *upgradable) now() (st control.Status) {
	u.t.Helper()
	u.until("status", func() bool {
		var err error
		st, err = u.c.Status(u.t.Context())
		return err == nil
	})
	return st
}

// upgrade has it done and returns what became of it, and the answer of the
// call, which is lost with the connection if it was executed.
func (u *upgradable) upgrade() (control.Operation, error) {
	u.t.Helper()
	last := uint64(0)
	if o := u.now().Operation; o != nil {
		last = o.ID
	}
	answer := u.c.Call(u.t.Context(), "upgrade", nil, nil)
	var op control.Operation
	u.until("the upgrade has ended", func() bool {
		o := u.now().Operation
		if o == nil || o.ID <= last || o.State == control.OpRunning {
			return false
		}
		op = *o
		return true
	})
	return op, answer
}

// stop ends it and checks that its sockets are removed by whatever program it
// is by now.
func (u *upgradable) stop() {
	u.t.Helper()
	u.cmd.Process.Signal(unix.SIGTERM)
	if err := u.wait(); err != nil {
		u.t.Error(err)
	}
	for _, path := range []string{u.addr, u.c.Socket()} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			u.t.Errorf("%s is left behind: %v", path, err)
		}
	}
}

// throw sends a signal to the process again and again, with random pauses,
// until the function that it returns is called.
func (u *upgradable) throw(sig os.Signal, pause time.Duration) (end func()) {
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(rand.N(pause)):
				u.cmd.Process.Signal(sig)
			}
		}
	}()
	return func() { close(stop); <-done }
}

var eightWorkers = []string{"--set", "Pool.MinWorkers=8", "--set", "Pool.MaxWorkers=8", "--set", "Pool.MaxIdle=8"}

// fds are how many descriptors the master has open.
func (u *upgradable) fds() int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", u.cmd.Process.Pid))
	return len(entries)
}

// allReady waits until n workers are, and returns their pids.
func (u *upgradable) allReady(n int) []int {
	u.t.Helper()
	u.until("all are ready", func() bool { w := u.now().Workers; return w.Idle+w.Busy == n && w.Total == n })
	pids := u.workers()
	slices.Sort(pids)
	return pids
}
