package master

import (
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/pool"
	"github.com/scgid/scgid/master/process"
)

const (
	// measureMost is at how many workers one look is taken: each is a few system
	// calls.
	measureMost = 16

	// tellLimitEvery is the least time between two events about the limit.
	tellLimitEvery = time.Second
)

// busyLimit is how many workers with one slot may have a request now, beside
// those whose requests are old; 0 is no limit.
func (l *loop) busyLimit() int {
	switch limit := l.limits.Now.MaxBusy; limit {
	case control.BusyOff:
		return 0
	case control.BusyAuto:
		if n := l.limits.Concurrency.Limit(l.host.cpus); n < l.limits.Now.MaxWorkers {
			return n
		}
		return 0
	default:
		return int(limit)
	}
}

// holds says whether a request has to wait though w is free, because enough
// others are at work.
func (l *loop) holds(w *worker) bool {
	limit := l.busyLimit()
	if limit == 0 || w.Slots > 1 {
		return false
	}
	if l.limits.Now.MaxBusy == control.BusyAuto {
		if l.limits.room > 0 {
			return false
		}
		limit += l.limits.old
	}
	if l.busy() < limit {
		return false
	}
	l.measureWithin(pool.LookAgain)
	return true
}

// held is how many requests wait though a worker is free.
func (l *loop) held() int {
	if l.workers.idle.len == 0 || l.alarms[passDue] != 0 {
		return 0
	}
	return l.conns.waiting.len
}

// tookRoom notes that a request was passed on.
func (l *loop) tookRoom() {
	l.limits.room = max(l.limits.room-1, 0)
	if l.busy() > l.host.cpus {
		l.measureWithin(pool.LookLazily)
	}
}

// measureWithin sees to it that a look is taken in time. It is only for
// MaxBusy=auto.
func (l *loop) measureWithin(pause time.Duration) {
	if l.limits.Now.MaxBusy != control.BusyAuto {
		return
	}
	if at := &l.alarms[measureDue]; *at == 0 || *at > l.now+pause {
		*at = l.now + pause
	}
}

// measure learns what the busy workers do. It reads /proc in the loop, which is
// otherwise for helpers to do: this file is made by the kernel at once, from what
// it has in memory, and the answer of a helper would be too late.
func (l *loop) measure() {
	if l.limits.Now.MaxBusy != control.BusyAuto {
		return
	}
	seen := pool.Look{CPUs: l.host.cpus, Busy: l.busy()}
	all := l.workers.all
	from := l.limits.next
	for i := range all {
		at := (from + i) % len(all)
		w := all[at]
		if w == nil || w.State != ready || w.Slots > 1 || len(w.conns) == 0 {
			continue
		}
		if l.now-w.conns[0].PassedAt > pool.OldAfter {
			seen.Old++
			continue
		}
		if seen.Looked == measureMost {
			continue
		}
		seen.Looked++
		l.limits.next = at + 1
		if process.Active(w.proc.PID) {
			seen.Active++
		}
	}
	l.limits.Concurrency = l.limits.Concurrency.After(seen, l.now)
	l.limits.old, l.limits.room = seen.Old, seen.Room()
	if seen.Busy > l.host.cpus {
		l.measureWithin(pool.LookLazily)
	}
	l.tellBusyLimit()
}

// tellBusyLimit tells those who watch of another limit.
func (l *loop) tellBusyLimit() {
	now := l.busyLimit()
	if now == l.limits.Told || l.now < l.limits.ToldAt+tellLimitEvery {
		return
	}
	l.limits.Told, l.limits.ToldAt = now, l.now
	l.emit(control.Event{Kind: control.EventBusyLimit, Count: uint64(now)})
}
