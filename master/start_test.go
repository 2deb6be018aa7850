package master

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

func TestTheServiceIsUpWhileTheApplicationDoesNotStart(t *testing.T) {
	for _, mode := range []string{"exit", "fail"} {
		t.Run(mode, func(t *testing.T) {
			checkFDs(t)
			r := begin(t, mode, func(s *Settings) { oneWorker(s); s.QueueMax = 2 })
			select {
			case <-r.notes.ready:
			case <-time.After(20 * time.Second):
				t.Fatal("READY=1 is not said")
			}
			if n := r.counters().StartsFailed; n == 0 {
				t.Error("READY=1 is said before a start has failed")
			}
			one, two := r.send("/"), r.send("/")
			r.failuresAre(failFastAfter)
			r.want(one, "503 Service Unavailable")
			r.want(two, "503 Service Unavailable")
			if got := r.now().State; got != control.Failing {
				t.Errorf("state %q", got)
			}
			for range 5 { // at once, without a queue
				r.want(r.send("/"), "503 Service Unavailable")
			}
			if c := r.counters(); c.Refused != 7 || c.Lost != 0 {
				t.Errorf("%+v", c)
			}
			if said := strings.Join(r.notes.all(), "|"); !strings.Contains(said, "READY") {
				t.Errorf("the service manager heard %q", said)
			}
		})
	}
}

// Without MinWorkers= only a request is a reason to start a worker: one that is
// refused is reason enough to try again when the pause is over.
func TestARefusedRequestIsAReasonToTryAgain(t *testing.T) {
	checkFDs(t)
	r := begin(t, "exit", noWorkers)
	waits := r.send("/")
	r.failuresAre(failFastAfter)
	r.want(waits, "503 Service Unavailable")
	r.skip(time.Minute)
	r.until("tried for the one that was refused", func(s control.Status, c Counters) bool {
		return c.StartsFailed == failFastAfter+1 && s.Workers.Total == 0
	})
	before := r.counters().Starts
	r.skip(time.Minute)
	r.counters() // a turn of the loop
	if got := r.counters().Starts; got != before {
		t.Errorf("%d starts without a request", got-before)
	}
	r.want(r.send("/"), "503 Service Unavailable")
	r.until("tried", func(_ control.Status, c Counters) bool { return c.StartsFailed == before+1 })
}

// failuresAre lets the back-off pass until so many starts have failed.
func (r *rig) failuresAre(n int) {
	r.t.Helper()
	r.loopUntil(fmt.Sprint(n, " failures"), func(l *loop) bool {
		if l.backoff.Failures >= n {
			return true
		}
		if l.now > l.backoff.FailedAt { // a start at the same moment would be of the same failure
			l.backoff.RetryAt = min(l.backoff.RetryAt, l.now)
		}
		return false
	})
}

func TestThePauseBetweenFailedStartsGrows(t *testing.T) {
	checkFDs(t)
	r := begin(t, "exit", oneWorker)
	r.failuresAre(10)
	r.logs("failures=10 ")
	var pauses []string
	for line := range strings.Lines(r.log.String()) {
		if _, pause, ok := strings.Cut(strings.TrimSpace(line), "next_try_in="); ok {
			pauses = append(pauses, pause)
		}
	}
	want := []string{"100ms", "200ms", "400ms", "800ms", "1.6s", "3.2s", "6.4s", "12.8s", "25.6s", "30s"}
	if !slices.Equal(pauses[:10], want) {
		t.Errorf("pauses %v", pauses)
	}
}

func TestNoStartIsTriedBeforeThePauseIsOver(t *testing.T) {
	checkFDs(t)
	r := begin(t, "exit", oneWorker)
	r.failuresAre(8) // 12.8 s
	r.inLoop(func(l *loop) {
		if d := l.backoff.RetryAt - l.now; d < 12*time.Second {
			t.Errorf("the pause is over in %v", d)
		}
	})
	before := r.counters().Starts
	r.want(r.send("/"), "503 Service Unavailable") // is not a reason either
	r.skip(12 * time.Second)
	r.counters() // a turn of the loop
	if got := r.counters().Starts; got != before {
		t.Errorf("%d starts in the pause", got-before)
	}
	r.skip(time.Second)
	r.until("tried", func(_ control.Status, c Counters) bool { return c.Starts == before+1 })
}

func TestARepairedApplicationServesWithoutAnyStep(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	broken := filepath.Join(r.dir, "broken")
	tell(broken)
	set := settings("failwhile:" + broken)
	set.QueueMax = 1
	r.start(set, listeners...)
	c := r.send("/")
	r.failuresAre(failFastAfter - 1)
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	r.want(c, "200 OK")
	if s := r.now(); s.State != control.Running {
		t.Errorf("state %q", s.State)
	}
	r.logs("the application starts again")
}

