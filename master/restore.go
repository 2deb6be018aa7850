package master

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// Restore makes a master that goes on where another program of this process
// has left off: with its connections, workers, limits and counts. own is of
// this program: PID, Version, Build, LogLevel, Journal, Watchdog, Reread,
// Record and Groups; all other settings come from the state. It borrows the listeners'
// descriptors as New does, and takes all others that the state names, but only
// when Run is called: until then FallBack is possible.
func Restore(st *State, own Settings, listeners []Listener, notify Notifier, log *slog.Logger) (*Master, error) {
	m, err := restore(st, own, listeners, notify, log)
	if err != nil {
		return nil, fmt.Errorf("cannot go on with the state of version %s: %w", st.Version, err)
	}
	return m, nil
}

func restore(st *State, own Settings, listeners []Listener, notify Notifier, log *slog.Logger) (*Master, error) {
	if st.PID != os.Getpid() {
		return nil, fmt.Errorf("it is that of process %d, not of this one (%d)", st.PID, os.Getpid())
	}
	if err := st.Check(); err != nil {
		return nil, err
	}
	set := own
	set.Command.Argv, set.Limits = []string{""}, st.Limits // until load
	m, err := New(set, listeners, notify, log)
	if err != nil {
		return nil, err
	}
	l := m.loop
	if err = st.load(l); err == nil {
		err = l.rewatch()
	}
	if err == nil {
		l.regroup()
	}
	if err != nil {
		l.log.close()
		m.close()
		return nil, err
	}
	l.set = l.set.of(own)
	l.current.set = l.current.set.of(own)
	l.buf = make([]byte, bufferFor(l.set))
	if own.LogLevel != nil {
		own.LogLevel.Set(slog.Level(st.LogLevel))
	}
	l.restored = st
	return m, nil
}

// takeUpLine has the operations performed that waited for their turn when the
// program before was executed anew. Who asked for them is gone by now.
func (m *Master) takeUpLine(kinds []string) {
	for _, kind := range kinds {
		switch kind {
		case control.OpReload:
			go m.Reload(context.Background())
		case control.OpRollback:
			go m.Rollback(context.Background())
		}
	}
}

// of returns set with what belongs to the program that runs.
func (set Settings) of(own Settings) Settings {
	set.PID, set.Version, set.Build = own.PID, own.Version, own.Build
	set.LogLevel, set.Journal, set.Watchdog, set.Reread = own.LogLevel, own.Journal, own.Watchdog, own.Reread
	set.Record, set.Groups = own.Record, own.Groups
	return set
}

// rewatch puts into the epoll set what was in that of the program before. What
// has happened meanwhile shows at once, edge-triggered or not.
func (l *loop) rewatch() error {
	for _, c := range l.conns {
		if c.state != parked && c.state != ending {
			continue
		}
		if err := l.watchConn(c, watchedEdge); err != nil {
			return fmt.Errorf("connection %d: %w", c.id, err)
		}
	}
	for _, w := range l.workers {
		if w.state == gone {
			continue
		}
		if w.heard {
			if err := l.poll.ctl(unix.EPOLL_CTL_ADD, w.link, unix.EPOLLIN|unix.EPOLLRDHUP, aboutLink, w.index, int32(w.id)); err != nil {
				return fmt.Errorf("link of worker %d: %w", w.id, err)
			}
		}
		if err := l.poll.ctl(unix.EPOLL_CTL_ADD, w.proc.FD, unix.EPOLLIN, aboutProcess, w.index, int32(w.id)); err != nil {
			return fmt.Errorf("pidfd of worker %d: %w", w.id, err)
		}
	}
	return nil
}

// goOn is the first that a restored loop does: it tells the service manager
// again what it was told before, and how the upgrade went.
func (l *loop) goOn() {
	st := l.restored
	l.restored = nil
	l.keepRecord()
	l.recordPause()
	l.recordStake()
	l.strangers = true // SIGCHLD may have come meanwhile
	l.quietSince = l.now
	if l.failures > 0 {
		l.watchRelease(l.tried) // what looked is gone
	}
	if l.set.Watchdog > 0 {
		l.watchdogAt = max(l.now, 1)
	}
	if l.readyAt == 0 {
		l.notify.Ready(l.statusKey().line())
	}
	o := &l.operation
	if o.Kind != control.OpUpgrade || o.State != control.OpRunning {
		return
	}
	o.State, o.Ended, o.Step = control.OpDone, time.Now(), ""
	took := o.Took().Round(time.Millisecond)
	if st.Failure != "" {
		o.State, o.Error = control.OpFailed, st.Failure
		l.log.err("upgrade failed, going on as before: "+st.Failure, "build", l.set.Build, "took", took)
	} else {
		l.log.info("upgrade done", "build", l.set.Build, "before", st.Build, "version", l.set.Version,
			"workers", l.alive(), "connections", l.open, "took", took)
	}
	l.tellOperation()
}
