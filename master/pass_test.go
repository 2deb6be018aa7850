package master

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// A worker that has shut its link says so by EPIPE at the next pass.
func TestAConnectionForALeavingWorkerGoesToAnother(t *testing.T) {
	checkFDs(t)
	r := begin(t, "linger", fixed(2))
	r.idle(2)
	leaver := r.next()
	r.signal(leaver, unix.SIGTERM)
	r.until("its handler has run", func(control.Status, Counters) bool {
		return r.get("/pid") != fmt.Sprint(leaver.pid)
	})
	if c := r.counters(); c.Lost+c.Refused != 0 {
		t.Errorf("%+v", c)
	}
	state := workerState(0)
	for _, p := range r.workers() {
		if p.pid == leaver.pid {
			state = p.state
		}
		r.signal(p, unix.SIGKILL)
	}
	if state != leaving {
		t.Errorf("it is %v", state)
	}
}

func TestSIGTERMsToWorkersLoseNothing(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", fixed(4))
	r.idle(4)
	terms := 300
	if raceDetector {
		terms = 60
	}
	var stop atomic.Bool
	var served atomic.Uint64
	var clients sync.WaitGroup
	for range 6 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			for !stop.Load() {
				if err := tryOnce(r.addr); err != nil {
					t.Error(err)
					return
				}
				served.Add(1)
			}
		}()
	}
	told := map[int]bool{}
	for len(told) < terms && !t.Failed() {
		var fresh []peer
		for _, p := range r.workers() {
			if p.state == ready && !told[p.pid] {
				fresh = append(fresh, p)
			}
		}
		if len(fresh) > 0 {
			p := fresh[rand.IntN(len(fresh))]
			told[p.pid] = true
			unix.Kill(p.pid, unix.SIGTERM) // it may have gone by itself
		}
	}
	stop.Store(true)
	clients.Wait()
	r.until("all have left", func(s control.Status, c Counters) bool {
		return s.Workers.Total == s.Workers.Idle && c.Served == served.Load()
	})
	if c := r.counters(); c.Lost+c.Refused+c.Killed != 0 {
		t.Errorf("%+v", c)
	}
}

// tryOnce is one request, for use by several goroutines.
func tryOnce(addr string) error {
	c, err := net.Dial("unix", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.Write(request("/spin=1"))
	status, _, err := answer(c)
	if status != "200 OK" {
		return fmt.Errorf("%q: %v", status, err)
	}
	return nil
}

// nobody is a user whose descriptors in flight are limited: the limit is for
// all but root.
var nobody = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}

func TestAFullKernelIsWaitedForWithoutLoss(t *testing.T) {
	if unix.Getuid() != 0 && aloneName() == "" {
		t.Skip("needs root, to be another user")
	}
	if !alone(t, nobody) {
		return
	}
	r := begin(t, "plain", func(s *Settings) {
		oneWorker(s)
		s.Command.Argv = []string{"/proc/self/exe"} // its directory is root's
		s.QueueMax = 10
	})
	r.idle(1)
	limit := syscall.Rlimit{Cur: 200, Max: 200}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	empty := fillFlight(t)
	var all []net.Conn
	for range 10 {
		all = append(all, r.send("/"))
	}
	r.until("all wait", waitingIs(10))
	r.loopUntil("tries again", func(l *loop) bool { return l.alarms[passDue] > l.now })
	tries := map[Time]bool{}
	r.loopUntil("and again", func(l *loop) bool { tries[l.alarms[passDue]] = true; return len(tries) > 5 })
	if c := r.counters(); c.Lost+c.Refused+c.Killed+c.Served != 0 {
		t.Errorf("%+v", c)
	}
	empty()
	for _, c := range all {
		r.want(c, "200 OK")
	}
	r.logs("the kernel passes no more descriptors")
	if n := strings.Count(r.log.String(), "the kernel passes no more descriptors"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
}

// fillFlight keeps so many descriptors in flight that the kernel lets this
// user send no more, until the function returned is called.
func fillFlight(t *testing.T) (empty func()) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	fds := make([]int, 100)
	for i := range fds {
		fds[i] = 2
	}
	for range 10 {
		if err = unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(fds...), nil, unix.MSG_DONTWAIT); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.ETOOMANYREFS) {
		t.Fatalf("the kernel still passes descriptors: %v", err)
	}
	return func() { unix.Close(pair[0]); unix.Close(pair[1]) }
}

func TestAConnectionThatIsNotReceivedGoesToAnIdleWorker(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", fixed(2))
	r.idle(2)
	stopped := r.next()
	r.signal(stopped, unix.SIGSTOP)
	note := filepath.Join(r.dir, "note")
	for range 3 { // it is the last choice from now on
		if got := r.get("/note/pid", "NOTE", note, "KEY", "x"); got == fmt.Sprint(stopped.pid) {
			t.Fatal("served by a stopped process")
		}
		r.idle(2)
	}
	if c := r.counters(); c.TakenBack != 1 || c.Killed != 0 {
		t.Errorf("%+v", c)
	}
	if got := len(r.lines(note)); got != 3 {
		t.Errorf("executed %d times", got)
	}
	// With the other one busy it is used again, and serves when it goes on.
	other, let := r.held("fifo")
	last := r.send("/pid")
	r.until("both are held", func(s control.Status, _ Counters) bool { return s.Workers.Busy == 2 })
	r.signal(stopped, unix.SIGCONT)
	if got := r.want(last, "200 OK"); got != fmt.Sprint(stopped.pid) {
		t.Errorf("served by %s", got)
	}
	let()
	r.want(other, "200 OK")
}

func TestStoppedWorkersServeWhenTheyGoOn(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", fixed(2))
	r.idle(2)
	all := r.workers()
	for _, p := range all {
		r.signal(p, unix.SIGSTOP)
	}
	var conns []net.Conn
	for range 4 {
		conns = append(conns, r.send("/"))
	}
	r.until("two are passed, two wait", waitingIs(2))
	r.skip(2 * receiveWithin)
	r.counters()
	for _, p := range all {
		r.signal(p, unix.SIGCONT)
	}
	for _, c := range conns {
		r.want(c, "200 OK")
	}
	if c := r.counters(); c.Killed+c.Lost != 0 {
		t.Errorf("%+v", c)
	}
}
