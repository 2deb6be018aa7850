package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/scgid/scgid/control"
)

// Restore makes a master that continues where another program of this process
// has stopped: with its connections, workers, limits and counts. All settings
// come from the state. It borrows the listeners' descriptors as New does, and
// takes all others that the state names, but only when Run is called: until then
// FallBack is possible.
func Restore(st *State, h Host) (*Master, error) {
	m, err := restore(st, h)
	if err != nil {
		return nil, fmt.Errorf("cannot continue with the state of version %s: %w", st.Version, err)
	}
	return m, nil
}

func restore(st *State, h Host) (*Master, error) {
	if st.PID != os.Getpid() {
		return nil, fmt.Errorf("it is that of process %d, not of this one (%d)", st.PID, os.Getpid())
	}
	l := newLoop(newHost(h))
	if err := st.load(l); err != nil {
		return nil, err
	}
	m, err := open(l)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(l.remap(), l.rewatch()); err != nil {
		m.close()
		return nil, err
	}
	l.regroup()
	if h.LogLevel != nil {
		h.LogLevel.Set(slog.Level(st.LogLevel))
	}
	m.restored = st
	return m, nil
}

// resumeWaiting has the operations performed that waited for their turn when the
// program before was replaced. Their callers are gone by now.
func (m *Master) resumeWaiting(kinds []string) {
	for _, kind := range kinds {
		switch kind {
		case control.OpReload:
			go m.Reload(context.Background())
		case control.OpRollback:
			go m.Rollback(context.Background())
		}
	}
}

// rewatch puts into the epoll set what was in that of the program before. What
// has happened meanwhile shows at once, edge-triggered or not.
func (l *loop) rewatch() error {
	for _, c := range l.conns.all {
		if c.State != parked && c.State != ending {
			continue
		}
		if err := l.watchConn(c, watchedEdge); err != nil {
			return fmt.Errorf("connection %d: %w", c.ID, err)
		}
	}
	for _, w := range l.workers.all {
		if w.State == gone {
			continue
		}
		if w.Watched {
			if err := l.watchLink(w); err != nil {
				return fmt.Errorf("link of worker %d: %w", w.ID, err)
			}
		}
		if err := l.watchProcess(w); err != nil {
			return fmt.Errorf("pidfd of worker %d: %w", w.ID, err)
		}
	}
	return nil
}

// takeOver is the first that a restored loop does: it tells the service manager
// again what it was told before, and how the upgrade went.
func (l *loop) takeOver(st *State) {
	l.keepRecord()
	l.recordPause()
	l.publishAtRisk()
	l.reaper.pending = true // SIGCHLD may have come meanwhile
	l.intake.QuietSince = l.now
	if l.backoff.Failures > 0 {
		l.watchRelease(string(l.backoff.Tried)) // what looked is gone
	}
	l.alarms[watchdogDue] = 0 // with another interval, or without any
	if l.host.Watchdog > 0 {
		l.alarms[watchdogDue] = max(l.now, 1)
	}
	if l.manager.Ready {
		l.host.Notify.Ready(l.statusKey().line())
	}
	o := &l.op.Now
	if o.Kind != control.OpUpgrade || o.State != control.OpRunning {
		return
	}
	o.State, o.Ended, o.Step = control.OpDone, time.Now(), ""
	took := o.Took().Round(time.Millisecond)
	if st.Failure != "" {
		o.State, o.Error = control.OpFailed, st.Failure
		l.log.Error("upgrade failed, the program before continues: "+st.Failure, "build", l.host.Build, "took", took)
	} else {
		l.log.Info("upgrade done", "build", l.host.Build, "before", st.Build, "version", l.host.Version,
			"workers", l.workers.alive(), "connections", l.conns.open, "took", took)
	}
	l.tellOperation()
}
