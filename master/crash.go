package master

import (
	"time"

	"github.com/scgid/scgid/control"
)

// What a crash of the master must not undo, and what the next one has to tell
// of it. See Record.

// takeUp takes from the record what a master that crashed has left, and begins
// to write it.
func (l *loop) takeUp() {
	if before := l.record.crashed(); before != nil {
		l.tellCrash(before)
		l.keepLimits(before.limits)
		l.keepPause(before)
	}
	l.keepRecord()
	l.recordPause()
	l.record.begin(l.set.PID)
}

// tellCrash says what the crash has cost. What workers had, they were told to
// finish; whether they did only they know.
func (l *loop) tellCrash(before *left) {
	text := "the master before this one ended without a goodbye: no accepted connection was without a worker"
	if before.stake > 0 {
		text = "the master before this one ended without a goodbye: accepted connections that no worker had were lost"
	}
	l.log.warn(text, "pid", before.pid, "lost", before.stake, "at_workers", before.active, "served", before.served)
}

// keepLimits sets the limits that had been set at run time, over those of the
// configuration as it is now.
func (l *loop) keepLimits(c control.Change) {
	limits := c.Apply(l.configured)
	if limits == l.configured {
		return
	}
	if err := limits.Validate(); err != nil {
		l.log.warn("limits set at run time are dropped, the configuration does not go with them any more", "err", err)
		return
	}
	l.set.Limits, l.scaled = limits, c
	l.log.info("limits set at run time are kept", "min", limits.MinWorkers, "max", limits.MaxWorkers, "min_idle", limits.MinIdle, "max_idle", limits.MaxIdle)
}

// keepPause goes on with a pause: it was made for something that a crash does
// not end.
func (l *loop) keepPause(before *left) {
	if !before.paused {
		return
	}
	limit := time.Duration(0)
	if before.resume > 0 {
		if limit = before.resume - bootTime(); limit <= 0 {
			l.log.info("the pause that was on has ended meanwhile")
			return
		}
		l.resumeAt = l.now + limit
	}
	l.paused = true
	l.log.warn("intake is still paused, as it was before; scgictl resume ends that", "limit", limit.Round(time.Second))
}

// keepRecord writes what has changed in a turn.
func (l *loop) keepRecord() {
	if l.record == nil {
		return
	}
	l.record.set(wordLimits, packLimits(l.set.Limits, l.configured))
	l.record.set(wordWorkers, uint64(l.open-l.ending.len-l.atStake))
	l.record.set(wordServed, l.count.Served)
}

// recordPause writes whether and until when the intake is paused.
func (l *loop) recordPause() {
	switch {
	case !l.paused:
		l.record.set(wordPause, unpaused)
	case l.resumeAt == 0:
		l.record.set(wordPause, forever)
	default:
		l.record.set(wordPause, uint64(min(bootTime()+(l.resumeAt-l.now), lastResume)))
	}
}

// stake notes whether a crash of ours would lose c: we have accepted it, no
// living worker has it, and no reply of ours is sent.
func (l *loop) stake(c *conn, on bool) {
	if c.staked == on {
		return
	}
	c.staked = on
	if on {
		l.atStake++
	} else {
		l.atStake--
	}
	l.recordStake()
}

func (l *loop) recordStake() { l.record.set(wordStake, uint64(l.atStake)) }

// foresee counts one more at stake before a system call that may make it so: we
// may not live to do it afterwards. If it did not, recordStake is due.
func (l *loop) foresee() { l.record.set(wordStake, uint64(l.atStake)+1) }
