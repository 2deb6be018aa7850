package master

import (
	"fmt"
	"time"
)

// Counters count since the master began. Each accepted connection ends in
// exactly one of Served, Lost, Refused, ClientGone, Empty, Malformed, TooLarge
// and Timeouts.
type Counters struct {
	Accepted   uint64
	Served     uint64 // its worker said DONE
	Lost       uint64 // its worker died with it, after reading
	Refused    uint64 // answered with 503, see Refusals
	ClientGone uint64 // left while it waited
	Empty      uint64 // closed with nothing sent
	Malformed  uint64 // answered with 400 or 411
	TooLarge   uint64 // answered with 431
	Timeouts   uint64 // answered with 408

	Retried   uint64 // passed on once more because a dead worker had not read it
	TakenBack uint64 // passed on once more because a living worker did not receive it
	Pauses    uint64 // of the intake, without descriptors

	Starts       uint64
	StartsFailed uint64
	Killed       uint64
	Violations   uint64 // of the protocol, by workers
	Orphans      uint64 // children of workers that we reaped

	Refusals [refusals]uint64 // by reason

	Codes [6]uint64 // replies by class, as told by workers; 0 is not told
}

// code counts the status of a reply.
func (c *Counters) code(status int) {
	if class := status / 100; class < len(c.Codes) {
		c.Codes[class]++
	}
}

// statusKey is what the status line shows.
type statusKey struct {
	busy, max, waiting, failures int
	served                       uint64
	stage                        stage
}

func (l *loop) statusKey() statusKey {
	return statusKey{
		busy: l.busy(), max: l.set.Limits.MaxWorkers, waiting: l.waiting.len,
		failures: l.failures, served: l.count.Served, stage: l.stage,
	}
}

func (l *loop) statusDirty() bool { return l.statusKey() != l.statusLast }

// sayStatus tells the service manager how things stand, at most once a second
// and only if something changed.
func (l *loop) sayStatus() {
	key := l.statusKey()
	if l.now < l.statusAt || key == l.statusLast {
		return
	}
	l.statusLast, l.statusAt = key, l.now+time.Second
	l.notify.Status(key.line())
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

// sayReady sends READY=1, once: the service is up even if the application is
// not, or not yet.
func (l *loop) sayReady() {
	if l.readyAt != 0 {
		l.readyAt = 0
		l.notify.Ready(l.statusKey().line())
	}
}

// exit counts the end of a worker by its reason.
func (l *loop) exit(reason string) { l.exits[reason]++ }
