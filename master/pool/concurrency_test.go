package pool

import (
	"fmt"
	"math/rand"
	"testing"
	"time"
)

// A machine is a simulated one: CPUs that its runnable requests share as the
// kernel's scheduler does, workers that take one request at a time, and clients
// that send the next request when they have the reply. A request uses CPU and
// sleeps in turn.
type machine struct {
	cpus, workers int
	auto          bool
	rnd           *rand.Rand
	make          func(now Time, rnd *rand.Rand) []time.Duration // CPU, sleep, CPU, ...

	now     Time
	waiting []*request
	busy    []*request
	c       Concurrency
	look    Look
	room    int
	lookAt  Time

	served          int
	waits           []time.Duration
	idle, worstIdle time.Duration // a CPU was idle while a request waited and a worker was free
	peak            int
}

type request struct {
	came, began Time
	parts       []time.Duration
}

func (r *request) active() bool { return len(r.parts)%2 == 1 }

const step = 50 * time.Microsecond

func newMachine(cpus, workers, clients int, auto bool, parts func(Time, *rand.Rand) []time.Duration) *machine {
	m := &machine{cpus: cpus, workers: workers, auto: auto, rnd: rand.New(rand.NewSource(3)), make: parts}
	for range clients {
		m.arrive()
	}
	return m
}

func (m *machine) arrive() {
	parts := m.make(m.now, m.rnd)
	if len(parts)%2 == 0 {
		parts = append(parts, step) // a request ends with some CPU
	}
	m.waiting = append(m.waiting, &request{came: m.now, parts: parts})
}

// run lets time pass.
func (m *machine) run(d time.Duration) {
	for end := m.now + d; m.now < end; m.now += step {
		m.dispatch()
		m.work()
	}
}

// dispatch passes requests on as package master does.
func (m *machine) dispatch() {
	if m.auto && m.lookAt > 0 && m.now >= m.lookAt {
		m.takeLook()
	}
	for len(m.waiting) > 0 && len(m.busy) < m.workers {
		limit := m.c.Limit(m.cpus)
		if m.auto && limit < m.workers && len(m.busy) >= limit+m.look.Old && m.room == 0 {
			m.lookWithin(LookAgain)
			break
		}
		m.room = max(m.room-1, 0)
		r := m.waiting[0]
		m.waiting = m.waiting[1:]
		r.began = m.now
		m.waits = append(m.waits, m.now-r.came)
		m.busy = append(m.busy, r)
		if len(m.busy) > m.cpus {
			m.lookWithin(LookLazily)
		}
	}
	m.peak = max(m.peak, len(m.busy))
}

func (m *machine) lookWithin(d time.Duration) {
	if m.lookAt == 0 || m.lookAt > m.now+d {
		m.lookAt = m.now + d
	}
}

func (m *machine) takeLook() {
	m.lookAt = 0
	l := Look{CPUs: m.cpus, Busy: len(m.busy)}
	for _, r := range m.busy {
		switch {
		case m.now-r.began > OldAfter:
			l.Old++
		case l.Looked < 16:
			l.Looked++
			if r.active() {
				l.Active++
			}
		}
	}
	m.c, m.look, m.room = m.c.After(l, m.now), l, l.Room()
	if len(m.busy) > m.cpus {
		m.lookWithin(LookLazily)
	}
}

// work lets the busy ones go on for a step.
func (m *machine) work() {
	runnable := 0
	for _, r := range m.busy {
		if r.active() {
			runnable++
		}
	}
	part := step
	if runnable > m.cpus {
		part = step * time.Duration(m.cpus) / time.Duration(runnable)
	}
	if runnable < m.cpus && len(m.waiting) > 0 && len(m.busy) < m.workers {
		m.idle += step
		m.worstIdle = max(m.worstIdle, m.idle)
	} else {
		m.idle = 0
	}
	var busy []*request
	for _, r := range m.busy {
		if r.active() {
			r.parts[0] -= part
		} else {
			r.parts[0] -= step
		}
		if over := r.parts[0]; over <= 0 {
			r.parts = r.parts[1:]
			if len(r.parts) > 0 {
				r.parts[0] += over
			}
		}
		if len(r.parts) > 0 {
			busy = append(busy, r)
			continue
		}
		m.served++
		m.arrive()
	}
	m.busy = busy
}

