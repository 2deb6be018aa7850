package master

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// Nobody is refused for failures of long ago: the request waits for a start.
func TestARequestLongAfterTheLastFailureIsNotRefused(t *testing.T) {
	checkFDs(t)
	broken := filepath.Join(t.TempDir(), "broken")
	tell(broken)
	r := begin(t, "failwhile:"+broken, noWorkers)
	waits := r.send("/")
	r.failuresAre(failFastAfter)
	r.want(waits, "503 Service Unavailable")
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	r.inLoop(func(l *loop) {
		l.backoff.Wanted = false // the request that was refused has had its try
		l.host.began = l.host.began.Add(-rowEnds - time.Second)
		l.now = l.host.clock()
	})
	r.get("/")
}

// A worker that serves since long shows nothing about starts of today: they stay
// put off, though it serves all the time.
func TestAWorkerThatServesDoesNotMakeGoodForStartsThatFail(t *testing.T) {
	checkFDs(t)
	r := begin(t, "onceGood@"+t.TempDir(), fixed(2))
	r.idle(1)
	c := r.crowd(2, "/")
	defer c.end(t)
	r.loopUntil("failures in a row", func(l *loop) bool { return l.backoff.Failures >= failFastAfter })
	served := r.counters().Served
	r.until("it serves", func(_ control.Status, c Counters) bool { return c.Served > served+10 })
	r.inLoop(func(l *loop) {
		if l.backoff.Failures < failFastAfter {
			t.Errorf("%d failures in a row", l.backoff.Failures)
		}
		l.backoff.RetryAt = l.now + time.Minute
		if s := l.status().Starts; s.NextTryIn != 60 {
			t.Errorf("the next is tried in %v s", s.NextTryIn)
		}
	})
}

// Connections that workers of another generation serve are no merit of this one.
func TestAnotherGenerationDoesNotMakeGoodForThisOne(t *testing.T) {
	r := begin(t, "plain", fixed(1))
	r.idle(1)
	r.inLoop(func(l *loop) {
		w := r.fakeWorker(l, ready, 1, false)
		w.of = l.gens.add(*l.set())
		l.backoff.failed("x", l.now, l.now)
		l.serves(w)
		if l.backoff.Failures != 1 || !w.of.Serves {
			t.Errorf("%d failures, serves: %v", l.backoff.Failures, w.of.Serves)
		}
		l.forget(w)
		l.backoff.reset()
	})
}

// What a canary holds is our own probe: neither a served connection nor a first
// request that was to blame.
func TestACanaryThatDiesOfItsProbeIsAFailedStart(t *testing.T) {
	r := begin(t, "plain", fixed(1))
	r.idle(1)
	for _, replies := range []bool{false, true} {
		r.inLoop(func(l *loop) {
			l.backoff.failed("x", l.now, l.now)
			l.gens.current.Serves = true
			before := l.count.StartsFailed
			w := r.fakeWorker(l, ready, 0, true)
			w.canary = &canary{verdict: make(chan error, 1)}
			c := w.conns[0]
			if c.Probe = true; replies {
				unix.Shutdown(c.FD, unix.SHUT_WR)
			}
			l.classifyExit(w, process.Exit{Status: 1 << 8})
			if b := &l.backoff; b.Failures != 1 || b.Crashes != 0 || l.count.StartsFailed != before+1 || len(w.canary.verdict) != 1 {
				t.Errorf("replied %v: %+v, %d failed, %d verdicts", replies, b, l.count.StartsFailed-before, len(w.canary.verdict))
			}
			w.release(c)
			l.drop(c)
			l.forget(w)
			l.backoff.reset()
		})
	}
}

// To be ready is not to serve: workers that are ready and then die are a row.
func TestWorkersThatAreReadyAndDieDuringTheRollBringTheOldOnesBack(t *testing.T) {
	r := begin(t, "plain", fixed(1))
	r.idle(1)
	r.inLoop(func(l *loop) {
		back := l.gens.add(*l.set())
		back.Proven, back.Dir = true, l.gens.current.Dir
		l.gens.previous = back
		l.beginRoll()
		for i := range rollGivesUp {
			if l.gens.current == back {
				t.Errorf("given up after %d", i)
			}
			w := r.fakeWorker(l, starting, 0, false)
			if w.Dir = w.of.Dir; i < rollGivesUp-1 {
				l.becomeReady(w, link.Message{})
			} else {
				l.fails(w, "x")
				if w.State != killed {
					t.Errorf("a worker of what was given up is %s", w.State)
				}
			}
			l.classifyExit(w, process.Exit{Status: 1 << 8})
			l.forget(w)
		}
		if l.gens.current != back {
			t.Error("it is not given up")
		}
	})
}

// A pool that stops starts nothing for a request that was refused.
func TestARefusedRequestIsNoReasonWhileThePoolStops(t *testing.T) {
	l := newLoop(newHost(Host{}))
	l.gens.current = l.gens.add(settings("plain"))
	l.backoff.Wanted = true
	if l.view().Waiting != 1 {
		t.Error("nobody waits")
	}
	if l.stage = draining; l.view().Waiting != 0 {
		t.Error("somebody waits")
	}
}
