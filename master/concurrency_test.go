package master

import (
	"testing"

	"github.com/scgid/scgid/control"
)

func busyAtMost(n int, limit control.BusyLimit) func(*Settings) {
	return func(s *Settings) {
		fixed(n)(s)
		s.Limits.MaxBusy = limit
	}
}

func TestNoMoreThanMaxBusyAreAtWork(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", busyAtMost(3, 1))
	r.inLoop(func(l *loop) { l.limits.old, l.limits.room = 2, 2 }) // from when it was auto
	r.idle(3)
	c, let := r.held("first")
	second := r.send("/pid")
	r.until("it waits, though workers are idle", func(s control.Status, _ Counters) bool {
		return s.Queue.Waiting == 1 && s.Workers.Idle == 2 && s.Busy.Held == 1 && s.Busy.Limit == 1
	})
	let()
	pid := r.want(c, "200 OK")
	if got := r.want(second, "200 OK"); got != pid {
		t.Errorf("served by %s, want %s, who was hot", got, pid)
	}
}

func TestALiftedLimitLetsThoseWhoWaitGoOn(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", busyAtMost(3, 1))
	r.idle(3)
	c, let := r.held("first")
	second := r.send("/pid")
	r.until("it waits", waitingIs(1))
	off := control.BusyOff
	if _, err := r.Scale(t.Context(), control.Change{MaxBusy: &off}); err != nil {
		t.Fatal(err)
	}
	r.want(second, "200 OK")
	let()
	r.want(c, "200 OK")
}

// Requests that wait for something else than a CPU hold nobody back for long,
// however few CPUs there are.
func TestRequestsThatSleepAreNoLoad(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", busyAtMost(8, control.BusyAuto))
	r.inLoop(func(l *loop) { l.host.cpus = 1 })
	r.idle(8)
	all := r.hold(7)
	r.want(r.send("/pid"), "200 OK")
	for _, h := range all {
		r.letGo(h)
	}
	r.until("all are served", func(s control.Status, _ Counters) bool { return s.Requests.Served == 8 && s.Requests.Active == 0 })
}

// What burns CPU has a place each, and what comes beyond waits for one of them.
func TestRequestsThatWantACPUAreHeldBack(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", busyAtMost(4, control.BusyAuto))
	r.idle(4)
	lets := r.hold(2)
	r.inLoop(func(l *loop) {
		l.host.cpus = 1
		l.limits.Concurrency.Share, l.limits.Concurrency.Looked = 1, l.now
		l.limits.room, l.limits.old = 0, 0
		if !l.holds(l.workers.idle.first.of) {
			t.Errorf("a third is let through: limit %d, %d busy", l.busyLimit(), l.busy())
		}
		if l.alarms[measureDue] == 0 {
			t.Error("nobody looks whether they still want a CPU")
		}
	})
	for _, h := range lets {
		r.letGo(h)
	}
}