// A program that cannot even be executed is a start that failed.
func TestAProgramThatIsNotThereIsAFailedStart(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { s.Command.Argv = []string{"/no/such/program"} })
	<-r.notes.ready
	r.logs("cannot execute /no/such/program: no such file or directory")
}

func TestAWrongWorkingDirectoryIsAFailedStart(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { s.Command.Dir = "/no/such/directory" })
	<-r.notes.ready
	r.logs("cannot enter the working directory /no/such/directory")
}

// Unlike one that ends before: see TestAWorkerThatIsReadyAndExitsAtOnceIsBackedOff.
func TestAWorkerThatDiesAfterItHasServedIsNoFailedStart(t *testing.T) {
	checkFDs(t)
	r := begin(t, "once", oneWorker)
	for range 3 {
		r.get("/")
	}
	r.until("exits are seen", func(s control.Status, _ Counters) bool { return s.Exits["exited"] == 3 })
	if c := r.counters(); c.StartsFailed != 0 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
}

// Failures of long ago are no reason to wait long.
func TestAFailedStartAfterServiceIsTheFirst(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	broken := filepath.Join(r.dir, "broken")
	tell(broken)
	set := settings("failwhile:" + broken)
	oneWorker(&set)
	r.start(set, listeners...)
	r.failuresAre(6)
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	r.skip(time.Minute)
	r.get("/")
	r.idle(1)
	tell(broken)
	r.signal(r.next(), unix.SIGKILL)
	r.loopUntil("it fails again", func(l *loop) bool { return l.backoff.Failures > 0 })
	r.inLoop(func(l *loop) {
		if l.backoff.Failures != 1 {
			t.Errorf("it is failure %d in a row", l.backoff.Failures)
		}
	})
}

// Whatever ends a worker before it has served a connection, and in whatever
// phase, is a start that failed, unless the master ordered it. It is counted
// once, and nothing but a served connection makes good for it.
func TestEveryEndBeforeTheFirstServedConnectionIsAFailedStart(t *testing.T) {
	// What the table does to a worker, in the loop; the exit comes after it.
	exit0, exit1 := process.Exit{}, process.Exit{Status: 1 << 8}
	signal := func(s unix.Signal) process.Exit { return process.Exit{Status: syscall.WaitStatus(s)} }
	ways := []struct {
		name    string
		do      func(*loop, *worker)
		exit    process.Exit
		ordered bool
	}{
		{"exits with 0", nil, exit0, false},
		{"exits with 1", nil, exit1, false},
		{"SIGSEGV", nil, signal(unix.SIGSEGV), false},
		{"SIGKILL to itself", nil, signal(unix.SIGKILL), false},
		{"SIGTERM to itself", nil, signal(unix.SIGTERM), false},
		{"out of memory", nil, process.Exit{Status: syscall.WaitStatus(unix.SIGKILL), OutOfMemory: true}, false},
		{"breaks the protocol", func(l *loop, w *worker) { l.protocolError(w, errors.New("x")) }, signal(unix.SIGKILL), false},
		{"closes its link", (*loop).leaves, exit0, false},
		{"closes its link, then crashes", (*loop).leaves, signal(unix.SIGABRT), false},
		{"says FAILED", func(l *loop, w *worker) { l.fails(w, "no module") }, exit1, false},
		{"is not needed", (*loop).discard, signal(unix.SIGKILL), true},
		{"is retired", (*loop).retire, exit0, true},
		{"is retired and crashes", (*loop).retire, signal(unix.SIGSEGV), true},
		{"is killed by an operator", func(l *loop, w *worker) { _ = l.killByID(w.ID) }, signal(unix.SIGKILL), true},
	}
	phases := []struct {
		name   string
		to     workerState
		served uint64
		holds  bool
		works  bool // the application has served others
		fails  bool // an end that was not ordered is a failed start
	}{
		{"while it starts", starting, 0, false, false, true},
		{"ready", ready, 0, false, false, true},
		{"ready, in an application that works", ready, 0, false, true, true},
		{"at its first request", ready, 0, true, false, true},
		{"at its first request, in an application that works", ready, 0, true, true, false},
		{"after it has served", ready, 1, false, true, false},
		{"at its second request", ready, 1, true, true, false},
	}
	r := begin(t, "plain", fixed(1))
	r.idle(1)
	for _, phase := range phases {
		for _, way := range ways {
			if way.name == "says FAILED" && phase.to != starting {
				continue // of no meaning then
			}
			r.inLoop(func(l *loop) {
				l.backoff.reset()
				l.gens.current.Serves = phase.works
				before := l.count.StartsFailed
				w := r.fakeWorker(l, phase.to, phase.served, phase.holds)
				if way.do != nil {
					way.do(l, w)
				}
				l.classifyExit(w, way.exit)
				want := phase.fails && !way.ordered
				if got := l.backoff.Failures; (got == 1) != want || got > 1 || l.count.StartsFailed-before != uint64(got) {
					t.Errorf("%s, %s: %d failures (%d counted), want one: %v", way.name, phase.name, got, l.count.StartsFailed-before, want)
				}
				for len(w.conns) > 0 {
					c := w.conns[0]
					w.release(c)
					l.drop(c)
				}
				l.forget(w)
				l.backoff.reset()
			})
		}
	}
}

