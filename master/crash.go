package master

import (
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/record"
)

// What a crash of the master must not undo, and what the next one has to tell
// of it. See package record.

// takeUp takes from the record what a master that crashed has left, and begins
// to write it.
func (l *loop) takeUp() {
	if before := l.record.Crashed(); before != nil {
		l.tellCrash(before)
		l.keepLimits(before.Limits)
		l.keepPause(before)
	}
	l.keepRecord()
	l.recordPause()
	l.record.Begin(l.host.PID)
}

// tellCrash says what the crash has cost. What workers had, they were told to
// finish; whether they did only they know.
func (l *loop) tellCrash(before *record.Crash) {
	text := "previous master crashed; no accepted connection was lost"
	if before.AtRisk > 0 {
		text = "previous master crashed; accepted connections that no worker had were lost"
	}
	l.log.Warn(text, "pid", before.PID, "lost", before.AtRisk, "at_workers", before.AtWorkers, "served", before.Served)
}

// keepLimits sets the limits that had been set at run time, over those of the
// configuration as it is now.
func (l *loop) keepLimits(c control.Change) {
	if c.Apply(l.limits.Configured) == l.limits.Configured {
		return
	}
	l.limits.Scaled = c
	if err := l.limits.configure(l.limits.Configured); err != nil {
		l.log.Warn("limits set at run time are dropped, the configuration does not go with them any more", "err", err)
		return
	}
	limits := l.limits.Now
	l.log.Info("limits set at run time are kept", "min", limits.MinWorkers, "max", limits.MaxWorkers, "min_idle", limits.MinIdle, "max_idle", limits.MaxIdle)
}

// keepPause continues a pause: it was made for something that a crash does
// not end.
func (l *loop) keepPause(before *record.Crash) {
	if !before.Paused {
		return
	}
	limit := time.Duration(0)
	if before.Resume > 0 {
		if limit = before.Resume - record.BootTime(); limit <= 0 {
			l.log.Info("the pause that was on has ended meanwhile")
			return
		}
		l.alarms[resumeDue] = l.now + limit
	}
	l.intake.Paused = true
	l.log.Warn("intake is still paused, as it was before; scgictl resume ends that", "limit", limit.Round(time.Second))
}

// keepRecord writes what has changed in a turn.
func (l *loop) keepRecord() {
	if l.record == nil {
		return
	}
	l.record.SetLimits(l.limits.Now, l.limits.Configured)
	l.record.SetAtWorkers(l.conns.open - l.conns.ending.len - l.conns.atRisk)
	l.record.SetServed(l.count.Served)
}

// recordPause writes whether and until when the intake is paused.
func (l *loop) recordPause() {
	switch {
	case !l.intake.Paused:
		l.record.SetUnpaused()
	case l.alarms[resumeDue] == 0:
		l.record.SetPause(0)
	default:
		l.record.SetPause(record.BootTime() + (l.alarms[resumeDue] - l.now))
	}
}

// setAtRisk notes whether a crash of ours would lose c; see conns.setAtRisk.
func (l *loop) setAtRisk(c *conn, on bool) {
	if l.conns.setAtRisk(c, on) {
		l.publishAtRisk()
	}
}

func (l *loop) publishAtRisk() { l.record.SetAtRisk(l.conns.atRisk) }

// expectAccept counts one more at risk before a system call that may make it
// so: we may not live to do it afterwards. If it did not, publishAtRisk is due.
func (l *loop) expectAccept() { l.record.SetAtRisk(l.conns.atRisk + 1) }
