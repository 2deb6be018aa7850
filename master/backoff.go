package master

import (
	"time"

	"github.com/scgid/scgid/master/pool"
)

// A backoff drawer knows how starts have gone, and when the next may be.
type backoff struct {
	Failures       int  // starts that failed in a row
	FailuresBefore int  // before the last good start, which has served nobody yet
	RetryAt        Time // no start before this moment while Failures > 0
	LastFailure    string
	LastReady      Time // when a worker was last ready, before now
	Tried          raw  // where the generation's directory led when a start failed
	Ramp           pool.Ramp
}

// failed counts a start that failed and returns the pause before the next.
func (b *backoff) failed(why string, now Time) time.Duration {
	if b.Failures == 0 {
		b.Failures, b.FailuresBefore = b.FailuresBefore, 0
	}
	b.Failures++
	b.LastFailure = why
	pause := pool.BackOff(b.Failures)
	b.RetryAt = now + pause
	return pause
}

// forgive takes back one failure, before the next is counted.
func (b *backoff) forgive() {
	switch {
	case b.Failures > 0:
		b.Failures--
	case b.FailuresBefore > 0:
		b.FailuresBefore--
	}
}

// ready notes that a start was good, as far as one knows before it has served.
func (b *backoff) ready() { b.FailuresBefore, b.Failures = b.Failures, 0 }

// served notes that a worker does work: the next failure is the first.
func (b *backoff) served() { b.FailuresBefore = 0 }

// reset has the next start happen at once: somebody has changed something.
func (b *backoff) reset() { b.Failures, b.FailuresBefore, b.RetryAt = 0, 0, 0 }
