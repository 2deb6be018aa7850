package master

import (
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// termFor is how long a worker has after SIGTERM before SIGKILL.
const termFor = 5 * time.Second

// An alarm is something that is due at a moment.
type alarm int

const (
	acceptDue   alarm = iota // connections are accepted again after the process had no descriptors
	listenDue                // broken listeners are tried again
	passDue                  // the kernel may pass descriptors again
	decideDue                // the policy wants to be asked again
	stageDue                 // the present stage of stopping ends
	resumeDue                // a pause ends
	relievedDue              // the pool has had room for long enough
	releaseDue               // another look where the working directory leads
	readyDue                 // READY=1 is sent at the latest
	watchdogDue              // the watchdog is fed
	measureDue               // another look at what the busy workers do
	preloadDue               // a preloaded process is started in the place of one that ended
	announceDue              // starts wait no longer for what the first of their generation is
	alarms
)

// An alarmTable has the moment of each alarm; 0 is none.
type alarmTable [alarms]Time

// onAlarm is what each alarm does, when it is cleared. nil: what follows in
// every turn of the loop will do it.
var onAlarm = [alarms]struct {
	name string
	do   func(*loop)
}{
	acceptDue:   {"accept", nil},
	listenDue:   {"listen", (*loop).tryBroken},
	passDue:     {"pass", nil},
	decideDue:   {"decide", nil},
	stageDue:    {"stage", (*loop).harden},
	resumeDue:   {"resume", (*loop).resume},
	relievedDue: {"relieved", (*loop).relieved},
	releaseDue:  {"release", (*loop).lookAtRelease},
	readyDue:    {"ready", (*loop).sayReady},
	watchdogDue: {"watchdog", (*loop).feedWatchdog},
	measureDue:  {"measure", (*loop).measure},
	preloadDue:  {"preload", (*loop).preloadAgain},
	announceDue: {"announce", (*loop).announceLate},
}

// heads are the moments that follow from what there is: mostly the first of a
// list in order of its deadlines. do has to see to it that at changes.
var heads = [...]struct {
	at func(*loop) Time // 0 is none
	do func(*loop)
}{
	{func(l *loop) Time { return l.conns.parked.next() }, (*loop).headersLate},
	{func(l *loop) Time { return l.conns.waiting.next() }, (*loop).queueLate},
	{func(l *loop) Time { return l.conns.ending.next() }, (*loop).drainLate},
	{(*loop).confirmDue, (*loop).confirmOne},
	{func(l *loop) Time { return l.workers.pages.recent.next() }, (*loop).lookLate},
	{func(l *loop) Time { return l.workers.pages.lookAt }, (*loop).lookAgain},
	{func(l *loop) Time { return l.workers.starts.next() }, (*loop).startLate},
	{func(l *loop) Time { return l.workers.stops.next() }, (*loop).stopLate},
	{func(l *loop) Time { return l.workers.terms.next() }, (*loop).termLate},
	{func(l *loop) Time { return l.workers.awaiting.next() }, (*loop).lookAtGroup},
	{func(l *loop) Time { return l.workers.forks.next() }, (*loop).forkLate},
	{(*loop).statusDue, (*loop).sayStatus},
	{(*loop).refusedDue, nil}, // watchState does it in every turn
}

// timeout says how long the loop may wait; negative is without limit.
func (l *loop) timeout() time.Duration {
	next := Time(-1)
	soonest := func(at Time) {
		if at > 0 && (next < 0 || at < next) {
			next = at
		}
	}
	for _, at := range l.alarms {
		soonest(at)
	}
	for i := range heads {
		soonest(heads[i].at(l))
	}
	if next < 0 {
		return -1
	}
	return max(next-l.now, 0)
}

// expire does what is due.
func (l *loop) expire() {
	for i := range heads {
		h := &heads[i]
		for h.do != nil {
			if at := h.at(l); at == 0 || at > l.now {
				break
			}
			h.do(l)
		}
	}
	for a := range l.alarms { // as they are now: one may set another
		if at := l.alarms[a]; at == 0 || at > l.now {
			continue
		}
		l.alarms[a] = 0
		if do := onAlarm[a].do; do != nil {
			do(l)
		}
	}
	if l.reaper.pending && l.reaper.inFlight == 0 {
		l.reapOrphans()
	}
}

// What is done about a deadline that has passed, for one connection or worker.

func (l *loop) headersLate() {
	l.count.Timeouts++
	l.answer(l.conns.parked.first.of, 408)
}

func (l *loop) queueLate() { l.refuse(l.conns.waiting.first.of, tooLate) }

func (l *loop) drainLate() { l.drop(l.conns.ending.first.of) }

func (l *loop) startLate() {
	w := l.workers.starts.first.of
	if w.Level != "" {
		l.kill(w, "it was not ready within StartTimeoutSec="+w.of.set.StartTimeout.String())
		return
	}
	l.startFailed(w, "it was not ready within StartTimeoutSec="+w.of.set.StartTimeout.String())
	l.kill(w, "it was not ready in time")
}

func (l *loop) stopLate() {
	w := l.workers.stops.first.of
	l.log.Warn("worker does not leave, sending SIGTERM", "worker", w.ID, "pid", w.proc.PID)
	l.terminate(w)
}

func (l *loop) termLate() { l.kill(l.workers.terms.first.of, "it did not leave after SIGTERM") }

func (l *loop) lookAtGroup() { l.awaitGroup(l.workers.awaiting.first.of) }

// terminate sends SIGTERM, "finish what you hold", and sets the next step.
func (l *loop) terminate(w *worker) {
	if w.proc.PID != 0 {
		w.proc.Signal(unix.SIGTERM)
	}
	l.workers.terms.append(&w.timer, l.now+termFor)
}

// MarshalJSON writes the alarms that are set, by their names.
func (t alarmTable) MarshalJSON() ([]byte, error) {
	set := map[string]Time{}
	for a, at := range t {
		if at != 0 {
			set[onAlarm[a].name] = at
		}
	}
	return json.Marshal(set)
}

// UnmarshalJSON reads what MarshalJSON wrote. An alarm that this program does
// not know would be lost: it is an error.
func (t *alarmTable) UnmarshalJSON(b []byte) error {
	var set map[string]Time
	if err := json.Unmarshal(b, &set); err != nil {
		return err
	}
	*t = alarmTable{}
	for a := range t {
		t[a] = set[onAlarm[a].name]
		delete(set, onAlarm[a].name)
	}
	for name := range set {
		return fmt.Errorf("an alarm %.40q", name)
	}
	return nil
}
