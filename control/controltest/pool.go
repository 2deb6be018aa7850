// Package controltest has a pool in memory for tests of the front ends and of
// scgictl: its workers are numbers, but they come and go as limits and changes
// say, and events tell of it.
//
// A Pool owns nothing but its memory: no process, socket or file. It is not
// linked into a program, and does not check what control.Verb has checked.
package controltest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/scgid/scgid/control"
)

var _ control.Pool = (*Pool)(nil)

// A Pool is a control.Pool. The exported fields may be changed before it is used,
// and while it is locked. Methods of control.Pool lock it themselves.
type Pool struct {
	sync.Mutex

	St         control.Status // Workers and Queue.Waiting are counted when asked
	Configured control.Limits
	All        []control.Worker
	Waiting    []control.Request
	Settings   []control.Setting
	Level      string

	NewWorker    func(id uint64) control.Worker // a worker that has started
	StartKind    string                         // of the event of that
	Now          func() time.Time               // the time of events
	NoWorkerHint string
	MayResume    func(state string) error // nil: in any state
	Notes        []string                 // of operations that succeed
	Reason       error                    // of operations that fail
	Report       control.StopReport       // of a stop

	Seq     uint64                 // of the last event
	Calls   int                    // of any method
	Changes []string               // that were made, such as "pause 1.5s"
	Ended   chan control.Operation // has one for each operation, while there is room
	Stopped chan struct{}          // closed when a stop is complete
	Held    chan struct{}          // has one for each change that waits, while there is room

	next uint64 // id of a worker
	subs map[*sub]struct{}
	hold chan struct{} // changes wait until it is closed
}

type sub struct {
	events chan control.Event
	missed uint64
}

// New returns a running pool with its least number of workers.
func New(st control.Status, newWorker func(id uint64) control.Worker) *Pool {
	st.State = control.Running
	if st.Exits == nil {
		st.Exits = map[string]uint64{}
	}
	p := &Pool{St: st, Configured: st.Limits, Level: "info", NewWorker: newWorker, StartKind: control.EventWorkerStarted, Now: time.Now,
		Ended: make(chan control.Operation, 100), Stopped: make(chan struct{}), Held: make(chan struct{}, 1000), subs: map[*sub]struct{}{}}
	p.fit()
	return p
}

// Hold has changes wait, and a stop and operations continue to wait when their
// callers have left, until release is called.
func (p *Pool) Hold() (release func()) {
	hold := make(chan struct{})
	p.Lock()
	p.hold = hold
	p.Unlock()
	return func() {
		p.Lock()
		if p.hold == hold {
			p.hold = nil
		}
		p.Unlock()
		close(hold)
	}
}

// wait waits while changes are held.
func (p *Pool) wait(ctx context.Context) error {
	p.Lock()
	hold := p.hold
	p.Unlock()
	if hold == nil {
		return nil
	}
	select {
	case p.Held <- struct{}{}:
	default:
	}
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Change makes a change: it waits while changes are held, locks, notes what is
// done, and does it.
func (p *Pool) Change(ctx context.Context, what string, do func() error) error {
	if err := p.wait(ctx); err != nil {
		return err
	}
	p.Lock()
	defer p.Unlock()
	p.Calls++
	p.Changes = append(p.Changes, what)
	return do()
}

// Made returns the changes that were made.
func (p *Pool) Made() []string {
	p.Lock()
	defer p.Unlock()
	return slices.Clone(p.Changes)
}

// Tell gives an event to all subscribers; those with no room miss it, and hear
// of that as soon as they have room. The pool must be locked.
func (p *Pool) Tell(e control.Event) {
	p.Seq++
	e.Seq, e.Time = p.Seq, p.Now()
	for s := range p.subs {
		if s.missed > 0 {
			gap := control.Event{Seq: e.Seq - 1, Time: e.Time, Kind: control.EventMissed, Count: s.missed}
			select {
			case s.events <- gap:
				s.missed = 0
			default:
				s.missed++
				continue
			}
		}
		select {
		case s.events <- e:
		default:
			s.missed++
		}
	}
}

// Send is Tell for a pool that is not locked.
func (p *Pool) Send(e control.Event) { p.Update(e, func(*control.Status) {}) }

// Update changes the status and tells e.
func (p *Pool) Update(e control.Event, f func(*control.Status)) {
	p.Lock()
	defer p.Unlock()
	f(&p.St)
	p.Tell(e)
}

// Unheard runs f in a pool that nobody hears.
func (p *Pool) Unheard(f func()) {
	p.Lock()
	subs := p.subs
	p.subs = map[*sub]struct{}{}
	p.Unlock()
	f()
	p.Lock()
	p.subs = subs
	p.Unlock()
}

// Subscribers returns how many subscriptions there are.
func (p *Pool) Subscribers() int {
	p.Lock()
	defer p.Unlock()
	return len(p.subs)
}

// Subscribe is one of control.Pool; a subscription has room for 256 events.
func (p *Pool) Subscribe(context.Context, bool) (*control.Subscription, error) {
	p.Lock()
	defer p.Unlock()
	p.Calls++
	if p.St.State == control.Draining {
		return nil, errors.New("the pool is about to end")
	}
	s := &sub{events: make(chan control.Event, 256)}
	p.subs[s] = struct{}{}
	var once sync.Once
	return &control.Subscription{C: s.events, Close: func() {
		once.Do(func() {
			p.Lock()
			defer p.Unlock()
			delete(p.subs, s)
			close(s.events)
		})
	}}, nil
}

// SetState changes the state. The pool must be locked.
func (p *Pool) SetState(state string) {
	p.St.State = state
	p.Tell(control.Event{Kind: control.EventState, State: state})
}
