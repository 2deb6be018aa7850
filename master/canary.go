package master

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

// A canary is the first worker of a generation that does not serve yet. What it
// writes to stderr goes through the master, so that a failed reload can say
// the last lines of it. Were the master to crash, nobody would read that pipe:
// therefore a canary that was good counts as outdated and is replaced, as the
// last of its roll.
type canary struct {
	verdict chan error // one is sent: nil when it is ready
	tail    *tail
}

// report says how it went; only the first time counts.
func (t *canary) report(err error) {
	select {
	case t.verdict <- err:
	default:
	}
}

// tap puts the tail into the stderr of a command, before its stream in the
// journal if there is to be one. The caller calls closeAll after the start.
func (t *canary) tap(c *process.Command, journal string) (closeAll func(), err error) {
	stream := -1
	if journal != "" {
		// Without one it is as it is for others: the master's own.
		if fd, err := process.JournalStream(journal); err == nil {
			stream = fd
			c.Stdout, c.Stderr = fd, fd
		}
	}
	stderr, err := t.tail.pipe(c.Stderr)
	c.Stderr = stderr
	closeAll = func() {
		for _, fd := range [...]int{stream, stderr} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}
	if err != nil {
		closeAll()
	}
	return closeAll, err
}

// startCanary starts a worker that does not serve until admit.
func (l *loop) startCanary(g *generation) *worker {
	t := &canary{verdict: make(chan error, 1), tail: newTail()}
	l.gens.canary = l.startOf(g, t)
	return l.gens.canary
}

// admit puts a canary that was good among those that serve.
func (l *loop) admit(w *worker) {
	w.canary, l.gens.canary = nil, nil
	l.relist(w)
}

// abandonCanary ends a canary that is not wanted any more.
func (l *loop) abandonCanary(w *worker) {
	if w.canary == nil || w.State == gone || l.workers.all[w.index] != w {
		return
	}
	if w.State == starting {
		l.discard(w)
	} else if w.State == ready {
		l.retire(w)
	}
}

// await waits for the canary's verdict. A failure has the last lines of what
// the worker wrote.
func (op *operation) await(w *worker, t *canary) error {
	var err error
	select {
	case err = <-t.verdict:
	case <-op.ctx.Done():
		err = op.ctx.Err()
	}
	if err == nil {
		return nil
	}
	// In the loop once more: a worker that failed may still be there.
	_ = do(context.Background(), op.m, func(l *loop) error { l.abandonCanary(w); return nil })
	if op.ctx.Err() != nil {
		return errStopped
	}
	if lines := t.tail.last(tailWait); len(lines) > 0 {
		return errors.New(err.Error() + "; it wrote last:\n  " + strings.Join(lines, "\n  "))
	}
	return err
}

// tailWait is how long the last lines of a dead worker may take to come.
const tailWait = 200 * time.Millisecond

// passProbe gives a canary a connection of our own. It takes fd.
func (l *loop) passProbe(w *worker, fd int) error {
	if w.State != ready || w.canary == nil {
		unix.Close(fd)
		return control.Errorf(control.CodeFailed, "worker %d is gone", w.ID)
	}
	c := l.newConn(fd, true)
	slot := w.freeSlot()
	if err := l.workers.sender.SendConn(w.Link, c.ID, 0, slot, c.FD); err != nil {
		l.drop(c)
		return err
	}
	c.Probe = true
	c.State, c.worker, c.Slot, c.Whole, c.PassedAt = passed, w, slot, l.now, l.now
	w.conns = append(w.conns, c)
	l.workers.pages.follow(c)
	return nil
}
