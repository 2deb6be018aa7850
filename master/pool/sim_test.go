package pool

import (
	"container/heap"
	"math"
	"math/rand"
	"testing"
	"time"
)

// A sim is a pool without processes: events in time order, the policy asked
// after each, starts that take a while, requests that take a while.
type sim struct {
	t      *testing.T
	l      Limits
	now    Time
	events events
	rnd    *rand.Rand

	starting, busy int
	idle           []Time // since when, most recently used last
	waiting        []Time // since when
	quiet          Time
	ramp           Ramp
	wake           Time
	exited         bool

	boot func() time.Duration
	work func() time.Duration

	starts, retired, served, peak int
	longest                       time.Duration
}

type event struct {
	at  Time
	run func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func newSim(t *testing.T, l Limits) *sim {
	s := &sim{t: t, l: l, rnd: rand.New(rand.NewSource(1))}
	s.boot = func() time.Duration { return 80*ms + time.Duration(s.rnd.Intn(80))*ms }
	s.work = func() time.Duration { return 20*ms + time.Duration(s.rnd.ExpFloat64()*40)*ms }
	return s
}

func (s *sim) at(d time.Duration, run func()) { heap.Push(&s.events, event{s.now + d, run}) }

func (s *sim) view() View {
	v := View{Starting: s.starting, Idle: len(s.idle), Busy: s.busy, Waiting: len(s.waiting), QuietSince: s.quiet, Ramp: s.ramp}
	if len(s.idle) > 0 {
		v.OldestIdle = s.idle[0]
	}
	return v
}

// settle serves who waits, then asks the policy until it has nothing more.
func (s *sim) settle() {
	for len(s.waiting) > 0 && len(s.idle) > 0 {
		s.longest = max(s.longest, s.now-s.waiting[0])
		s.waiting, s.idle = s.waiting[1:], s.idle[:len(s.idle)-1]
		s.busy++
		s.at(s.work(), func() {
			s.busy--
			s.served++
			s.quiet = s.now
			s.idle = append(s.idle, s.now)
		})
	}
	for range 1000 {
		st := Decide(s.view(), s.l, s.now)
		s.ramp, s.exited = st.Ramp, st.Exit
		for range st.Start {
			s.starting++
			s.starts++
			s.at(s.boot(), func() { s.starting--; s.idle = append([]Time{s.now}, s.idle...) })
		}
		if st.Retire {
			s.idle = s.idle[1:]
			s.retired++
		}
		s.check()
		if st.Wake > 0 && st.Wake != s.wake {
			s.wake = st.Wake
			s.at(st.Wake-s.now, func() {})
		}
		if st.Start == 0 && !st.Retire {
			return
		}
	}
	s.t.Fatalf("%v: the policy does not come to rest: %+v", s.now, s.view())
}

func (s *sim) check() {
	total := s.starting + s.busy + len(s.idle)
	s.peak = max(s.peak, total)
	if total > s.l.Max {
		s.t.Fatalf("%v: %d workers, Max is %d", s.now, total, s.l.Max)
	}
}

// run goes on until the moment end, or until the policy leaves.
func (s *sim) run(end Time) {
	for len(s.events) > 0 && s.events[0].at <= end && !s.exited {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.run()
		s.settle()
	}
	if !s.exited {
		s.now = end
		s.settle()
	}
}

// traffic lets requests arrive at rate(now) a second until the moment end.
func (s *sim) traffic(end Time, rate func(Time) float64) {
	var next func()
	next = func() {
		gap := time.Duration(s.rnd.ExpFloat64() / max(rate(s.now), 0.001) * float64(sec))
		if s.now+gap > end {
			return
		}
		s.at(gap, func() { s.waiting = append(s.waiting, s.now); next() })
	}
	next()
}

// A day of traffic: 1 request a second at night, 60 at noon, and a burst of
// four times as many for a minute of each hour.
func TestPoolFollowsADayOfTraffic(t *testing.T) {
	l := Limits{Min: 1, Max: 24, MinIdle: 2, MaxIdle: 4, IdleTimeout: 30 * sec}
	s := newSim(t, l)
	const day = 24 * time.Hour
	s.traffic(day, func(now Time) float64 {
		rate := 1 + 59*math.Pow(math.Sin(math.Pi*now.Hours()/24), 2)
		if now%time.Hour < time.Minute {
			rate *= 4
		}
		return rate
	})
	arrivedBefore := 0
	for h := time.Hour; h <= day; h += time.Hour {
		s.run(h)
		t.Logf("%2.0f h: %2d workers, %6d requests, peak %d, %d starts, %d retired, longest wait %v",
			h.Hours(), s.starting+s.busy+len(s.idle), s.served-arrivedBefore, s.peak, s.starts, s.retired, s.longest)
		arrivedBefore = s.served
		s.peak = 0
	}
	s.run(day + 10*time.Minute)
	if got := len(s.idle); s.busy != 0 || len(s.waiting) != 0 || got != l.MaxIdle {
		t.Errorf("at rest: %d idle, %d busy, %d waiting; want %d idle only", got, s.busy, len(s.waiting), l.MaxIdle)
	}
	if s.longest > sec {
		t.Errorf("a request waited %v although the pool could grow", s.longest)
	}
	if perHour := s.starts / 24; perHour > 300 {
		t.Errorf("%d starts an hour: the pool flaps", perHour)
	}
}

func TestABurstGrowsAnEmptyPoolToMaxInFiveBatches(t *testing.T) {
	s := newSim(t, Limits{Min: 0, Max: 16, MinIdle: 0, MaxIdle: 0, IdleTimeout: 10 * sec})
	s.boot = func() time.Duration { return 500 * ms }
	for range 100 {
		s.at(sec, func() { s.waiting = append(s.waiting, s.now) })
	}
	s.run(sec + 5*RampEvery)
	if s.starting != 16 {
		t.Fatalf("after five batches %d workers are starting, want 16", s.starting)
	}
	s.run(9 * sec)
	if s.served != 100 {
		t.Fatalf("served %d of 100", s.served)
	}
	s.run(time.Minute)
	if len(s.idle) != 0 || s.retired != 16 {
		t.Errorf("after IdleTimeout %d workers are left, %d retired", len(s.idle), s.retired)
	}
}

func TestIdleExitComesOnlyWhenTheWholePoolIsQuiet(t *testing.T) {
	s := newSim(t, Limits{Min: 0, Max: 4, MinIdle: 1, MaxIdle: 4, IdleTimeout: time.Minute, IdleExit: 5 * sec})
	s.traffic(10*time.Minute, func(Time) float64 { return 2 })
	s.run(10 * time.Minute)
	if s.exited && s.now-s.quiet < 5*sec {
		t.Fatalf("left %v after the last request", s.now-s.quiet)
	}
	s.run(time.Hour)
	if !s.exited || s.now-s.quiet != 5*sec {
		t.Errorf("exited %v, %v after the last request; want 5s", s.exited, s.now-s.quiet)
	}
}
