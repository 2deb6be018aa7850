package master

import (
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// What an operator can have the loop do. Each of these runs in the loop.

// scale changes the limits until the master ends.
func (l *loop) scale(c control.Change) (control.Limits, error) {
	changed, err := l.limits.change(c)
	if err != nil {
		return control.Limits{}, control.Errorf(control.CodeInvalid, "cannot change the limits: %v", err)
	}
	limits := l.limits.Now
	if !changed {
		return limits, nil
	}
	l.log.Info("limits changed", "min", limits.MinWorkers, "max", limits.MaxWorkers, "min_idle", limits.MinIdle, "max_idle", limits.MaxIdle)
	l.keepRecord()
	l.backoff.reset() // somebody looks after it: try at once
	l.emit(control.Event{Kind: control.EventLimits, Limits: &limits})
	return limits, nil
}

// pause stops the intake. What comes waits in the kernel's backlog.
func (l *loop) pause(limit time.Duration) error {
	if l.stage != serving {
		return control.Errorf(control.CodeState, "cannot pause the intake: the pool is stopping")
	}
	l.alarms[resumeDue] = 0
	if limit > 0 {
		l.alarms[resumeDue] = l.now + limit
	}
	first := !l.intake.Paused
	l.intake.Paused = true
	l.recordPause()
	if first {
		l.log.Info("intake paused", "limit", limit)
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
	l.alarms[resumeDue] = 0
	if l.intake.Paused {
		l.intake.Paused = false
		l.recordPause()
		l.intake.QuietSince = l.now
		l.log.Info("intake resumed")
		l.emit(control.Event{Kind: control.EventResumed})
	}
}

// stopAs begins the exit as an operator wants it.
func (l *loop) stopAs(order control.StopOrder) {
	l.stop()
	if order.Limit > 0 && l.stage == draining {
		l.alarms[stageDue] = l.now + order.Limit
		l.host.Notify.Extend(order.Limit + patienceMore)
	}
	for order.Now && l.stage < killing {
		l.harden()
	}
}

// find returns the worker with this id.
func (l *loop) find(id uint64) (*worker, error) {
	if w := l.workers.find(id); w != nil {
		return w, nil
	}
	return nil, control.Errorf(control.CodeNoWorker, "there is no worker %d", id)
}

// retireByID tells a worker to finish what it holds and to leave.
func (l *loop) retireByID(id uint64) error {
	w, err := l.find(id)
	if err != nil {
		return err
	}
	if w.State != ready {
		return control.Errorf(control.CodeState, "cannot retire worker %d: it is %s", id, w.State)
	}
	l.log.Info("retiring a worker, as asked", "worker", id, "pid", w.proc.PID)
	l.retire(w)
	return nil
}

// killByID ends a worker at once.
func (l *loop) killByID(id uint64) error {
	w, err := l.find(id)
	if err != nil {
		return err
	}
	if w.State == killed {
		return control.Errorf(control.CodeState, "cannot kill worker %d: it is killed already", id)
	}
	w.Ordered = true
	l.kill(w, "as asked")
	return nil
}

// dump has a worker write its stacks.
func (l *loop) dump(id uint64) error {
	w, err := l.find(id)
	if err != nil {
		return err
	}
	signal := unix.SignalNum("SIG" + w.Dump)
	if w.Dump == "" || signal == 0 {
		return control.Errorf(control.CodeState, "cannot dump worker %d: it did not say that it can", id).
			WithHint("a worker says DUMPSIGNAL= when it is ready, see scgid-worker(7); scgi-wsgi and Go workers do")
	}
	if err := w.proc.Signal(signal); err != nil {
		return control.Errorf(control.CodeFailed, "cannot dump worker %d: %v", id, err)
	}
	return nil
}
