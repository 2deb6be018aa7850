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

// A trial is the first worker of a generation that nobody serves yet. What it
// writes to stderr goes through the master, so that a failed reload can say
// the last lines of it. Were the master to crash, nobody would read that pipe:
// therefore a trial that was good counts as outdated and is replaced, as the
// last of its roll.
type trial struct {
	verdict chan error // one is sent: nil when it is ready
	tail    *tail
}

// tell says how it went; only the first time counts.
func (t *trial) tell(err error) {
	select {
	case t.verdict <- err:
	default:
	}
}

// tap puts the tail into the stderr of a command, before its stream in the
// journal if there is to be one. The caller calls closeAll after the start.
func (t *trial) tap(c *process.Command, journal string) (closeAll func(), err error) {
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

// startTrial starts a worker that does not serve until letServe.
func (l *loop) startTrial(g *generation) *worker {
	t := &trial{verdict: make(chan error, 1), tail: newTail()}
	l.held = l.startOf(g, t)
	return l.held
}

// letServe puts a trial that was good among those that serve.
func (l *loop) letServe(w *worker) {
	w.trial, l.held = nil, nil
	l.offer(w)
}

// dropTrial ends a trial that is not wanted any more.
func (l *loop) dropTrial(w *worker) {
	if w.trial == nil || w.state == gone || l.workers[w.index] != w {
		return
	}
	if w.state == starting {
		l.discard(w)
	} else if w.state == ready {
		l.retire(w)
	}
}

// await waits for the trial's verdict. A failure has the last lines of what
// the worker wrote.
func (op *operation) await(w *worker, t *trial) error {
	var err error
	select {
	case err = <-t.verdict:
	case <-op.ctx.Done():
		err = op.ctx.Err()
	}
	if err == nil {
		return nil
	}
	// In the loop once more: who fails may still be there.
	_ = order(context.Background(), op.m, func(l *loop) error { l.dropTrial(w); return nil })
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

// passProbe gives a trial a connection of our own. It takes fd.
func (l *loop) passProbe(w *worker, fd int) error {
	if w.state != ready || w.trial == nil {
		unix.Close(fd)
		return control.Errorf(control.CodeFailed, "worker %d is gone", w.id)
	}
	c := l.newConn(fd, &listener{Listener: Listener{Unix: true}})
	if err := l.sender.SendConn(w.link, c.id, 0, c.fd); err != nil {
		l.drop(c)
		return err
	}
	c.probe = true
	c.state, c.worker, c.whole, c.passedAt = passed, w, l.now, l.now
	w.conns = append(w.conns, c)
	return nil
}
