package bus

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// announceEvery is the least time between two announcements of properties.
const announceEvery = time.Second

// A follower turns the pool's events into signals. It is one goroutine's, and
// at rest it does nothing.
type follower struct {
	s      *session
	events <-chan control.Event

	// What was announced.
	pool      values
	workers   map[uint64]values
	state     string
	saturated bool
	last      time.Time // of the last announcement

	// What is to be announced.
	dirty     bool               // properties or workers may have changed
	full      bool               // the pool is saturated
	missed    bool               // events were; full may be wrong
	refusals  uint64             // requests refused since the last announcement
	ended     *control.Operation // before the names were there
	heartbeat <-chan time.Time
	stop      func()
}

func newFollower(s *session, events <-chan control.Event) *follower {
	return &follower{s: s, events: events, workers: map[uint64]values{}, stop: func() {}}
}

// begin takes the present state as announced: a newcomer reads it.
func (w *follower) begin(ctx context.Context) error {
	st, err := w.s.status(ctx)
	if err != nil {
		return err
	}
	workers, err := w.s.f.o.Pool.Workers(ctx)
	if err != nil {
		return err
	}
	w.pool, w.state = announced(poolProperties, st), st.State
	w.full = st.Saturated > 0
	w.saturated = w.full
	for _, one := range workers {
		w.workers[one.ID] = announced(workerProperties, one)
	}
	if o := st.Operation; o != nil && o.State != control.OpRunning {
		w.ended = o
	}
	return nil
}

// endNews is how old the end of an operation may be to be announced all the same
// when the bus or a reader was not there.
const endNews = time.Minute

// tellOldEnd announces an operation that ended before to the first reader: an
// upgrade ends in a process that is not on the bus yet, and that nobody has
// read from.
func (w *follower) tellOldEnd() {
	o := w.ended
	w.ended = nil
	switch {
	case o == nil:
	case w.s.f.clock.Now().Sub(o.Ended) < endNews:
		w.tellEnd(o)
	default:
		w.s.f.lastEnd = max(w.s.f.lastEnd, o.ID)
	}
}

// errEventsEnded says that the pool has ended, or is about to.
var errEventsEnded = errors.New("the pool's events have ended")

// follow works until ctx ends, the bus goes or the events end.
func (w *follower) follow(ctx, bus context.Context) error {
	defer func() { w.stop() }()
	if w.s.f.o.Session {
		w.tellOldEnd()
	}
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				return errEventsEnded
			}
			w.handle(e)
		case <-w.s.readers.came:
			w.tellOldEnd()
		case <-w.heartbeat:
			w.heartbeat = nil
			w.announce(ctx)
		case <-bus.Done():
			return errBusGone
		case <-ctx.Done():
			return nil
		}
		w.schedule(ctx)
	}
}

// handle notes an event, and announces what cannot wait.
func (w *follower) handle(e control.Event) {
	switch e.Kind {
	case control.EventRefused:
		w.refusals += max(e.Count, 1)
		return
	case control.EventLost:
		return // a counter, no announced property
	case control.EventState:
		w.tellState(e.State)
	case control.EventWorkerExited:
		w.s.tellReaders(poolPath, poolIface+".WorkerExited", e.Worker, count(e.PID), clean(e.Reason), e.Served)
		w.gone(e.Worker)
	case control.EventSaturated, control.EventRelieved:
		w.full = e.Kind == control.EventSaturated
	case control.EventOperation:
		w.tellEnd(e.Operation)
	case control.EventMissed:
		w.missed = true
	}
	w.dirty = true
}

// schedule announces at once if the last time is long enough ago, else sees that
// it is done then.
func (w *follower) schedule(ctx context.Context) {
	if w.heartbeat != nil || !w.dirty && w.refusals == 0 {
		return
	}
	wait := announceEvery - w.s.f.clock.Now().Sub(w.last)
	if w.last.IsZero() || wait <= 0 {
		w.announce(ctx)
		wait = announceEvery
	}
	if w.dirty || w.refusals > 0 {
		w.stop()
		w.heartbeat, w.stop = w.s.f.clock.After(wait)
	}
}

