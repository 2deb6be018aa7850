package master

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
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
			r.until("they wait", waitingIs(2))
			r.failuresAre(4)
			r.skip(failFastAfter)
			if got := r.now().State; got != control.Failing {
				t.Errorf("state %q", got)
			}
			// The queue is full: more are refused at once.
			for range 5 {
				r.want(r.send("/"), "503 Service Unavailable")
			}
			r.skip(r.loop.set().QueueTimeout)
			r.want(one, "503 Service Unavailable")
			r.want(two, "503 Service Unavailable")
			if c := r.counters(); c.Refused != 7 || c.Lost != 0 {
				t.Errorf("%+v", c)
			}
			if said := strings.Join(r.notes.all(), "|"); !strings.Contains(said, "READY") {
				t.Errorf("the service manager heard %q", said)
			}
		})
	}
}

// Nothing happens at that moment but the moment itself: the queue has been full,
// and what knocks lies in the backlog and is heard no more.
func TestItIsHopelessFromAMomentOnThatTheLoopKnows(t *testing.T) {
	checkFDs(t)
	r := begin(t, "exit", func(s *Settings) { oneWorker(s); s.QueueMax = 1; s.QueueTimeout = time.Hour })
	waits := r.send("/")
	r.until("waits", waitingIs(1))
	r.failuresAre(3)
	r.inLoop(func(l *loop) {
		l.backoff.RetryAt, l.alarms[decideDue] = l.now+time.Hour, 0
		soon := l.backoff.LastReady + failFastAfter - 300*time.Millisecond
		l.host.began = l.host.began.Add(l.now - soon)
		l.now = soon
	})
	r.want(r.send("/"), "503 Service Unavailable")
	r.skip(time.Hour)
	r.want(waits, "503 Service Unavailable")
}

// failuresAre lets the back-off pass until so many starts have failed.
func (r *rig) failuresAre(n int) {
	r.t.Helper()
	r.loopUntil(fmt.Sprint(n, " failures"), func(l *loop) bool {
		if l.backoff.Failures >= n {
			return true
		}
		l.backoff.RetryAt = min(l.backoff.RetryAt, l.now)
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
	c := r.send("/") // is no reason either
	r.until("waits", waitingIs(1))
	r.skip(12 * time.Second)
	r.until("waits", waitingIs(1))
	if got := r.counters().Starts; got != before {
		t.Errorf("%d starts in the pause", got-before)
	}
	r.skip(time.Second)
	r.until("tried", func(_ control.Status, c Counters) bool { return c.Starts == before+1 })
	r.skip(r.loop.set().QueueTimeout)
	r.want(c, "503 Service Unavailable")
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
	r.failuresAre(3)
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

// Somebody kills workers that are starting: that says nothing of the
// application, whether it has failed before or not.
func TestStartsKilledFromOutsideAreNotPutOffLonger(t *testing.T) {
	for _, before := range []int{0, 4} {
		for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
			t.Run(fmt.Sprint(before, " ", signal), func(t *testing.T) {
				checkFDs(t)
				r := begin(t, "deadly", func(s *Settings) { oneWorker(s); s.StartTimeout = time.Hour })
				// As after a worker that was ready, and served nobody.
				r.inLoop(func(l *loop) { l.backoff.FailuresBefore = before })
				for failed := range uint64(3) {
					var starting []peer
					r.until("starting", func(control.Status, Counters) bool { starting = r.workers(); return len(starting) == 1 })
					r.signal(starting[0], signal)
					r.until("it counts", func(_ control.Status, c Counters) bool { return c.StartsFailed == failed+1 })
					r.inLoop(func(l *loop) {
						if want := max(before, 1); l.backoff.Failures != want {
							t.Errorf("failure %d in a row, want %d", l.backoff.Failures, want)
						}
						l.backoff.RetryAt = l.now
					})
				}
			})
		}
	}
}
