// Package pool decides how many workers a pool should have, and when a failed
// start is tried again.
//
// It is policy only: pure functions of what they are shown. Package master
// owns the workers, shows a View of them and carries out the Steps. Nothing
// here does I/O, keeps state or reads a clock.
package pool

import "time"

// A Time is a moment, as the time since an origin of the caller's choosing.
type Time = time.Duration

// RampEvery is the pause between two batches of starts while demand stays
// unmet; each batch may be twice as large as the one before.
const RampEvery = 20 * time.Millisecond

// Limits are the operator's.
type Limits struct {
	Min, Max         int           // processes
	MinIdle, MaxIdle int           // processes without a connection
	IdleTimeout      time.Duration // how long a surplus worker stays idle before it is retired
	IdleExit         time.Duration // how long the whole pool stays quiet before the master leaves; 0 is never
	Surge            int           // while workers are replaced: processes beyond Max, at least 1
	Unavailable      int           // while workers are replaced: processes that may be missing
}

// A View is a pool at one moment.
type View struct {
	Starting int // started, not ready yet
	Idle     int // ready, without a connection
	Busy     int // ready, with one connection or more
	Leaving  int // told to leave or leaving by themselves, not gone yet

	Waiting int // accepted connections that no worker has a place for
	Parked  int // accepted connections whose header is not whole

	OldestIdle Time // when the least recently used idle worker turned idle
	QuietSince Time // when the last connection ended, or the pool began

	Outdated int // of Idle and Busy, those that are to be replaced
	Floor    int // with Outdated: how many there were before, which are kept
	Lately   int // with Outdated: of Leaving, those that began to leave a short time ago

	LatelyUntil Time // when the first of Lately no longer counts as such; 0 without one

	Failures int  // starts that failed since the last good one
	RetryAt  Time // no start before this moment while Failures > 0

	Ramp Ramp // from the Steps before
}

// A Ramp is how far the doubling of starts has come. Its zero value is the
// beginning.
type Ramp struct {
	Batch int  // size of the next batch
	Next  Time // no batch before this moment
}

// Steps is what to do now.
type Steps struct {
	Start  int  // start so many workers
	Retire bool // retire an outdated worker, else the least recently used idle worker, else a busy one
	Exit   bool // the pool has been quiet long enough: leave
	Ramp   Ramp // to show in the next View
	Wake   Time // decide again at this moment at the latest; 0 is none
}

// Decide says what to do at the moment now. It is called again whenever the
// view has changed, so it takes one step of each kind at a time.
func Decide(v View, l Limits, now Time) Steps {
	s := Steps{Ramp: v.Ramp}
	missing := wanted(v, l) - v.Starting - v.Idle - v.Busy
	switch {
	case v.Outdated > 0:
		replace(&s, v, l, now)
	case missing > 0:
		start(&s, v, missing, now)
	default:
		if now >= v.Ramp.Next {
			s.Ramp = Ramp{}
		}
		retire(&s, v, l, now)
	}
	if l.IdleExit > 0 && v.Busy+v.Waiting+v.Parked == 0 {
		if at := v.QuietSince + l.IdleExit; now >= at {
			return Steps{Exit: true}
		} else {
			s.wake(at)
		}
	}
	return s
}

// wanted is how many workers the pool should have.
func wanted(v View, l Limits) int {
	return min(max(v.Busy+v.Waiting+l.MinIdle, l.Min), l.Max)
}

// replace fills s for a pool with workers that are to be replaced. A worker goes
// when those that stay are enough; new workers come as long as there are not too
// many processes, including those that are leaving. But a worker that finishes a
// long request must not hold up all others.
func replace(s *Steps, v View, l Limits, now Time) {
	want := min(max(wanted(v, l), v.Floor), l.Max)
	serving := v.Idle + v.Busy
	if serving-1 >= want-l.Unavailable {
		s.Retire = true
		return
	}
	missing := want - (v.Starting + serving - v.Outdated)
	room := l.Max + max(l.Surge, 1) - (v.Starting + serving + v.Lately)
	switch {
	case missing > 0 && room > 0:
		start(s, v, min(missing, room), now)
	case missing > 0 && v.Lately > 0:
		s.wake(v.LatelyUntil)
	}
}

// start fills s for a pool that lacks so many workers.
func start(s *Steps, v View, missing int, now Time) {
	if v.Failures > 0 {
		startCarefully(s, v, now)
		return
	}
	// A connection waits and no worker is starting: the ramp must not delay
	// the one worker that would serve it.
	urgent := v.Waiting > 0 && v.Idle+v.Starting == 0
	if now < v.Ramp.Next && !urgent {
		s.wake(v.Ramp.Next)
		return
	}
	s.Start = min(missing, max(v.Ramp.Batch, 1))
	s.Ramp = Ramp{Batch: 2 * s.Start, Next: now + RampEvery}
	if s.Start < missing {
		s.wake(s.Ramp.Next)
	}
}

// startCarefully tries one start at a time after a failure.
func startCarefully(s *Steps, v View, now Time) {
	switch {
	case v.Starting > 0:
	case now < v.RetryAt:
		s.wake(v.RetryAt)
	default:
		s.Start = 1
	}
	s.Ramp = Ramp{}
}

// retire fills s for a pool that has enough workers.
func retire(s *Steps, v View, l Limits, now Time) {
	total := v.Starting + v.Idle + v.Busy
	if total > l.Max && v.Idle+v.Busy > 0 {
		// The limit was lowered. Under load no worker is idle for long, so a
		// busy worker may have to go, when it has finished what it holds.
		s.Retire = true
		return
	}
	if v.Idle == 0 || total <= l.Min {
		return
	}
	if v.Idle <= l.MaxIdle || v.Waiting > 0 {
		return
	}
	at := v.OldestIdle + l.IdleTimeout
	if now >= at {
		s.Retire = true
		return
	}
	s.wake(at)
}

// wake asks for a decision at the moment at, if none comes sooner.
func (s *Steps) wake(at Time) {
	if s.Wake == 0 || at < s.Wake {
		s.Wake = at
	}
}

const (
	firstBackOff = 100 * time.Millisecond
	maxBackOff   = 30 * time.Second
)

// BackOff is the pause after so many failed starts in a row: it doubles from
// 100 ms to 30 s.
func BackOff(failures int) time.Duration {
	d := firstBackOff
	for i := 1; i < failures && d < maxBackOff; i++ {
		d *= 2
	}
	return min(d, maxBackOff)
}
