package master

import (
	"time"

	"golang.org/x/sys/unix"
)

// termFor is how long a worker has after SIGTERM before SIGKILL.
const termFor = 5 * time.Second

// timeout says how long the loop may wait; negative is without limit.
func (l *loop) timeout() time.Duration {
	next := Time(-1)
	soonest := func(at Time) {
		if at > 0 && (next < 0 || at < next) {
			next = at
		}
	}
	for _, conns := range [...]*list[conn]{&l.parked, &l.waiting, &l.ending} {
		if conns.first != nil {
			soonest(conns.first.at)
		}
	}
	if l.unconfirmed.first != nil && l.othersIdle() {
		soonest(l.unconfirmed.first.at)
	}
	for _, workers := range [...]*list[worker]{&l.starts, &l.stops, &l.terms, &l.burials} {
		if workers.first != nil {
			soonest(workers.first.at)
		}
	}
	if l.waiting.len > 0 && l.busyUntil > l.now {
		soonest(l.busyUntil)
	}
	soonest(l.acceptAgain)
	soonest(l.listenAt)
	if d := l.hopelessIn(); d > 0 {
		soonest(l.now + d) // then there is room, for refusals
	}
	soonest(l.decideAt)
	soonest(l.stopAt)
	soonest(l.resumeAt)
	soonest(l.relievedAt)
	soonest(l.lookAt)
	if l.count.Refused != l.refusedTold {
		soonest(l.refusedAt)
	}
	soonest(l.readyAt)
	soonest(l.watchdogAt)
	if l.statusDirty() {
		soonest(l.statusAt)
	}
	if next < 0 {
		return -1
	}
	return max(next-l.now, 0)
}

// expire does what is due.
func (l *loop) expire() {
	l.expireConns()
	l.expireWorkers()
	if l.acceptAgain != 0 && l.acceptAgain <= l.now {
		l.acceptAgain = 0
	}
	if l.listenAt != 0 && l.listenAt <= l.now {
		l.tryBroken()
	}
	if l.stopAt != 0 && l.stopAt <= l.now {
		l.harden()
	}
	if l.resumeAt != 0 && l.resumeAt <= l.now {
		l.resume()
	}
	if l.lookAt != 0 && l.lookAt <= l.now {
		l.lookAtRelease()
	}
	if l.readyAt != 0 && l.readyAt <= l.now {
		l.sayReady()
	}
	if l.watchdogAt != 0 && l.watchdogAt <= l.now {
		l.watchdogAt = l.now + l.set.Watchdog
		l.notify.Watchdog()
	}
	l.sayStatus()
	if l.strangers && l.inFlight == 0 {
		l.reapStrangers()
	}
}

func (l *loop) expireConns() {
	for c := l.parked.due(l.now); c != nil; c = l.parked.due(l.now) {
		l.count.Timeouts++
		l.answer(c, 408)
	}
	for c := l.waiting.due(l.now); c != nil; c = l.waiting.due(l.now) {
		l.refuse(c, tooLate)
	}
	for c := l.ending.due(l.now); c != nil; c = l.ending.due(l.now) {
		l.drop(c)
	}
	for l.othersIdle() {
		c := l.unconfirmed.due(l.now)
		if c == nil {
			break
		}
		l.confirm(c)
	}
}

func (l *loop) expireWorkers() {
	for w := l.starts.due(l.now); w != nil; w = l.starts.due(l.now) {
		l.startFailed(w, "it was not ready within StartTimeoutSec="+w.of.set.StartTimeout.String())
		l.kill(w, "it was not ready in time")
	}
	for w := l.stops.due(l.now); w != nil; w = l.stops.due(l.now) {
		l.log.warn("worker does not leave, sending SIGTERM", "worker", w.id, "pid", w.proc.PID)
		l.terminate(w)
	}
	for w := l.terms.due(l.now); w != nil; w = l.terms.due(l.now) {
		l.kill(w, "it did not leave after SIGTERM")
	}
	for range l.burials.len {
		if l.burials.first.at > l.now {
			break
		}
		l.bury(l.burials.first.of)
	}
}

// terminate sends SIGTERM, "finish what you hold", and sets the next step.
func (l *loop) terminate(w *worker) {
	if w.proc.PID != 0 {
		w.proc.Signal(unix.SIGTERM)
	}
	l.terms.append(&w.timer, l.now+termFor)
}

// warnOnce logs a warning about a condition that may come back thousands of
// times a second at most once a minute.
func (l *loop) warnOnce(last *Time, text string, args ...any) {
	if *last != 0 && l.now-*last < time.Minute {
		return
	}
	*last = max(l.now, 1)
	l.log.warn(text, args...)
}
