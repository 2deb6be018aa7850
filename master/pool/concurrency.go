package pool

import (
	"math"
	"time"
)

const (
	// LookAgain is the pause between two looks while a request is held back
	// though a worker is free: so long may a CPU be idle.
	LookAgain = 4 * time.Millisecond

	// LookLazily is the pause while nothing is held back, but more requests are
	// at workers than there are CPUs.
	LookLazily = 20 * time.Millisecond

	// OldAfter is how long a request counts as one that holds others back. One
	// that takes longer has long paid for its cold caches, and those behind it
	// must not wait for its end: the kernel shares the CPUs among them.
	OldAfter = 100 * time.Millisecond

	// spare is how many deviations below the average must still be enough to keep
	// the CPUs busy.
	spare = 2

	// shareOver is the time over which a Share is smoothed.
	shareOver = 100 * time.Millisecond
)

// A Concurrency knows how much CPU the requests of a pool want. From that
// follows how many of them it is good to have at workers at the same time: about
// as many as keep the CPUs busy. A worker that serves one request after the other
// finds its code and data in the caches, and those that take turns do not; but
// requests that wait for a database are no load, and hold nobody back.
//
// It is for workers that take one request at a time. Its zero value knows
// nothing yet, and takes requests for such that want nothing but CPU.
type Concurrency struct {
	Share  float64 // the part of the requests at workers that wants a CPU, from 0 to 1
	Looked Time    // when Share was brought up to date, 0 is never
}

// A Look is what the workers that have a request do at one moment.
type Look struct {
	CPUs   int // that the pool may use, at least 1
	Busy   int // workers with a request
	Old    int // of these, those at the same request for longer than OldAfter
	Looked int // of those that are not old, how many were looked at
	Active int // of Looked, those that run or wait for a CPU
}

// aim is how many requests should want a CPU at the same time: a few more than
// there are CPUs, so that none is idle between the end of a request and the
// beginning of the next.
func aim(cpus int) int { return cpus + max(1, cpus/8) }

// share is the part that wants a CPU in this look.
func (l Look) share() float64 {
	if l.Looked == 0 {
		return 0
	}
	return float64(l.Active) / float64(l.Looked)
}

// After brings the Concurrency up to date with a look. The longer the last one
// is ago, the more the new one counts.
func (c Concurrency) After(l Look, now Time) Concurrency {
	if l.Looked == 0 {
		return c
	}
	weight := 1.0
	if c.Looked > 0 {
		weight = -math.Expm1(-float64(now-c.Looked) / float64(shareOver))
	}
	c.Share += weight * (l.share() - c.Share)
	c.Looked = now
	return c
}

// Limit is how many requests, without old ones, may be at workers at the same
// time: never less than it takes to keep this number of CPUs busy.
//
// Of n requests n*Share want a CPU on average, give or take the square root of
// n*Share*(1-Share), as each does by itself. The limit is the n at which even
// rather few that do are enough.
func (c Concurrency) Limit(cpus int) int {
	least := aim(cpus)
	if c.Looked == 0 {
		return least
	}
	wait := spare * math.Sqrt(max(1-c.Share, 0))
	root := (wait + math.Sqrt(wait*wait+4*float64(cpus))) / 2 // of n*Share
	return max(least, int(min(root*root/max(c.Share, 1e-4), 1e6)))
}

// Room is how many requests more should be passed on at once, whatever the
// limit, because CPUs are idle at the moment of this look.
func (l Look) Room() int {
	young := l.Busy - l.Old
	return max(0, aim(l.CPUs)-int(math.Ceil(l.share()*float64(young))))
}
