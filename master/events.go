package master

import (
	"sync"
	"time"

	"github.com/scgid/scgid/control"
)

const (
	eventRoom      = 256         // events that a subscriber may be behind
	maxSubscribers = 64          // at a time
	refusedEvery   = time.Second // at most one event about refused requests in this time
	relievedAfter  = time.Second // a pool must have had room for so long to be relieved
)

// A subscriber is who reads events. The loop never waits for it.
type subscriber struct {
	c      chan control.Event
	missed uint64
	person bool // while one of these watches, the pool does not leave when idle
	once   sync.Once
}

// emit sends an event to all subscribers.
func (l *loop) emit(e control.Event) {
	if len(l.subscribers) == 0 {
		l.lastEvent++
		return
	}
	l.lastEvent++
	e.Seq, e.Time = l.lastEvent, l.began.Add(l.now)
	for s := range l.subscribers {
		s.send(e)
	}
}

// send gives e to the subscriber if it has room for it, and for the notice
// about those it had none for.
func (s *subscriber) send(e control.Event) {
	if s.missed > 0 {
		notice := control.Event{Seq: e.Seq - 1, Time: e.Time, Kind: control.EventMissed, Count: s.missed}
		select {
		case s.c <- notice:
			s.missed = 0
		default:
		}
	}
	select {
	case s.c <- e:
	default:
		s.missed++
	}
}

// subscribe begins a stream; nil means that there are too many.
func (l *loop) subscribe(person bool) *subscriber {
	if len(l.subscribers) >= maxSubscribers {
		return nil
	}
	s := &subscriber{c: make(chan control.Event, eventRoom), person: person}
	l.subscribers[s] = true
	return s
}

// unsubscribe ends a stream.
func (l *loop) unsubscribe(s *subscriber) {
	if l.subscribers[s] {
		delete(l.subscribers, s)
		s.once.Do(func() { close(s.c) })
	}
}

// watchState tells of what has changed in a turn: the pool's state, and
// whether it is at its limit with requests waiting.
func (l *loop) watchState() {
	if s := l.state(); s != l.stateLast {
		l.stateLast = s
		l.emit(control.Event{Kind: control.EventState, State: s})
	}
	l.watchSaturation()
	if n := l.count.Refused - l.refusedTold; n > 0 && l.now >= l.refusedAt {
		l.refusedTold, l.refusedAt = l.count.Refused, l.now+refusedEvery
		l.emit(control.Event{Kind: control.EventRefused, Count: n})
		l.log.warn("refused requests: no worker was free in time", "requests", n, "waiting", l.waiting.len)
	}
}

// saturated says that all workers the pool may have are at work and requests
// wait.
func (l *loop) saturated() bool {
	return l.waiting.len > 0 && l.idle.len == 0 && l.in[ready]+l.in[leaving]+l.in[retiring] >= l.set.Limits.MaxWorkers
}

func (l *loop) watchSaturation() {
	switch {
	case l.saturated():
		l.relievedAt = 0
		if l.saturatedSince == 0 {
			l.saturatedSince = max(l.now, 1)
			l.emit(control.Event{Kind: control.EventSaturated, Reason: "all workers are busy", Count: uint64(l.waiting.len)})
			l.warnOnce(&l.warned.saturated, "all workers are busy, new requests wait; consider raising MaxWorkers=", "max", l.set.Limits.MaxWorkers)
		}
	case l.saturatedSince == 0:
	case l.relievedAt == 0:
		// Not at once: under load the queue is empty for a moment now and
		// then.
		l.relievedAt = l.now + relievedAfter
	case l.now >= l.relievedAt:
		l.emit(control.Event{Kind: control.EventRelieved})
		l.saturatedSince, l.relievedAt = 0, 0
	}
}
