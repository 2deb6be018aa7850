package master

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// newRig makes a rig whose master has still to be started, with n listeners;
// r.addr is the first one's.
func newRig(t *testing.T, n int) (r *rig, listeners []Listener) {
	t.Helper()
	r = &rig{t: t, dir: t.TempDir(), log: &safeBuffer{}, notes: &notes{ready: make(chan struct{})}, result: make(chan error, 1)}
	for i := range n {
		addr := filepath.Join(r.dir, fmt.Sprint("s", i))
		listeners = append(listeners, Listener{Name: "scgi", Addr: addr, FD: listenUnix(t, addr), Unix: true})
	}
	if n > 0 {
		r.addr = listeners[0].Addr
	}
	return r, listeners
}

// beginTCP is begin with a listener on the loopback.
func beginTCP(t *testing.T, mode string, edit func(*Settings)) *rig {
	t.Helper()
	set := settings(mode)
	if edit != nil {
		edit(&set)
	}
	r, _ := newRig(t, 0)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = fmt.Sprint("127.0.0.1:", sa.(*unix.SockaddrInet4).Port)
	r.start(set, Listener{Name: "scgi", Addr: r.addr, FD: fd})
	return r
}

// both runs a test on a Unix socket and on TCP.
func both(t *testing.T, mode string, edit func(*Settings), f func(*testing.T, *rig)) {
	t.Run("unix", func(t *testing.T) { checkFDs(t); f(t, begin(t, mode, edit)) })
	t.Run("tcp", func(t *testing.T) { checkFDs(t); f(t, beginTCP(t, mode, edit)) })
}

// dialTo connects to one of several listeners.
func (r *rig) dialTo(addr string) net.Conn {
	r.t.Helper()
	network := "unix"
	if !strings.HasPrefix(addr, "/") {
		network = "tcp"
	}
	c, err := net.Dial(network, addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// send makes a request and does not wait for its answer.
func (r *rig) send(uri string, more ...string) net.Conn {
	r.t.Helper()
	c := r.dial()
	if _, err := c.Write(request(uri, more...)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// want reads an answer that has to have this status and returns its body.
func (r *rig) want(c net.Conn, status string) string {
	r.t.Helper()
	got, body, err := answer(c)
	c.Close()
	if got != status || err != nil {
		r.t.Fatalf("got %q (%v), want %q", got, err, status)
	}
	return body
}

// inLoop runs f in the loop and waits for it.
func (r *rig) inLoop(f func(*loop)) {
	r.t.Helper()
	if err := do(r.t.Context(), r.Master, func(l *loop) error { f(l); return nil }); err != nil {
		r.t.Fatal(err)
	}
}

// skip moves the loop's clock on, so that no test has to wait for a deadline.
func (r *rig) skip(d time.Duration) {
	r.t.Helper()
	r.inLoop(func(l *loop) {
		l.host.began = l.host.began.Add(-d)
		l.now = l.host.clock()
	})
}

// holdIntake keeps the loop from accepting until the function returned is
// called.
func (r *rig) holdIntake() (let func()) {
	r.t.Helper()
	r.inLoop(func(l *loop) { l.alarms[acceptDue] = l.now + time.Hour })
	return func() { r.t.Helper(); r.inLoop(func(l *loop) { l.alarms[acceptDue] = 0 }) }
}

// A peer is what the tests see of a worker.
type peer struct {
	id    uint64
	pid   int
	state workerState
	conns int
}

// workers are those with a process that is not reaped.
func (r *rig) workers() (all []peer) {
	r.t.Helper()
	r.inLoop(func(l *loop) {
		for _, w := range l.workers.all {
			if w != nil && w.State != gone && w.proc.PID != 0 {
				all = append(all, peer{w.ID, w.proc.PID, w.State, len(w.conns)})
			}
		}
	})
	return all
}

// idle waits until so many workers are, and nobody else is starting.
func (r *rig) idle(n int) {
	r.t.Helper()
	r.until(fmt.Sprint(n, " idle workers"), func(s control.Status, _ Counters) bool {
		return s.Workers.Idle == n && s.Workers.Starting == 0
	})
}

// next is the worker that has the next connection.
func (r *rig) next() (p peer) {
	r.t.Helper()
	r.inLoop(func(l *loop) {
		if w := l.choose(); w != nil {
			p = peer{w.ID, w.proc.PID, w.State, len(w.conns)}
		}
	})
	if p.pid == 0 {
		r.t.Fatal("no worker has a place")
	}
	return p
}

// signal sends sig to a worker; after SIGSTOP it waits until it has stopped.
func (r *rig) signal(p peer, sig unix.Signal) {
	r.t.Helper()
	if err := unix.Kill(p.pid, sig); err != nil {
		r.t.Fatal(err)
	}
	for sig == unix.SIGSTOP && processState(p.pid) != "T" {
		time.Sleep(time.Millisecond)
	}
}

// processState is the letter of proc_pid_stat(5), "" without such a process.
func processState(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[:1]
}

// file waits until a worker has told something with it.
func (r *rig) file(path string) {
	r.t.Helper()
	r.until(path, func(control.Status, Counters) bool { _, err := os.Stat(path); return err == nil })
}

// lines are what workers noted, in their order.
func (r *rig) lines(path string) []string {
	r.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// logs waits until the log has the text: it is written by another goroutine.
func (r *rig) logs(text string) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if strings.Contains(r.log.String(), text) {
			return
		}
	}
	r.t.Fatalf("the log does not say %q", text)
}

// stopped ends the master and returns its last counters.
func (r *rig) stopped() Counters {
	r.t.Helper()
	r.Finish()
	if err := r.end(); err != nil {
		r.t.Error(err)
	}
	<-r.done
	return r.loop.count.Counters
}

const aloneEnv = "SCGID_TEST_ALONE"

// alone says whether the test runs in a process of its own. If not it makes
// one for it, with these attributes, and reports what comes of it. For tests of
// what belongs to the whole process: limits, its user, CPU, children.
func alone(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(aloneEnv) == t.Name() {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=100s")
	cmd.Env = append(os.Environ(), aloneEnv+"="+t.Name())
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// cpu is what the process has used so far.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// aloneName is the test that this process was made for.
func aloneName() string { return os.Getenv(aloneEnv) }