// fakeWorker is a worker without a process, in this state. Its connection, if it
// holds one, is nobody's.
func (r *rig) fakeWorker(l *loop, s workerState, served uint64, holds bool) *worker {
	w := l.workers.add(l.gens.current, l.now)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	w.Link, w.End, w.Slots, w.Served = pair[0], pair[1], 1, served
	l.enter(w, starting)
	if s != starting {
		l.enter(w, s)
	}
	if holds {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { unix.Close(pair[1]) })
		c := l.newConn(pair[0], true)
		c.State, c.worker = passed, w
		w.conns = append(w.conns, c)
		l.relist(w)
	}
	return w
}

// The same with real processes, of which each ends as soon as it can: every
// start is counted, so that they become rare, and requests are refused at once.
func TestWorkersThatNeverServeAreStartedEverMoreRarely(t *testing.T) {
	for _, mode := range []string{"exitready", "killready", "leaveready", "endatconn", "shutlink"} {
		t.Run(mode, func(t *testing.T) {
			checkFDs(t)
			r := begin(t, mode, func(s *Settings) { oneWorker(s); s.StopTimeout = time.Second })
			if mode == "endatconn" {
				for range 2 * failFastAfter { // each is the end of a worker, or refused
					c := r.send("/")
					r.until("answered or closed", func(s control.Status, _ Counters) bool { return s.Requests.Active == 0 && s.Queue.Waiting == 0 })
					c.Close()
				}
			}
			r.failuresAre(failFastAfter)
			r.loopUntil("nobody is ready", func(l *loop) bool { return l.workers.in[ready] == 0 && l.crashLooping() })
			r.want(r.send("/"), "503 Service Unavailable")
			if got := r.now().State; got != control.Failing {
				t.Errorf("state %q", got)
			}
			c := r.counters()
			if missed := c.Starts - c.StartsFailed; missed > 1 {
				t.Errorf("%d of %d starts are not counted as failed", missed, c.Starts)
			}
		})
	}
}

// A request that kills its worker, again and again, is not the application's
// start: another worker comes at once. That has an end when nothing is served in
// between.
func TestOneRequestThatKillsItsWorkerIsNotAFailedStart(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	r.get("/")
	for i := range freeCrashes {
		c := r.send("/die/" + fmt.Sprint(i))
		if status, _, _ := answer(c); status != "" {
			t.Errorf("it is answered with %q", status)
		}
		c.Close()
	}
	r.get("/") // at once
	if c := r.counters(); c.StartsFailed != 0 || c.Lost != freeCrashes {
		t.Errorf("%+v", c)
	}
	r.logs("killed by SIGKILL at its first request, GET /die/1")
	for range freeCrashes + 2 { // the first ends the worker that has just served
		c := r.send("/die")
		answer(c)
		c.Close()
	}
	r.loopUntil("it is put off in the end", func(l *loop) bool { return l.backoff.Failures > 0 })
	r.failuresAre(1)
	r.loopUntil("tried again", func(l *loop) bool { return l.workers.in[ready] == 1 })
	r.get("/")
	r.loopUntil("made good", func(l *loop) bool { return l.backoff.Failures == 0 })
}

// All workers of a pool may be told to end at once: that is not a row of starts.
func TestWorkersThatEndTogetherAreOneFailure(t *testing.T) {
	var b backoff
	for range 4 {
		b.failed("x", 1, 10)
	}
	if b.Failures != 1 {
		t.Errorf("%d failures in a row", b.Failures)
	}
	if b.failed("x", 11, 12); b.Failures != 2 {
		t.Errorf("%d failures in a row, the second was started after the first", b.Failures)
	}
}

// A pool may be quiet for days: failures that far apart are not a row.
func TestFailuresFarApartAreNotARow(t *testing.T) {
	var b backoff
	for i := range 3 {
		b.failed("x", Time(i)*time.Second+1, Time(i)*time.Second+1)
	}
	if b.Failures != 3 {
		t.Errorf("%d failures in a row", b.Failures)
	}
	if pause := b.failed("x", 10*rowEnds, 10*rowEnds); b.Failures != 1 || pause != 100*time.Millisecond {
		t.Errorf("%d failures in a row, pause %v", b.Failures, pause)
	}
	b.failed("x", 10*rowEnds+1, 10*rowEnds+1)
	if now, later := b.inARow(10*rowEnds+2), b.inARow(12*rowEnds); now != 2 || later != 0 {
		t.Errorf("%d in a row now, %d later", now, later)
	}
	if n := b.served(); n != 2 || b.Failures != 0 {
		t.Errorf("served made good for %d, left %d", n, b.Failures)
	}
}
