package master

import (
	"errors"
	"fmt"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
)

// Check says why this program could not continue with st. It looks at
// everything but the descriptors, which need not be there.
func (st *State) Check() error { return st.load(newLoop(newHost(Host{}))) }

// load puts st into l, which is new. It does no I/O and lists nothing in the
// epoll set; after an error l is of no use.
func (st *State) load(l *loop) error {
	if st.Now < 0 {
		return errors.New("a negative time")
	}
	for _, kind := range st.Waiting {
		if kind != control.OpReload && kind != control.OpRollback {
			return fmt.Errorf("an operation of kind %.40q waits", kind)
		}
	}
	for _, limits := range []control.Limits{st.Limits.Now, st.Limits.Configured} {
		if err := limits.Validate(); err != nil {
			return err
		}
	}
	l.host.began = time.Now().Add(-st.Now - max(clock()-st.Clock, 0))
	l.host.origin = clock() - l.host.clock()
	l.host.since = st.Since
	l.now = l.host.clock()
	subscribers := l.events.subscribers
	l.count, l.intake, l.backoff, l.limits, l.alerts = st.Count, st.Intake, st.Backoff, st.Limits, st.Alerts
	l.manager, l.events, l.op, l.alarms = st.Manager, st.Events, st.Op, st.Alarms
	l.events.subscribers = subscribers
	if l.count.Exits == nil {
		l.count.Exits = map[string]uint64{}
	}
	generations, err := st.Gens.load(&l.gens)
	if err != nil {
		return err
	}
	conns, err := st.Conns.load(&l.conns)
	if err != nil {
		return err
	}
	workers, err := st.Workers.load(&l.workers, conns, generations)
	if err != nil {
		return err
	}
	if err := errors.Join(st.Conns.loadLists(&l.conns, conns), st.Workers.loadLists(&l.workers, workers)); err != nil {
		return err
	}
	return l.consistent()
}

// load makes the generations, by number.
func (st *stateGenerations) load(to *generations) (map[int]*generation, error) {
	byNumber := map[int]*generation{}
	for i := range st.All {
		s := &st.All[i]
		if s.Number <= 0 || s.Number > st.LastNumber || byNumber[s.Number] != nil {
			return nil, fmt.Errorf("a generation with number %d", s.Number)
		}
		g := &generation{generationFacts: s.generationFacts, set: s.Settings}
		g.set.Command = s.Command.load()
		if err := g.set.check(); err != nil {
			return nil, fmt.Errorf("generation %d: %w", s.Number, err)
		}
		byNumber[s.Number] = g
	}
	to.current, to.previous, to.LastNumber = byNumber[st.Current], byNumber[st.Previous], st.LastNumber
	if to.current == nil || to.previous == nil && st.Previous != 0 {
		return nil, fmt.Errorf("generation %d or %d is missing", st.Current, st.Previous)
	}
	return byNumber, nil
}

// load makes the connections, by id. None is in a list or at a worker yet.
func (st *stateConns) load(to *conns) (map[uint64]*conn, error) {
	var err error
	if to.hash, err = newHeadHash(st.HeadKey); err != nil {
		return nil, fmt.Errorf("the key of headers: %w", err)
	}
	byID := map[uint64]*conn{}
	to.LastID = st.LastID
	for i := range st.All {
		c := &conn{connFacts: st.All[i], index: int32(len(to.all))}
		switch {
		case c.ID == 0 || c.ID > st.LastID || byID[c.ID] != nil:
			return nil, fmt.Errorf("a connection with id %d", c.ID)
		case c.State == 0 || c.FD < 0 || min(c.Size, c.Seen, c.Drained) < 0 || c.Slot < link.NoSlot || c.Slot >= link.PageSlots:
			return nil, fmt.Errorf("a value of connection %d is out of range", c.ID)
		}
		c.place.of, c.check.of, c.look.of = c, c, c
		to.all = append(to.all, c)
		byID[c.ID] = c
		to.open++
		if c.AtRisk {
			to.atRisk++
		}
	}
	return byID, nil
}

