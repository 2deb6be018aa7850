package master

import (
	"sync"

	"github.com/scgid/scgid/control"
)

const (
	eventRoom      = 256 // events that a subscriber may be behind
	maxSubscribers = 64  // at a time
)

// An events drawer has the readers of the event stream, and how far it has come.
type events struct {
	subscribers map[*subscriber]bool
	LastSeq     uint64
	LastState   string // of the pool, as last told
}

// watched says whether somebody reads events.
func (e *events) watched() bool {
	for s := range e.subscribers {
		if s.person {
			return true
		}
	}
	return false
}

// A subscriber is one reader of the event stream. The loop never waits for it.
type subscriber struct {
	c      chan control.Event
	missed uint64
	person bool // while one of these watches, the pool does not leave when idle
	once   sync.Once
}

// emit sends an event to all subscribers.
func (l *loop) emit(e control.Event) {
	l.events.LastSeq++
	if len(l.events.subscribers) == 0 {
		return
	}
	e.Seq, e.Time = l.events.LastSeq, l.host.began.Add(l.now)
	for s := range l.events.subscribers {
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
	if len(l.events.subscribers) >= maxSubscribers {
		return nil
	}
	s := &subscriber{c: make(chan control.Event, eventRoom), person: person}
	l.events.subscribers[s] = true
	return s
}

// unsubscribe ends a stream.
func (l *loop) unsubscribe(s *subscriber) {
	if l.events.subscribers[s] {
		delete(l.events.subscribers, s)
		s.once.Do(func() { close(s.c) })
	}
}
