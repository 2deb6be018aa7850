package master

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

func stateIs(state string) func(control.Status, Counters) bool {
	return func(s control.Status, _ Counters) bool { return s.State == state }
}

// ended waits for the end and returns the last counters.
func (r *rig) ended() Counters {
	r.t.Helper()
	if err := r.end(); err != nil {
		r.t.Error(err)
	}
	<-r.done
	return r.loop.count.Counters
}

func TestStopAnswersAllThatWereAccepted(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { fixed(2)(s); s.QueueMax = 40 })
	r.idle(2)
	two := r.hold(2)
	var all []net.Conn
	for range 40 {
		all = append(all, r.send("/spin=2"))
	}
	r.until("all are accepted", waitingIs(40))
	r.Finish()
	r.until("draining", stateIs(control.Draining))
	late := r.send("/") // stays with the socket, for the next master
	for _, h := range two {
		r.letGo(h)
	}
	for _, c := range all {
		r.want(c, "200 OK")
	}
	c := r.ended()
	if c.Accepted != 42 || c.Served != 42 {
		t.Errorf("%+v", c)
	}
	late.SetReadDeadline(time.Now())
	if n, err := late.Read(make([]byte, 1)); n != 0 || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("the late one was treated: %d %v", n, err)
	}
	if got := r.loop.count.Exits; got["retired"] != 2 || len(got) != 1 {
		t.Errorf("exits by reason: %v", got)
	}
	if said := strings.Join(r.notes.all(), "|"); strings.Count(said, "STOPPING") != 1 {
		t.Errorf("the service manager heard %q", said)
	}
}

func TestStopLeavesParkedConnectionsTheirTime(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	r.idle(1)
	c, slow := r.dial(), r.dial()
	b := request("/")
	c.Write(b[:20])
	slow.Write(b[:20])
	r.until("parked", parkedIs(2))
	r.Finish()
	r.until("draining", stateIs(control.Draining))
	c.Write(b[20:])
	r.want(c, "200 OK")
	r.inLoop(func(l *loop) { l.alarms[stageDue] += time.Hour })
	r.skip(r.loop.set().HeaderTimeout)
	r.want(slow, "408 Request Timeout")
	if c := r.ended(); c.Served != 1 || c.Timeouts != 1 {
		t.Errorf("%+v", c)
	}
}

// A worker that dies while the master stops leaves a request that another has
// to serve.
func TestStopServesWhatADeadWorkerDidNotRead(t *testing.T) {
	checkFDs(t)
	r, odd, held := beginOnce(t, "hold")
	c := r.send("/")
	r.file(held)
	r.Finish()
	r.until("draining", stateIs(control.Draining))
	r.signal(odd, unix.SIGKILL)
	r.want(c, "200 OK")
	if c := r.ended(); c.Served != 1 || c.Retried != 1 {
		t.Errorf("%+v", c)
	}
}

func TestAStubbornWorkerGetsSIGTERMThenSIGKILL(t *testing.T) {
	checkFDs(t)
	r := begin(t, "stubborn", noWorkers) // none is started in its place
	r.get("/")
	r.idle(1)
	odd := r.next()
	// Retired, not stopped: the same ladder without the master's own.
	r.inLoop(func(l *loop) { l.retire(l.workers.idle.first.of) })
	r.skip(r.loop.set().StopTimeout)
	r.logs("worker does not leave, sending SIGTERM")
	r.loopUntil("has time after it", func(l *loop) bool { return l.workers.terms.len == 1 })
	if s := processState(odd.pid); s == "" || s == "Z" {
		t.Errorf("it is in state %q after SIGTERM", s)
	}
	r.skip(termFor)
	r.logs("killing a worker: it did not leave after SIGTERM")
	r.until("gone", func(s control.Status, c Counters) bool { return c.Killed == 1 && s.Exits["killed"] == 1 })
	r.get("/")
	r.idle(1)
	r.Finish()
	r.until("draining", stateIs(control.Draining))
	r.skip(r.loop.set().StopTimeout)
	r.logs("stopping takes too long")
	r.loopUntil("has time after it", func(l *loop) bool { return l.workers.terms.len == 1 })
	r.skip(termFor)
	if c := r.ended(); c.Killed != 2 {
		t.Errorf("%+v", c)
	}
}

func TestHardenEndsWhatIsLeftStepByStep(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { oneWorker(s); s.QueueMax = 10 })
	parked := r.dial()
	parked.Write([]byte("7"))
	r.until("parked", parkedIs(1))
	h := r.hold(1)[0]
	waits := r.send("/")
	r.until("waits", waitingIs(1))
	r.Harden() // as Stop
	r.until("draining", stateIs(control.Draining))
	r.until("nothing is ended yet", func(s control.Status, c Counters) bool { return c.Refused == 0 && s.Queue.Waiting == 1 })
	r.Harden()
	r.want(waits, "503 Service Unavailable")
	r.want(parked, "503 Service Unavailable")
	r.until("the request goes on", func(s control.Status, c Counters) bool { return c.Lost == 0 && s.Requests.Active == 1 })
	r.Harden()
	if status, _, err := answer(h); status != "" {
		t.Errorf("got %q, %v", status, err)
	}
	if c := r.ended(); c.Lost != 1 || c.Refused != 2 || c.Killed != 1 {
		t.Errorf("%+v", c)
	}
}