// load makes the workers, by id, with the connections that they hold.
func (st *stateWorkers) load(to *workers, conns map[uint64]*conn, generations map[int]*generation) (map[uint64]*worker, error) {
	if len(st.All) > 4*control.WorkersMax {
		return nil, fmt.Errorf("%d workers", len(st.All))
	}
	to.LastID, to.Grouping = st.LastID, st.Grouping
	byID := map[uint64]*worker{}
	for i := range st.All {
		s := &st.All[i]
		if err := s.check(); err != nil {
			return nil, err
		}
		of := generations[s.Generation]
		if s.ID > st.LastID || byID[s.ID] != nil || of == nil {
			return nil, fmt.Errorf("a worker with id %d of generation %d", s.ID, s.Generation)
		}
		w := &worker{
			workerFacts: s.workerFacts, index: int32(len(to.all)), of: of, proc: process.Process{PID: s.PID, FD: s.PIDFD},
			conns: make([]*conn, 0, max(s.Slots, len(s.Conns))),
		}
		w.offered.of, w.timer.of = w, w
		for _, id := range s.Conns {
			c := conns[id]
			if c == nil || c.State != passed || c.worker != nil {
				return nil, fmt.Errorf("worker %d holds connection %d", s.ID, id)
			}
			if w.Paged && c.Slot < 0 {
				return nil, fmt.Errorf("connection %d has no slot in the page of worker %d", id, s.ID)
			}
			c.worker = w
			w.conns = append(w.conns, c)
			to.pages.follow(c)
		}
		to.all = append(to.all, w)
		to.in[w.State]++
		byID[w.ID] = w
		of.preload.restore(w)
	}
	return byID, nil
}

// check says what of a worker could do harm.
func (s *stateWorker) check() error {
	if (s.Level == "") && s.State == preloaded {
		return fmt.Errorf("worker %d is preloaded at no level", s.ID)
	}
	if s.ID == 0 || s.State == 0 || s.PID <= 1 || min(s.PIDFD, s.Link, s.End, s.Slots, s.Page+1) < 0 || s.Slots > link.MaxSlots ||
		s.Paged && (s.Page < 0 || s.Slots > link.PageSlots) {
		return fmt.Errorf("a value of worker %d is out of range", s.ID)
	}
	return nil
}

// loadLists puts connections where they were.
func (st *stateConns) loadLists(to *conns, byID map[uint64]*conn) error {
	place := func(c *conn) *node[conn] { return &c.place }
	check := func(c *conn) *node[conn] { return &c.check }
	return errors.Join(
		loadPlaces(&to.parked, st.Parked, byID, place),
		loadPlaces(&to.waiting, st.Waiting, byID, place),
		loadPlaces(&to.ending, st.Ending, byID, place),
		loadPlaces(&to.unconfirmed, st.Unconfirmed, byID, check),
	)
}

// loadLists puts workers where they were.
func (st *stateWorkers) loadLists(to *workers, byID map[uint64]*worker) error {
	offered := func(w *worker) *node[worker] { return &w.offered }
	timer := func(w *worker) *node[worker] { return &w.timer }
	return errors.Join(
		loadPlaces(&to.idle, st.Idle, byID, offered),
		loadPlaces(&to.partial, st.Partial, byID, offered),
		loadPlaces(&to.starts, st.Starts, byID, timer),
		loadPlaces(&to.stops, st.Stops, byID, timer),
		loadPlaces(&to.terms, st.Terms, byID, timer),
		loadPlaces(&to.awaiting, st.Awaiting, byID, timer),
	)
}

func loadPlaces[T any](to *list[T], places []statePlace, byID map[uint64]*T, node func(*T) *node[T]) error {
	for _, p := range places {
		x := byID[p.ID]
		if x == nil || node(x).list != nil {
			return fmt.Errorf("a list has %d, which is not there or in another one", p.ID)
		}
		// In the order that they had: idle workers are not in that of time.
		if to.last == nil {
			to.prepend(node(x), p.At)
		} else {
			to.putAfter(to.last, node(x), p.At)
		}
	}
	return nil
}

// consistent says whether everything is where it belongs by its state.
func (l *loop) consistent() error {
	for _, c := range l.conns.all {
		at := map[connState]*list[conn]{parked: &l.conns.parked, waiting: &l.conns.waiting, ending: &l.conns.ending}[c.State]
		if c.place.list != at || (c.worker != nil) != (c.State == passed) || c.check.list != nil && c.State != passed {
			return fmt.Errorf("connection %d is %s, but not where these are", c.ID, c.State)
		}
	}
	for _, w := range l.workers.all {
		if err := l.workers.consistent(w); err != nil {
			return err
		}
	}
	return nil
}

func (s *workers) consistent(w *worker) error {
	offered, idle := w.offered.list != nil, w.offered.list == &s.idle
	if offered && (w.State != ready || len(w.conns) >= w.Slots) || idle != (offered && len(w.conns) == 0) {
		return fmt.Errorf("worker %d is %s with %d connections, and offered", w.ID, w.State, len(w.conns))
	}
	if w.State == starting && w.timer.list != &s.starts || w.State == gone && w.timer.list != &s.awaiting {
		return fmt.Errorf("worker %d is %s, but not in the list of these", w.ID, w.State)
	}
	return nil
}
