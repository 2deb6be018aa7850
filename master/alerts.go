package master

import (
	"fmt"
	"time"

	"github.com/scgid/scgid/control"
)

const (
	refusedEvery  = time.Second // at most one event about refused requests in this time
	relievedAfter = time.Second // a pool must have had room for so long to be relieved
)

// A warning is a condition that may come back thousands of times a second and
// is logged at most once a minute.
type warning int

const (
	warnIntake    warning = iota // no descriptors
	warnListener                 // a listener is broken
	warnInFlight                 // the kernel passes no more descriptors
	warnSaturated                // all workers are busy
	warnJournal                  // a worker has no stream of its own
	warnGroup                    // a worker has no control group
	warnPage                     // a worker has no page
	warnForeign                  // and what follows, one for each kind: it is no request

	warnings = warnForeign + warning(foreigns)
)

// An alerts drawer knows what has been told, so that it is not told again too
// soon.
type alerts struct {
	Warned         [warnings]Time // when last; 0 is never
	SaturatedSince Time           // 0 is not
	RefusedTold    uint64         // of the requests that were refused
	RefusedAt      Time           // the next event about refused requests may be sent
	Foreign        [foreigns]foreign
	Failure        failure // the last
}

// A failure is something that went wrong with a worker.
type failure struct {
	At     Time
	Kind   string // control.FailedStart and others; "" is none
	Worker uint64 // id
	Text   string
}

// failed notes that something went wrong. What is told first of a worker is the
// cause, and what follows from it is not told in its place.
func (a *alerts) failed(kind string, worker uint64, text string, now Time) {
	if a.Failure.Kind == "" || a.Failure.Worker != worker {
		a.Failure = failure{now, kind, worker, printable([]byte(text))}
	}
}

// workerFailed notes what went wrong with a worker, unless somebody wanted it.
func (l *loop) workerFailed(w *worker, kind, what string) {
	if !w.Ordered {
		l.alerts.failed(kind, w.ID, fmt.Sprintf("worker %d %s", w.ID, what), l.now)
	}
}

// due says whether a warning may be given now, and notes that it is.
func (a *alerts) due(w warning, now Time) bool {
	if last := a.Warned[w]; last != 0 && now-last < time.Minute {
		return false
	}
	a.Warned[w] = max(now, 1)
	return true
}

// warnRateLimited logs a warning, unless that was done less than a minute ago.
func (l *loop) warnRateLimited(w warning, text string, args ...any) {
	if l.alerts.due(w, l.now) {
		l.log.Warn(text, args...)
	}
}

// watchState tells what has changed in a turn: the pool's state, and whether it
// is at its limit with requests waiting.
func (l *loop) watchState() {
	if s := l.state(); s != l.events.LastState {
		l.events.LastState = s
		l.emit(control.Event{Kind: control.EventState, State: s})
	}
	l.watchSaturation()
	if at := l.refusedDue(); at > 0 && at <= l.now {
		n := l.count.Refused - l.alerts.RefusedTold
		l.alerts.RefusedTold, l.alerts.RefusedAt = l.count.Refused, l.now+refusedEvery
		l.emit(control.Event{Kind: control.EventRefused, Count: n})
		l.log.Warn("refused requests: no worker was free in time", "requests", n, "waiting", l.conns.waiting.len)
	}
}

// refusedDue is when requests that were refused may be told; 0 without any.
func (l *loop) refusedDue() Time {
	if l.count.Refused == l.alerts.RefusedTold {
		return 0
	}
	return max(l.alerts.RefusedAt, 1)
}

// saturated says that all workers the pool may have are at work and requests
// wait.
func (l *loop) saturated() bool {
	in := &l.workers.in
	return l.conns.waiting.len > 0 && l.workers.idle.len == 0 && in[ready]+in[leaving]+in[retiring] >= l.limits.Now.MaxWorkers
}

func (l *loop) watchSaturation() {
	switch since := &l.alerts.SaturatedSince; {
	case l.saturated():
		l.alarms[relievedDue] = 0
		if *since == 0 {
			*since = max(l.now, 1)
			l.emit(control.Event{Kind: control.EventSaturated, Reason: "all workers are busy", Count: uint64(l.conns.waiting.len)})
			l.warnRateLimited(warnSaturated, "all workers are busy, new requests wait; consider raising MaxWorkers=", "max", l.limits.Now.MaxWorkers)
		}
	case *since > 0 && l.alarms[relievedDue] == 0:
		// Not at once: under load the queue is empty for a moment now and
		// then.
		l.alarms[relievedDue] = l.now + relievedAfter
	}
}

// relieved tells that the pool has had room for a while.
func (l *loop) relieved() {
	l.alerts.SaturatedSince = 0
	l.emit(control.Event{Kind: control.EventRelieved})
}