func TestSIGTERMAtTheSecondStepLetsARequestFinish(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	h := r.hold(1)[0]
	r.Finish()
	r.Harden()
	r.loopUntil("SIGTERM is sent", func(l *loop) bool { return l.workers.terms.len == 1 })
	r.letGo(h)
	if c := r.ended(); c.Served != 1 || c.Killed != 0 {
		t.Errorf("%+v", c)
	}
}

func TestStopDoesNotWaitForWorkersThatAreStarting(t *testing.T) {
	checkFDs(t)
	r := begin(t, "mute", nil)
	r.until("starting", func(s control.Status, _ Counters) bool { return s.Workers.Starting == 1 })
	if c := r.stopped(); c.Starts != 1 {
		t.Errorf("%+v", c)
	}
}

func TestStopBeforeTheFirstTurn(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", nil)
	r.stopped()
}

func TestStopWhileTheApplicationFails(t *testing.T) {
	checkFDs(t)
	r := begin(t, "exit", func(s *Settings) { oneWorker(s); s.QueueMax = 1 })
	c := r.send("/")
	r.until("waits", waitingIs(1))
	r.failuresAre(5)
	r.Finish()
	r.until("draining", stateIs(control.Draining))
	r.skip(r.loop.set().StopTimeout)
	r.want(c, "503 Service Unavailable")
	if c := r.ended(); c.Refused != 1 || c.Accepted != 1 {
		t.Errorf("%+v", c)
	}
}

func TestAnIdlePoolLeaves(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { oneWorker(s); s.IdleExit = time.Minute })
	r.get("/")
	r.idle(1)
	r.skip(time.Minute - time.Second)
	r.idle(1)
	r.skip(time.Second)
	if c := r.ended(); c.Served != 1 || c.Killed != 0 {
		t.Errorf("%+v", c)
	}
	if said := strings.Join(r.notes.all(), "|"); !strings.HasSuffix(said, "STOPPING") && !strings.Contains(said, "STOPPING|") {
		t.Errorf("the service manager heard %q", said)
	}
}

func TestAnIdlePoolStaysForAConnectionAtTheLastMoment(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { oneWorker(s); s.IdleExit = time.Minute })
	r.idle(1)
	var c net.Conn
	r.inLoop(func(l *loop) { // it comes in the very turn in which the time is over
		c = r.send("/")
		l.host.began = l.host.began.Add(-time.Minute)
		l.now = l.host.clock()
	})
	r.want(c, "200 OK")
	if s := r.now(); s.State != control.Running {
		t.Errorf("state %q", s.State)
	}
}

func TestWithoutMinWorkersTheFirstRequestStartsOne(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", noWorkers)
	<-r.notes.ready
	if c := r.counters(); c.Starts != 0 {
		t.Errorf("%+v", c)
	}
	r.get("/")
	if c := r.counters(); c.Starts != 1 {
		t.Errorf("%+v", c)
	}
}

func TestThePoolFollowsTheTraffic(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) {
		s.Limits = control.Limits{MinWorkers: 0, MaxWorkers: 4, MinIdle: 0, MaxIdle: 1}
		s.IdleTimeout, s.IdleExit, s.QueueMax = time.Minute, 10*time.Minute, 20
	})
	burst := r.hold(4)
	if n := r.now().Workers.Total; n != 4 {
		t.Errorf("%d workers for 4 requests", n)
	}
	var more []net.Conn
	for i := range 6 {
		more = append(more, r.send("/"))
		r.until("waits", waitingIs(i+1))
	}
	if n := r.counters().Starts; n != 4 {
		t.Errorf("%d starts, MaxWorkers is 4", n)
	}
	for _, h := range burst {
		r.letGo(h)
	}
	for _, c := range more {
		r.want(c, "200 OK")
	}
	r.idle(4)
	r.skip(50 * time.Second)
	r.idle(4)
	r.skip(10 * time.Second)
	r.until("MaxIdle are left", func(s control.Status, _ Counters) bool { return s.Workers.Total == 1 && s.Workers.Idle == 1 })
	r.skip(5 * time.Minute)
	r.idle(1)
	r.skip(5 * time.Minute)
	if c := r.ended(); c.Served != 10 || c.Starts != 4 || c.Killed+c.Lost != 0 {
		t.Errorf("%+v", c)
	}
}
