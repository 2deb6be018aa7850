package master

import (
	"time"

	"github.com/scgid/scgid/master/pool"
)

const (
	// failFastAfter is how many starts in a row have to fail before requests are
	// refused at once instead of waiting.
	failFastAfter = 3

	// freeCrashes is how many workers in a row may die of their first request
	// while the application serves otherwise, before that puts off starts.
	freeCrashes = 3

	// rowEnds is how long after a failure the next one is the first again, though
	// nothing was served in between: a pool may be quiet for days.
	rowEnds = 5 * time.Minute
)

// A backoff drawer knows how starts have gone, and when the next may be. A
// start has failed when its worker ends before it has served a connection and
// was not told to; see startFailed. Only a served connection makes good for it.
type backoff struct {
	Failures    int  // starts that failed in a row
	Crashes     int  // of workers that died of their first request, in a row
	FailedAt    Time // when the last start failed
	RetryAt     Time // no start before this moment while Failures > 0
	LastFailure string
	LastReady   Time // when a worker was last ready, before now
	Tried       raw  // where the generation's directory led when a start failed
	Wanted      bool // a request was refused since the last start
	Ramp        pool.Ramp
}

// inARow is how many starts have failed in a row, as of now.
func (b *backoff) inARow(now Time) int {
	if now-b.FailedAt > rowEnds {
		return 0
	}
	return b.Failures
}

// failed counts a start that failed and returns the pause before the next. A
// row is made of starts one after another: those of workers that were there
// already when the last one failed, and end with it, count as one.
func (b *backoff) failed(why string, began, now Time) time.Duration {
	b.LastFailure = why
	if b.inARow(now) > 0 && began <= b.FailedAt {
		return max(b.RetryAt-now, 0)
	}
	b.Failures = b.inARow(now) + 1
	b.FailedAt = now
	pause := pool.BackOff(b.Failures)
	b.RetryAt = now + pause
	return pause
}

// crashed takes a worker that died of its first request, in an application that
// has served before. It returns false when there have been so many of these that
// it has to be taken for a start that failed.
func (b *backoff) crashed() bool {
	b.Crashes++
	return b.Crashes <= freeCrashes
}

// served notes that a connection was served, and returns how many failures that
// makes good for.
func (b *backoff) served() int {
	n := b.Failures
	b.Failures, b.Crashes = 0, 0
	return n
}

// reset has the next start happen at once: somebody has changed something.
func (b *backoff) reset() { b.Failures, b.Crashes, b.RetryAt = 0, 0, 0 }
