package master

import (
	"fmt"

	"github.com/scgid/scgid/control"
)

// A roll is the replacement of all workers that are not of the current
// generation, within the bounds of ReloadSurge= and ReloadUnavailable=; the
// policy says when, see package pool.
type roll struct {
	floor    int // workers that there were
	total    int // to be replaced
	left     int // as last told
	failures int // of starts, since one of its workers has served
	result   chan error
}

// rollGivesUp is how many starts in a row may fail during a roll before the
// generation before is taken back.
const rollGivesUp = 3

// outdated says that w is to be replaced.
func (l *loop) outdated(w *worker) bool { return w.of != l.gens.current || w.piped }

// outdatedReady counts those among the ready.
func (l *loop) outdatedReady() (n int) {
	for _, w := range l.workers.all {
		if w != nil && w.State == ready && w != l.gens.canary && l.outdated(w) {
			n++
		}
	}
	return n
}

// beginRoll begins one for all that is outdated now, over one that was going
// on.
func (l *loop) beginRoll() {
	n := l.outdatedReady()
	l.gens.roll = &roll{floor: l.serving(), total: n, left: -1, result: make(chan error, 1)}
}

// watchRoll tells how far the roll is, and ends it.
func (l *loop) watchRoll() {
	r := l.gens.roll
	n := l.outdatedReady()
	if n == r.left {
		return
	}
	r.left = n
	if o := &l.op.Now; o.State == control.OpRunning && l.op.cancel != nil {
		o.Generation, o.Done, o.Total = l.gens.current.Number, max(r.total-n, 0), r.total
		o.Step = fmt.Sprintf("%d of %d workers replaced", o.Done, o.Total)
		l.tellOperation()
	}
	if n == 0 {
		l.endRoll(nil)
	}
}

func (l *loop) endRoll(err error) {
	r := l.gens.roll
	l.gens.roll = nil
	select {
	case r.result <- err:
	default:
	}
}

// rollFails takes a start that failed during a roll: after some, what was
// before serves again.
func (l *loop) rollFails(why string) {
	r := l.gens.roll
	if r == nil {
		return
	}
	if r.failures++; r.failures < rollGivesUp || l.gens.previous == nil || !l.gens.previous.Proven {
		return
	}
	l.log.Error("giving up the new generation: its workers do not start any more", "generation", l.gens.current.Number, "back_to", l.gens.previous.Number)
	l.endRoll(fmt.Errorf("after some of its workers were ready others could not start: %s", why))
	back := l.gens.previous
	l.adopt(back)
	l.gens.previous = nil // what has just failed is nothing to go back to
}
