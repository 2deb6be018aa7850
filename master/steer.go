package master

import (
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// What an operator can have the loop do. Each runs in the loop.

// scale changes the limits until the master ends.
func (l *loop) scale(c control.Change) (control.Limits, error) {
	base, scaled, was := l.set.Limits, l.scaled, l.isScaled()
	if c.Reset {
		base, scaled = l.configured, control.Change{}
	}
	limits := c.Apply(base)
	if err := limits.Validate(); err != nil {
		return control.Limits{}, control.Errorf(control.CodeInvalid, "cannot change the limits: %v", err)
	}
	l.scaled = scaled.Over(c)
	if limits == l.set.Limits && l.isScaled() == was {
		return limits, nil
	}
	l.log.info("limits changed", "min", limits.MinWorkers, "max", limits.MaxWorkers, "min_idle", limits.MinIdle, "max_idle", limits.MaxIdle)
	l.set.Limits = limits
	l.keepRecord()
	l.failures, l.retryAt = 0, 0 // somebody looks after it: try at once
	l.emit(control.Event{Kind: control.EventLimits, Limits: &limits})
	return limits, nil
}

// isScaled says whether a limit was set at run time, be it to what it was: such
// a one is kept when the configuration changes.
func (l *loop) isScaled() bool { return l.scaled != control.Change{} }

// pause stops the intake. What comes waits in the kernel's backlog.
func (l *loop) pause(limit time.Duration) error {
	if l.stage != serving {
		return control.Errorf(control.CodeState, "cannot pause the intake: the pool is stopping")
	}
	l.resumeAt = 0
	if limit > 0 {
		l.resumeAt = l.now + limit
	}
	first := !l.paused
	l.paused = true
	l.recordPause()
	if first {
		l.log.info("intake paused", "limit", limit)
		l.emit(control.Event{Kind: control.EventPaused})
	}
	return nil
}

// resumeAsked ends a pause for an operator.
func (l *loop) resumeAsked() error {
	if l.stage != serving {
		return control.Errorf(control.CodeState, "cannot resume the intake: the pool is stopping")
	}
	l.resume()
	return nil
}

// resume ends a pause; without one it does nothing.
func (l *loop) resume() {
	l.resumeAt = 0
	if l.paused {
		l.paused = false
		l.recordPause()
		l.quietSince = l.now
		l.log.info("intake resumed")
		l.emit(control.Event{Kind: control.EventResumed})
	}
}

// stopAs begins the exit as an operator wants it.
func (l *loop) stopAs(order control.StopOrder) {
	l.stop()
	if order.Limit > 0 && l.stage == draining {
		l.stopAt = l.now + order.Limit
		l.notify.Extend(order.Limit + patienceMore)
	}
	for order.Now && l.stage < killing {
		l.harden()
	}
}

// find returns the worker with this id.
func (l *loop) find(id uint64) (*worker, error) {
	for _, w := range l.workers {
		if w != nil && w.id == id && w.state != gone {
			return w, nil
		}
	}
	return nil, control.Errorf(control.CodeNoWorker, "there is no worker %d", id)
}

// retireByID tells a worker to finish what it holds and to leave.
func (l *loop) retireByID(id uint64) error {
	w, err := l.find(id)
	if err != nil {
		return err
	}
	if w.state != ready {
		return control.Errorf(control.CodeState, "cannot retire worker %d: it is %s", id, w.state)
	}
	l.log.info("retiring a worker, as asked", "worker", id, "pid", w.proc.PID)
	l.retire(w)
	return nil
}

// killByID ends a worker at once.
func (l *loop) killByID(id uint64) error {
	w, err := l.find(id)
	if err != nil {
		return err
	}
	if w.state == killed {
		return control.Errorf(control.CodeState, "cannot kill worker %d: it is killed already", id)
	}
	l.kill(w, "as asked")
	return nil
}

// dump has a worker write its stacks.
func (l *loop) dump(id uint64) error {
	w, err := l.find(id)
	if err != nil {
		return err
	}
	signal := unix.SignalNum("SIG" + w.dump)
	if w.dump == "" || signal == 0 {
		return control.Errorf(control.CodeState, "cannot dump worker %d: it did not say that it can", id).
			WithHint("a worker says DUMPSIGNAL= when it is ready, see scgid-worker(7); scgi-wsgi and Go workers do")
	}
	if err := w.proc.Signal(signal); err != nil {
		return control.Errorf(control.CodeFailed, "cannot dump worker %d: %v", id, err)
	}
	return nil
}