// What requests do.
var (
	burning  = func(_ Time, r *rand.Rand) []time.Duration { return []time.Duration{spread(2*ms, r)} }
	sleeping = func(_ Time, r *rand.Rand) []time.Duration {
		return []time.Duration{200 * time.Microsecond, spread(50*ms, r)}
	}
	querying = func(_ Time, r *rand.Rand) []time.Duration {
		var parts []time.Duration
		for range 5 {
			parts = append(parts, spread(2*ms, r), spread(2*ms, r))
		}
		return parts
	}
	half = func(now Time, r *rand.Rand) []time.Duration {
		if r.Intn(2) == 0 {
			return burning(now, r)
		}
		return sleeping(now, r)
	}
)

func spread(d time.Duration, r *rand.Rand) time.Duration {
	return d/2 + time.Duration(r.Int63n(int64(d)))
}

// Whatever requests do, and however many CPUs there are: not slower than without
// a limit, and no CPU is idle for longer than a moment while a request waits for
// a worker that is free.
func TestConcurrencyIsWorkConserving(t *testing.T) {
	for name, parts := range map[string]func(Time, *rand.Rand) []time.Duration{"burning": burning, "sleeping": sleeping, "querying": querying, "half": half} {
		for _, cpus := range []int{1, 2, 16} {
			t.Run(fmt.Sprint(name, " ", cpus), func(t *testing.T) {
				served := map[bool]int{}
				for _, auto := range []bool{true, false} {
					m := newMachine(cpus, 8*cpus, 16*cpus, auto, parts)
					m.run(500 * ms)
					m.served, m.worstIdle = 0, 0
					m.run(time.Second)
					served[auto] = m.served
					if auto && m.worstIdle > 6*ms {
						t.Errorf("a CPU was idle for %v", m.worstIdle)
					}
				}
				if ratio := float64(served[true]) / float64(served[false]); ratio < 0.97 {
					t.Errorf("served %d, without a limit %d: %.2f", served[true], served[false], ratio)
				}
			})
		}
	}
}

// Requests that want nothing but CPU are at about as many workers as there are CPUs.
func TestConcurrencyHoldsWhatBurnsCPU(t *testing.T) {
	for _, cpus := range []int{1, 2, 8, 64} {
		m := newMachine(cpus, 8*cpus, 16*cpus, true, burning)
		m.run(100 * ms)
		m.peak = 0
		m.run(time.Second)
		if m.peak > aim(cpus) {
			t.Errorf("%d CPUs: %d at work at the same time", cpus, m.peak)
		}
	}
}

// The kind of load changes, and the limit follows within two seconds.
func TestConcurrencyFollowsTheLoad(t *testing.T) {
	kind := burning
	m := newMachine(2, 32, 64, true, func(now Time, r *rand.Rand) []time.Duration { return kind(now, r) })
	for range 3 {
		kind = burning
		m.run(2 * time.Second)
		m.peak = 0
		m.run(time.Second)
		if m.peak > aim(2)+1 {
			t.Errorf("%v: CPU only, and %d at work at the same time", m.now, m.peak)
		}
		kind = sleeping
		m.run(2 * time.Second)
		m.served = 0
		m.run(time.Second)
		if m.served < 32*1000/55*9/10 {
			t.Errorf("%v: sleeping only, and %d served in a second", m.now, m.served)
		}
	}
}

// A few requests that compute for a minute must not keep the others waiting: the
// CPUs are shared, as without a limit.
func TestConcurrencyLetsNobodyWaitForLongRequests(t *testing.T) {
	m := newMachine(2, 8, 6, true, func(_ Time, r *rand.Rand) []time.Duration { return []time.Duration{ms} })
	m.run(100 * ms)
	for _, r := range m.waiting[:min(3, len(m.waiting))] {
		r.parts[0] = time.Minute
	}
	m.run(300 * ms)
	m.waits = nil
	m.run(5 * time.Second)
	for _, wait := range m.waits {
		if wait > 50*ms {
			t.Fatalf("a request waited for %v", wait)
		}
	}
	if len(m.waits) < 100 {
		t.Errorf("%d requests in five seconds", len(m.waits))
	}
}