// announce sends what has changed. If the pool does not answer it stays dirty.
func (w *follower) announce(ctx context.Context) {
	w.last = w.s.f.clock.Now()
	if w.refusals > 0 {
		w.s.tellReaders(poolPath, poolIface+".Refused", w.refusals)
		w.refusals = 0
	}
	if !w.dirty {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	st, err := w.s.status(ctx)
	if err == nil {
		w.tellPool(st)
		err = w.tellWorkers(ctx)
	}
	if err != nil && ctx.Err() == nil {
		w.s.f.report(err)
	}
	w.dirty = err != nil
}

func (w *follower) tellPool(st control.Status) {
	w.tellState(st.State)
	w.tellEnd(st.Operation) // if that was missed
	if w.missed {
		w.missed, w.full = false, st.Saturated > 0
	}
	if w.full != w.saturated {
		w.saturated = w.full
		w.s.tellReaders(poolPath, poolIface+".PoolSaturated", w.full)
	}
	now := announced(poolProperties, st)
	changed := now.since(w.pool)
	if state, ok := changed["State"]; ok && !w.s.f.o.Session {
		delete(changed, "State")
		w.s.broadcast(poolPath, propertiesIface+".PropertiesChanged", poolIface, values{"State": state}, []string{})
	}
	w.changed(poolPath, poolIface, changed)
	w.pool = now
}

func (w *follower) tellState(state string) {
	if state != "" && state != w.state {
		w.state = state
		w.s.broadcast(poolPath, poolIface+".StateChanged", clean(state))
	}
}

// tellEnd announces the end of an operation, once. Of the reason it has the
// first line only: what follows may be an application's own words. The caller
// of the operation gets all of it.
func (w *follower) tellEnd(o *control.Operation) {
	if o == nil || o.State == control.OpRunning || o.ID <= w.s.f.lastEnd {
		return
	}
	w.s.f.lastEnd = o.ID
	reason, _, _ := strings.Cut(o.Error, "\n")
	w.s.tellReaders(poolPath, poolIface+".ReloadFinished", clean(o.Kind), o.State == control.OpDone, count(o.Generation), clean(reason))
}

// tellWorkers compares the workers with those that the bus knows.
func (w *follower) tellWorkers(ctx context.Context) error {
	w.s.sequence.Lock()
	defer w.s.sequence.Unlock()
	all, err := w.s.f.o.Pool.Workers(ctx)
	if err != nil {
		return err
	}
	here := map[uint64]bool{}
	for _, one := range all {
		here[one.ID] = true
		now := announced(workerProperties, one)
		old, known := w.workers[one.ID]
		w.workers[one.ID] = now
		if known {
			w.changed(pathOf(one.ID), workerIface, now.since(old))
			continue
		}
		w.s.tellReaders(rootPath, managerIface+".InterfacesAdded", pathOf(one.ID),
			map[string]values{workerIface: valuesOf(workerProperties, one, nil)})
	}
	for id := range w.workers {
		if !here[id] {
			w.removed(id)
		}
	}
	return nil
}

// gone takes a worker off the bus, if it is known there.
func (w *follower) gone(id uint64) {
	w.s.sequence.Lock()
	defer w.s.sequence.Unlock()
	if _, known := w.workers[id]; known {
		w.removed(id)
	}
}

// removed is for a holder of sequence.
func (w *follower) removed(id uint64) {
	delete(w.workers, id)
	w.s.tellReaders(rootPath, managerIface+".InterfacesRemoved", pathOf(id), []string{workerIface})
}

func (w *follower) changed(path dbus.ObjectPath, iface string, changed values) {
	if len(changed) > 0 {
		w.s.tellReaders(path, propertiesIface+".PropertiesChanged", iface, changed, []string{})
	}
}
