package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// Upgrades need real programs that are executed. builds are how go build makes
// them; each is made once.
var builds = map[string][]string{
	"one":   {"-ldflags", "-X main.version=one"},
	"two":   {"-ldflags", "-X main.version=two"},
	"other": {"-ldflags", "-X main.version=other -X github.com/scgid/scgid/master.stateFormat=other"},
	"error": {"-tags", "scgid_broken"},
	"panic": {"-tags", "scgid_broken", "-ldflags", "-X main.how=panic"},
	"hang":  {"-tags", "scgid_broken", "-ldflags", "-X main.how=hang"},
}

var built struct {
	sync.Mutex
	dir  string
	done map[string]bool
}

// build returns the path of a program, which nobody may change.
func build(t *testing.T, name string) string {
	t.Helper()
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs go")
	}
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		if built.dir, err = os.MkdirTemp("", "scgid-builds"); err != nil {
			t.Fatal(err)
		}
		built.done = map[string]bool{}
	}
	path := filepath.Join(built.dir, name)
	if built.done[name] {
		return path
	}
	args := append([]string{"build", "-o", path}, builds[name]...)
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := exec.Command(tool, append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	built.done[name] = true
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
	u.begin(append(os.Environ(), env...), nil, u.program, append(args, "--", self(t))...)
	return u
}

// install puts a build in the place of the program, as a package manager does.
func (u *upgradable) install(name string) {
	u.t.Helper()
	from := build(u.t, name)
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

// hups throws SIGHUP at the process until the function that it returns is
// called.
func (u *upgradable) hups() (end func()) {
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.IntN(20_000)) * time.Microsecond):
				u.cmd.Process.Signal(unix.SIGHUP)
			}
		}
	}()
	return func() { close(stop); <-done }
}

var eightWorkers = []string{"--set", "Pool.MinWorkers=8", "--set", "Pool.MaxWorkers=8", "--set", "Pool.MaxIdle=8"}

// allReady waits until n workers are, and returns their pids.
func (u *upgradable) allReady(n int) []int {
	u.t.Helper()
	u.until("all are ready", func() bool { w := u.now().Workers; return w.Idle+w.Busy == n && w.Total == n })
	pids := u.workers()
	slices.Sort(pids)
	return pids
}

func TestUpgradesUnderLoadAreNotNoticed(t *testing.T) {
	u := startUpgradable(t, nil, eightWorkers...)
	u.allReady(8)
	if err := u.c.Call(t.Context(), "scale", map[string]any{"min_workers": 6, "max_workers": 6}, nil); err != nil {
		t.Fatal(err)
	}
	pids := u.allReady(6)
	u.install("two")
	u.upgrade()
	quiet := u.fds()
	l := startTraffic(u.addr, 32)
	u.until("there is load", func() bool { return l.n.Load() > 500 })
	first := u.now()
	endHups := u.hups()
	for i := range 20 * soak() {
		name := []string{"one", "two"}[i%2]
		u.install(name)
		before := u.now()
		op, _ := u.upgrade()
		after := u.now()
		if op.State != control.OpDone || op.Kind != control.OpUpgrade || op.ID != uint64(i+2) {
			t.Errorf("upgrade %d: %+v", i+1, op)
		}
		if after.Version != name || after.Build == before.Build || after.Build == "" {
			t.Errorf("version %s, build %q; before %s, %q", after.Version, after.Build, before.Version, before.Build)
		}
		if after.PID != u.cmd.Process.Pid || !after.Since.Equal(first.Since) || after.Limits != first.Limits || !after.Scaled ||
			after.Requests.Served < before.Requests.Served || after.Starts != first.Starts || after.Generation != first.Generation {
			t.Errorf("after upgrade %d:\n%+v\nat first:\n%+v", i+1, after, first)
		}
	}
	endHups()
	if now := u.allReady(6); !slices.Equal(now, pids) {
		t.Errorf("workers %v, were %v", now, pids)
	}
	executed := l.end(t, u.journal)
	l.judge(t, executed)
	for key, why := range l.failed {
		t.Errorf("%s failed: %s", key, why)
	}
	u.until("no descriptor is left over", func() bool { return u.fds() <= quiet })
	st := u.now()
	if st.Requests.Served != uint64(len(l.good)) || st.Requests.Lost+st.Requests.Refused+st.Requests.Bad != 0 {
		t.Errorf("counted %+v, clients saw %d good", st.Requests, len(l.good))
	}
	t.Logf("%d requests, %d failed; %d descriptors at rest", len(l.good)+len(l.failed), len(l.failed), u.fds())
	u.stop()
}

