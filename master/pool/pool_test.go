package pool

import (
	"testing"
	"time"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

var limits = Limits{Min: 2, Max: 10, MinIdle: 2, MaxIdle: 3, IdleTimeout: 60 * sec}

var rolling = Limits{Min: 2, Max: 4, MaxIdle: 4, Surge: 1}

func with(l Limits, surge, unavailable int) Limits {
	l.Surge, l.Unavailable = surge, unavailable
	return l
}

var decideTests = []struct {
	name   string
	view   View
	limits Limits
	now    Time
	want   Steps
}{
	{"an empty pool starts with one", View{}, limits, sec,
		Steps{Start: 1, Ramp: Ramp{2, sec + RampEvery}, Wake: sec + RampEvery}},
	{"the next batch waits for its moment", View{Starting: 1, Ramp: Ramp{2, sec + RampEvery}}, limits, sec + 5*ms,
		Steps{Ramp: Ramp{2, sec + RampEvery}, Wake: sec + RampEvery}},
	{"the next batch is twice as large", View{Starting: 1, Waiting: 8, Ramp: Ramp{2, sec}}, limits, sec,
		Steps{Start: 2, Ramp: Ramp{4, sec + RampEvery}, Wake: sec + RampEvery}},
	{"no more than is missing", View{Starting: 1, Ramp: Ramp{8, sec}}, limits, sec,
		Steps{Start: 1, Ramp: Ramp{2, sec + RampEvery}}},
	{"a waiting connection does not wait for the ramp", View{Busy: 3, Waiting: 1, Ramp: Ramp{4, 2 * sec}}, limits, sec,
		Steps{Start: 3, Ramp: Ramp{6, sec + RampEvery}}},
	{"a waiting connection with a worker on its way does", View{Busy: 3, Starting: 1, Waiting: 1, Ramp: Ramp{4, 2 * sec}}, limits, sec,
		Steps{Ramp: Ramp{4, 2 * sec}, Wake: 2 * sec}},
	{"never above Max", View{Busy: 9, Waiting: 50, Ramp: Ramp{16, 0}}, limits, sec,
		Steps{Start: 1, Ramp: Ramp{2, sec + RampEvery}}},
	{"full is full", View{Busy: 10, Waiting: 50}, limits, sec, Steps{}},
	{"leaving workers do not hold up their replacement", View{Busy: 9, Leaving: 5, Waiting: 5}, limits, sec,
		Steps{Start: 1, Ramp: Ramp{2, sec + RampEvery}}},
	{"a met demand ends the ramp", View{Idle: 2, Ramp: Ramp{8, sec}}, limits, 2 * sec, Steps{}},
	{"a short moment of met demand does not", View{Idle: 2, Ramp: Ramp{8, sec}}, limits, sec - ms, Steps{Ramp: Ramp{8, sec}}},

	{"after a failure: not before its time", View{Failures: 2, RetryAt: 3 * sec, Waiting: 4}, limits, sec,
		Steps{Wake: 3 * sec}},
	{"after a failure: one", View{Failures: 2, RetryAt: 3 * sec, Waiting: 4}, limits, 3 * sec, Steps{Start: 1}},
	{"after a failure: one at a time", View{Failures: 2, RetryAt: 3 * sec, Waiting: 4, Starting: 1}, limits, 4 * sec, Steps{}},

	{"surplus stays for IdleTimeout", View{Idle: 4, OldestIdle: 10 * sec}, limits, 69 * sec, Steps{Wake: 70 * sec}},
	{"surplus goes after IdleTimeout", View{Idle: 4, OldestIdle: 10 * sec}, limits, 70 * sec, Steps{Retire: true}},
	{"MaxIdle may stay for ever", View{Idle: 3, OldestIdle: 0}, limits, 9999 * sec, Steps{}},
	{"not below Min", View{Idle: 2}, Limits{Min: 2, Max: 4}, 9999 * sec, Steps{}},
	{"above a lowered Max at once", View{Idle: 1, Busy: 10, OldestIdle: sec}, limits, sec, Steps{Retire: true}},
	{"above a lowered Max a busy one if need be", View{Busy: 11}, limits, sec, Steps{Retire: true}},
	{"at Max never a busy one", View{Busy: 10}, limits, sec, Steps{}},

	{"a trial is one more than enough: one outdated goes", View{Idle: 5, Outdated: 5, Floor: 4}, rolling, sec, Steps{Retire: true}},
	{"its place is taken by a new one", View{Idle: 4, Outdated: 4, Floor: 4}, rolling, sec,
		Steps{Start: 1, Ramp: Ramp{2, sec + RampEvery}}},
	{"not beyond the surge while the old one still works", View{Idle: 4, Leaving: 1, Lately: 1, LatelyUntil: 3 * sec, Outdated: 4, Floor: 4}, rolling, sec,
		Steps{Wake: 3 * sec}},
	{"but not for ever", View{Idle: 4, Leaving: 1, Outdated: 4, Floor: 4}, rolling, 3 * sec,
		Steps{Start: 1, Ramp: Ramp{2, 3*sec + RampEvery}}},
	{"with more surge more at a time", View{Idle: 4, Outdated: 4, Floor: 4, Ramp: Ramp{8, 0}}, with(rolling, 3, 0), sec,
		Steps{Start: 3, Ramp: Ramp{6, sec + RampEvery}}},
	{"one may be missing", View{Busy: 4, Outdated: 4, Floor: 4}, with(rolling, 1, 1), sec, Steps{Retire: true}},
	{"and no more", View{Busy: 3, Outdated: 3, Floor: 4, Leaving: 1, Lately: 1}, with(rolling, 1, 1), sec,
		Steps{Start: 1, Ramp: Ramp{2, sec + RampEvery}}},
	{"a pool that had few is not filled up", View{Idle: 1, Outdated: 1, Floor: 0}, Limits{Max: 4, Surge: 1}, sec, Steps{Retire: true}},
	{"a lowered Max holds in a roll", View{Idle: 8, Outdated: 8, Floor: 8}, rolling, sec, Steps{Retire: true}},
	{"a roll with failing starts backs off", View{Idle: 4, Outdated: 4, Floor: 4, Failures: 1, RetryAt: 2 * sec}, rolling, sec, Steps{Wake: 2 * sec}},

	{"quiet long enough", View{Idle: 3, QuietSince: sec}, Limits{Max: 4, MaxIdle: 4, IdleExit: sec}, 2 * sec, Steps{Exit: true}},
	{"not quiet long enough", View{Idle: 3, QuietSince: sec}, Limits{Max: 4, MaxIdle: 4, IdleExit: 5 * sec}, 2 * sec, Steps{Wake: 6 * sec}},
	{"one busy worker is not quiet", View{Idle: 3, Busy: 1}, Limits{Max: 4, MaxIdle: 4, IdleExit: sec}, 20 * sec, Steps{}},
	{"a parked connection is not quiet", View{Idle: 3, Parked: 1}, Limits{Max: 4, MaxIdle: 4, IdleExit: sec}, 20 * sec, Steps{}},
	{"a waiting connection is not quiet", View{Starting: 1, Waiting: 1}, Limits{Max: 1, IdleExit: sec}, 20 * sec, Steps{}},
	{"Min = 0 and nothing to do", View{}, Limits{Max: 4}, sec, Steps{}},
	{"Min = 0 and the first request", View{Waiting: 1}, Limits{Max: 4}, sec, Steps{Start: 1, Ramp: Ramp{2, sec + RampEvery}}},
}

func TestDecide(t *testing.T) {
	for _, c := range decideTests {
		t.Run(c.name, func(t *testing.T) {
			if got := Decide(c.view, c.limits, c.now); got != c.want {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestBackOffDoublesUpToItsLimit(t *testing.T) {
	want := []time.Duration{100 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12800 * ms, 25600 * ms, 30 * sec}
	for n, w := range want {
		if got := BackOff(n); got != w {
			t.Errorf("BackOff(%d) = %v, want %v", n, got, w)
		}
	}
	if got := BackOff(1 << 30); got != maxBackOff {
		t.Errorf("BackOff(1<<30) = %v", got)
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	v := View{Busy: 3, Waiting: 2}
	if n := testing.AllocsPerRun(100, func() { Decide(v, limits, sec) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
