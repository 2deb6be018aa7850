package master

import (
	"fmt"
	"time"
)

const (
	readyWithin = 10 * time.Second // READY=1 is sent by then at the latest
	statusEvery = time.Second      // at most one STATUS= in this time
)

// A manager drawer knows what the service manager was told.
type manager struct {
	Ready    bool // READY=1 was sent, or is not to be any more
	StatusAt Time // the next STATUS= may be sent
	told     statusKey
}

// statusKey is what the status line shows.
type statusKey struct {
	busy, max, waiting, failures int
	served                       uint64
	stage                        stage
}

func (l *loop) statusKey() statusKey {
	k := statusKey{
		busy: l.busy(), max: l.limits.Now.MaxWorkers, waiting: l.conns.waiting.len,
		served: l.count.Served, stage: l.stage,
	}
	if l.failing() {
		k.failures = l.backoff.Failures
	}
	return k
}

// line is what systemctl status shows.
func (k statusKey) line() string {
	text := fmt.Sprintf("%d/%d busy, %d waiting, %d served", k.busy, k.max, k.waiting, k.served)
	switch {
	case k.stage != serving:
		return "stopping: " + text
	case k.failures > 0:
		return fmt.Sprintf("application does not start (%d failures in a row): %s", k.failures, text)
	}
	return text
}

// statusDue is when the service manager may be told how things stand; 0 if it
// knows.
func (l *loop) statusDue() Time {
	if l.statusKey() == l.manager.told {
		return 0
	}
	return max(l.manager.StatusAt, 1)
}

// sayStatus tells the service manager how things stand.
func (l *loop) sayStatus() {
	key := l.statusKey()
	l.manager.told, l.manager.StatusAt = key, l.now+statusEvery
	l.host.Notify.Status(key.line())
}

// sayReady sends READY=1, once: the service is up even if the application is
// not, or not yet.
func (l *loop) sayReady() {
	l.alarms[readyDue] = 0
	if !l.manager.Ready {
		l.manager.Ready = true
		l.host.Notify.Ready(l.statusKey().line())
	}
}

// feedWatchdog gives the service manager a sign of life.
func (l *loop) feedWatchdog() {
	l.alarms[watchdogDue] = l.now + l.host.Watchdog
	l.host.Notify.Watchdog()
}
