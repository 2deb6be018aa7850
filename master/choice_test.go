package master

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func fixed(n int) func(*Settings) {
	return func(s *Settings) { s.Limits = control.Limits{MinWorkers: n, MaxWorkers: n, MaxIdle: n} }
}

func waitingIs(n int) func(control.Status, Counters) bool {
	return func(s control.Status, _ Counters) bool { return s.Queue.Waiting == n }
}

// held is a request that stays at its worker.
type held struct {
	net.Conn
	let func()
}

// hold makes n of them.
func (r *rig) hold(n int) (all []held) {
	r.t.Helper()
	for range n {
		c, let := r.held(fmt.Sprint("fifo", r.counters().Accepted))
		all = append(all, held{c, let})
	}
	return all
}

// letGo ends it and returns the pid of its worker.
func (r *rig) letGo(h held) string {
	r.t.Helper()
	h.let()
	return r.want(h, "200 OK")
}

func TestTheMostRecentlyUsedIdleWorkerIsNext(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", fixed(3))
	r.idle(3)
	var order []string
	for i, h := range r.hold(3) {
		order = append(order, r.letGo(h))
		r.idle(i + 1)
	}
	for range 5 {
		if got := r.get("/pid"); got != order[2] {
			t.Errorf("served by %s, want the last used of %v", got, order)
		}
		r.idle(3)
	}
	var got []string
	for _, h := range r.hold(3) {
		defer r.letGo(h)
	}
	r.inLoop(func(l *loop) {
		held := slices.Clone(l.workers.all)
		slices.SortFunc(held, func(a, b *worker) int { return int(a.conns[0].ID) - int(b.conns[0].ID) })
		for _, w := range held {
			got = append(got, fmt.Sprint(w.proc.PID))
		}
	})
	slices.Reverse(order)
	if !slices.Equal(got, order) {
		t.Errorf("chosen were %v, want %v", got, order)
	}
}

func TestTheLeastBusyOfSeveralSlotsIsNext(t *testing.T) {
	checkFDs(t)
	r := begin(t, "slots:3", fixed(2))
	r.idle(2)
	var all []held
	for i, want := range [][2]int{{0, 1}, {1, 1}, {1, 2}, {2, 2}, {2, 3}, {3, 3}} {
		c, let := r.held(fmt.Sprint("fifo", i))
		all = append(all, held{c, let})
		var got []int
		for _, p := range r.workers() {
			got = append(got, p.conns)
		}
		slices.Sort(got)
		if !slices.Equal(got, want[:]) {
			t.Errorf("after %d requests the workers hold %v", i+1, got)
		}
	}
	// All slots are taken: one more has to wait.
	seventh := r.send("/pid")
	r.until("waits", waitingIs(1))
	r.letGo(all[0])
	r.want(seventh, "200 OK")
	for _, h := range all[1:] {
		r.letGo(h)
	}
	r.idle(2)
}

// Those that are missed least go first, and nobody who is at work.
func TestTheLeastRecentlyUsedOfTheIdleIsRetired(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) {
		s.Limits = control.Limits{MaxWorkers: 4, MaxIdle: 1}
		s.IdleTimeout = time.Minute
	})
	all := r.hold(4)
	var order []string
	for i, h := range all[:3] {
		order = append(order, r.letGo(h))
		r.idle(i + 1)
	}
	busy := ""
	r.inLoop(func(l *loop) {
		for _, w := range l.workers.all {
			if len(w.conns) > 0 {
				busy = fmt.Sprint(w.proc.PID)
			}
		}
	})
	r.skip(time.Minute)
	r.until("MaxIdle are left", func(s control.Status, _ Counters) bool { return s.Workers.Total == 2 })
	var left []string
	for _, p := range r.workers() {
		left = append(left, fmt.Sprint(p.pid))
		if p.state != ready {
			t.Errorf("worker %d is %v", p.pid, p.state)
		}
	}
	slices.Sort(left)
	want := []string{order[2], busy}
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("%v are left; %v is busy, the others were used in the order %v", left, busy, order)
	}
	if got := r.letGo(all[3]); got != busy {
		t.Errorf("the held request was %s's", got)
	}
}