func TestWhatIsHeldAtEveryPlaceIsAnsweredAfterAnUpgrade(t *testing.T) {
	u := startUpgradable(t, nil, "--set", "Pool.MinWorkers=1", "--set", "Pool.MaxWorkers=1", "--set", "Queue.Max=5")
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 20)
	ask := func(key string) {
		go func() {
			text, err := exchange(u.addr, key)
			answers <- fmt.Sprint(strings.TrimPrefix(text, "Status: 200 OK\r\n\r\n"), err)
		}()
	}
	ask("/fifo" + fifo)
	u.until("it is at work", func() bool { return u.now().Requests.Active == 1 })
	ask("/waits")
	u.until("it waits", func() bool { return u.now().Queue.Waiting == 1 })
	parked, err := net.Dial("unix", u.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer parked.Close()
	header, err := scgi.AppendHeader(nil, []scgi.Var{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_URI", Value: "/parked"}})
	if err != nil {
		t.Fatal(err)
	}
	parked.Write(header[:20])
	u.until("it is parked", func() bool { return u.now().Queue.Parked == 1 })
	if err := u.c.Call(t.Context(), "pause", map[string]any{"limit": 3600}, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		ask(fmt.Sprint("/backlog-", i))
	}
	u.until("they wait in the kernel", func() bool { return u.now().Queue.Listeners[0].Backlog == 10 })

	u.install("two")
	if op, answer := u.upgrade(); op.State != control.OpDone {
		t.Fatalf("%+v, %v", op, answer)
	}
	st := u.now()
	if st.State != control.Paused || st.ResumesIn < 3000 || st.Queue.Waiting != 1 || st.Queue.Parked != 1 || st.Requests.Active != 1 || st.Queue.Listeners[0].Backlog != 10 {
		t.Errorf("after the upgrade: %+v", st)
	}
	parked.Write(header[20:])
	if err := os.WriteFile(fifo, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := u.c.Call(t.Context(), "resume", nil, nil); err != nil {
		t.Fatal(err)
	}
	parked.SetReadDeadline(time.Now().Add(60 * time.Second))
	buf := make([]byte, 1000)
	if n, err := parked.Read(buf); err != nil || !strings.HasSuffix(string(buf[:n]), "/parked") {
		t.Errorf("the parked one got %q, %v", buf[:n], err)
	}
	want := []string{"/fifo" + fifo + "<nil>", "/waits<nil>"}
	for i := range 10 {
		want = append(want, fmt.Sprint("/backlog-", i, "<nil>"))
	}
	var got []string
	for range want {
		got = append(got, <-answers)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	u.stop()
}

func TestAProgramThatCannotTakeOverLeavesTheOldOneServing(t *testing.T) {
	u := startUpgradable(t, nil, eightWorkers...)
	pids := u.allReady(8)
	for name := range builds {
		build(t, name) // not under load
	}
	l := startTraffic(u.addr, 32)
	first := u.now()
	for _, c := range []struct{ name, want string }{
		{"exits 1", "cannot take over: exited with status 1: not today"},
		{"is no program", "exec format error"},
		{"other", `version "one" wrote it in format "1", this program reads format "other"`},
		{"error", "the new program could not go on: this build is broken"},
		{"panic", "the new program could not go on: panic: this build is broken"},
		{"hang", "the new program could not go on: it did not go on within"},
	} {
		executed := false
		switch c.name {
		case "exits 1":
			u.write([]byte("#!/bin/sh\necho not today >&2\nexit 1\n"))
		case "is no program":
			u.write([]byte("junk"))
		default:
			u.install(c.name)
			executed = c.name != "other"
		}
		op, answer := u.upgrade()
		if op.State != control.OpFailed || !strings.Contains(op.Error, c.want) {
			t.Errorf("%s: %+v, want %q", c.name, op, c.want)
		}
		if e := control.AsError(answer); !executed && (answer == nil || !strings.Contains(e.Text, c.want)) {
			t.Errorf("%s: the call returned %v, want %q", c.name, answer, c.want)
		}
		u.until("the log says why", func() bool { return strings.Contains(u.log.String(), c.want) })
		st := u.now()
		if st.Build != first.Build || st.Version != "one" || st.PID != first.PID || !st.Since.Equal(first.Since) || st.Starts != first.Starts {
			t.Errorf("%s: after it\n%+v\nbefore\n%+v", c.name, st, first)
		}
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", st.PID)); string(comm) != "scgid\n" {
			t.Errorf("%s: the process is called %q", c.name, comm)
		}
	}
	// The path is still the one of the beginning, and the next one is good.
	u.install("two")
	if op, answer := u.upgrade(); op.State != control.OpDone || u.now().Version != "two" {
		t.Errorf("%+v, %v", op, answer)
	}
	if now := u.allReady(8); !slices.Equal(now, pids) {
		t.Errorf("workers %v, were %v", now, pids)
	}
	l.judge(t, l.end(t, u.journal))
	for key, why := range l.failed {
		t.Errorf("%s failed: %s", key, why)
	}
	u.stop()
}

func TestWorkersThatDieAroundAnUpgradeLoseOnlyWhatTheyHadRead(t *testing.T) {
	u := startUpgradable(t, nil, eightWorkers...)
	u.allReady(8)
	l := startTraffic(u.addr, 32)
	stop, done := make(chan bool), make(chan int)
	go func() { done <- u.killReady(stop) }()
	for i := range 10 * soak() {
		u.install([]string{"two", "one"}[i%2])
		if op, answer := u.upgrade(); op.State != control.OpDone {
			t.Errorf("%+v, %v", op, answer)
		}
	}
	close(stop)
	killed := <-done
	l.judge(t, l.end(t, u.journal))
	u.stop()
	served, lost, refused := u.counted()
	t.Logf("%d SIGKILLs: %d requests answered, %d had been read and were lost; scgid counted %d served, %d lost",
		killed, len(l.good), len(l.failed), served, lost)
	if served+lost != len(l.good)+len(l.failed) || lost < len(l.failed) || refused != 0 || killed == 0 {
		t.Errorf("scgid counted %d served, %d lost, %d refused; clients saw %d good, %d failed", served, lost, refused, len(l.good), len(l.failed))
	}
}

// killReady kills one worker after the other until stop is closed, and returns
// how many. (A trial of the new program is a child too, and left alone.)
func (u *upgradable) killReady(stop chan bool) (killed int) {
	for {
		all, err := u.c.Workers(u.t.Context())
		all = slices.DeleteFunc(all, func(w control.Worker) bool { return w.State != control.WorkerReady })
		select {
		case <-stop:
			return killed
		case <-time.After(time.Duration(rand.IntN(50_000)) * time.Microsecond):
		}
		if err == nil && len(all) >= 4 && unix.Kill(all[rand.IntN(len(all))].PID, unix.SIGKILL) == nil {
			killed++
		}
	}
}

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

// Signals are ignored for the moment of execve, and heard again if it fails.
func TestSignalsAreHeardAfterAProgramThatCouldNotBeExecuted(t *testing.T) {
	u := startUpgradable(t, nil)
	u.write([]byte("#!/bin/sh\nchmod -x \"$0\"\necho STATE=good\n"))
	if op, answer := u.upgrade(); op.State != control.OpFailed || answer == nil || !strings.Contains(op.Error, "cannot execute the new program") {
		t.Errorf("%+v, %v", op, answer)
	}
	if text, err := exchange(u.addr, "/x"); err != nil || !strings.HasSuffix(text, "/x") {
		t.Errorf("%q %v", text, err)
	}
	u.stop()
}

func TestAPoolThatServesHTTPItselfIsNotUpgraded(t *testing.T) {
	u := startUpgradable(t, nil, "--http", "127.0.0.1:0")
	op, answer := u.upgrade()
	if op.State != control.OpFailed || answer == nil || !strings.Contains(answer.Error(), "--http") {
		t.Errorf("%+v, %v", op, answer)
	}
	u.stop()
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
