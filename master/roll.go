package master

import (
	"fmt"
	"time"

	"github.com/scgid/scgid/control"
)

// A roll is the replacement of all workers that are not of the current
// generation, within the bounds of ReloadSurge= and ReloadUnavailable=; the
// policy says when, see package pool.
type roll struct {
	floor  int // workers that there were
	total  int // to be replaced
	left   int // as last told
	result chan error
}

// rollGivesUp is how many starts in a row may fail during a roll before the
// generation before is taken back.
const rollGivesUp = 3

// latelyFor is how long a worker that finishes a request counts as one too many.
const latelyFor = 2 * time.Second

// leavingLately counts the workers on their way out that have not been for
// long, and says when one of them will have been.
func (l *loop) leavingLately() (n int, until Time) {
	for _, w := range l.workers {
		if w == nil || !w.going() && w.state != killed || l.now-w.left >= latelyFor {
			continue
		}
		if n++; until == 0 || w.left+latelyFor < until {
			until = w.left + latelyFor
		}
	}
	return n, until
}

// outdated says that w is to be replaced.
func (l *loop) outdated(w *worker) bool { return w.of != l.current || w.piped }

// outdatedReady counts those among the ready.
func (l *loop) outdatedReady() (n int) {
	for _, w := range l.workers {
		if w != nil && w.state == ready && w != l.held && l.outdated(w) {
			n++
		}
	}
	return n
}

// beginRoll begins one for all that is outdated now, over one that was going
// on.
func (l *loop) beginRoll() {
	n := l.outdatedReady()
	l.roll = &roll{floor: l.serving(), total: n, left: -1, result: make(chan error, 1)}
}

// watchRoll tells how far the roll is, and ends it.
func (l *loop) watchRoll() {
	r := l.roll
	n := l.outdatedReady()
	if n == r.left {
		return
	}
	r.left = n
	if o := &l.operation; o.State == control.OpRunning && l.cancelOperation != nil {
		o.Generation, o.Done, o.Total = l.current.number, max(r.total-n, 0), r.total
		o.Step = fmt.Sprintf("%d of %d workers replaced", o.Done, o.Total)
		l.tellOperation()
	}
	if n == 0 {
		l.endRoll(nil)
	}
}

func (l *loop) endRoll(err error) {
	r := l.roll
	l.roll = nil
	select {
	case r.result <- err:
	default:
	}
}

// rollFails takes a start that failed during a roll: after some, what was
// before serves again.
func (l *loop) rollFails(why string) {
	if l.roll == nil || l.failures < rollGivesUp || l.previous == nil || !l.previous.proven {
		return
	}
	l.log.err("giving up the new generation: its workers do not start any more", "generation", l.current.number, "back_to", l.previous.number)
	l.endRoll(fmt.Errorf("after some of its workers were ready others could not start: %s", why))
	back := l.previous
	l.adopt(back)
	l.previous = nil // what has just failed is nothing to go back to
}

// nextOutdated returns the outdated worker that is missed least: an idle one,
// the least recently used, or else the youngest of the busy ones. The trial
// comes last.
func (l *loop) nextOutdated() *worker {
	var next *worker
	for n := l.idle.last; n != nil; n = n.prev {
		if w := n.of; l.outdated(w) && (next == nil || next.piped && !w.piped) {
			next = w
		}
	}
	if next != nil {
		return next
	}
	for _, w := range l.workers {
		if w == nil || w.state != ready || w == l.held || !l.outdated(w) {
			continue
		}
		if next == nil || next.piped && !w.piped || next.piped == w.piped && w.id > next.id {
			next = w
		}
	}
	return next
}
