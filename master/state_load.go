package master

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
)

// maxHeaderState bounds the buffer that a state can have us make.
const maxHeaderState = 1 << 20

// Check says why this program could not go on with st. It looks at everything
// but the descriptors, which need not be there.
func (st *State) Check() error { return st.load(&loop{}) }

// load puts st into l, which is new. It does no I/O and lists nothing in the
// epoll set; after an error l is of no use.
func (st *State) load(l *loop) error {
	var err error
	if l.hash, err = newHeadHash(st.HeadKey); err != nil {
		return fmt.Errorf("the key of headers: %w", err)
	}
	generations, err := st.loadGenerations(l)
	if err != nil {
		return err
	}
	l.began = time.Now().Add(-st.Now - max(clock()-st.Clock, 0))
	l.firstBegan = st.Since
	l.now = time.Since(l.began)
	l.grouping = st.Grouping
	l.lastEvent, l.stateLast = st.Events.Last, st.Events.State
	l.readyAt = st.Manager.ReadyAt
	l.count, l.queued, l.service = st.Counts.Count, st.Counts.Queued, st.Counts.Service
	l.exits = maps.Clone(st.Counts.Exits)
	if l.exits == nil {
		l.exits = map[string]uint64{}
	}
	l.operation, l.lastOperation = st.Operation, st.LastOperation
	st.loadTimes(l)
	conns, err := st.loadConns(l)
	if err != nil {
		return err
	}
	workers, err := st.loadWorkers(l, conns, generations)
	if err != nil {
		return err
	}
	if err := st.loadLists(l, conns, workers); err != nil {
		return err
	}
	return l.consistent()
}

// settings returns a generation's. What belongs to the program that runs is
// missing.
func (s *stateGeneration) settings() Settings {
	set := s.Settings
	set.Command = process.Command{
		Argv: textAll(s.Argv), Dir: string(s.Dir), Env: textAll(s.Env),
		NOFILE: s.NOFILE, Nice: s.Nice, OOMScoreAdjust: s.OOMScoreAdjust, MemoryMax: s.MemoryMax, TasksMax: s.TasksMax,
	}
	set.Command = baseCommand(set)
	return set
}

func textAll(raw [][]byte) (all []string) {
	for _, b := range raw {
		all = append(all, string(b))
	}
	return all
}

// loadGenerations makes the generations, by number.
func (st *State) loadGenerations(l *loop) (map[int]*generation, error) {
	byNumber := map[int]*generation{}
	for i := range st.Generations {
		s := &st.Generations[i]
		if s.Number <= 0 || s.Number > st.LastGeneration || byNumber[s.Number] != nil {
			return nil, fmt.Errorf("a generation with number %d", s.Number)
		}
		g := &generation{number: s.Number, set: s.settings(), proven: s.Proven, dir: string(s.In)}
		if err := g.set.check(); err != nil {
			return nil, fmt.Errorf("generation %d: %w", s.Number, err)
		}
		byNumber[s.Number] = g
	}
	l.current, l.previous, l.lastGeneration = byNumber[st.Current], byNumber[st.Previous], st.LastGeneration
	if l.current == nil || l.previous == nil && st.Previous != 0 {
		return nil, fmt.Errorf("generation %d or %d is missing", st.Current, st.Previous)
	}
	for _, limits := range []control.Limits{st.Limits, st.Configured} {
		if err := limits.Validate(); err != nil {
			return nil, err
		}
	}
	for _, kind := range st.Waiting {
		if kind != control.OpReload && kind != control.OpRollback {
			return nil, fmt.Errorf("an operation of kind %.40q waits", kind)
		}
	}
	if st.Now < 0 {
		return nil, errors.New("a negative time")
	}
	l.set, l.configured, l.scaled = l.current.set, st.Configured, st.Scaled
	l.set.Limits = st.Limits
	return byNumber, nil
}

// check says what of the settings could do harm.
func (set *Settings) check() error {
	switch {
	case len(set.Command.Argv) == 0:
		return errors.New("no command of workers")
	case set.MaxHeader <= 0 || set.MaxHeader > maxHeaderState:
		return fmt.Errorf("headers of %d bytes", set.MaxHeader)
	case min(set.StartTimeout, set.StopTimeout, set.HeaderTimeout, set.QueueTimeout) <= 0:
		return errors.New("a time limit that is not positive")
	case min(set.IdleTimeout, set.IdleExit) < 0 || min(set.QueueMax, set.Surge, set.Unavailable) < 0:
		return errors.New("a negative value")
	}
	return set.Limits.Validate()
}

func (st *State) loadTimes(l *loop) {
	s, i := &st.Starts, &st.Intake
	l.failures, l.failuresBefore = s.Failures, s.FailuresBefore
	l.retryAt, l.lastReady, l.lastFailure, l.ramp = s.RetryAt, s.LastReady, s.LastFailure, s.Ramp
	l.lookAt, l.tried = s.LookAt, string(s.Tried)
	l.paused, l.resumeAt, l.quietSince, l.acceptAgain, l.busyUntil = i.Paused, i.ResumeAt, i.QuietSince, i.AcceptAgain, i.BusyUntil
	l.warned.intake, l.warned.busy, l.warned.saturated = i.Warned, i.WarnedBusy, i.WarnedSaturated
	l.warned.journal, l.warned.group = i.WarnedJournal, i.WarnedGroup
	l.saturatedSince, l.relievedAt, l.refusedTold, l.refusedAt = i.SaturatedSince, i.RelievedAt, i.RefusedTold, i.RefusedAt
}

// loadConns makes the connections. None is in a list or at a worker yet.
func (st *State) loadConns(l *loop) (map[uint64]*conn, error) {
	byID := map[uint64]*conn{}
	l.lastConn = st.LastConn
	for i := range st.Conns {
		s := &st.Conns[i]
		state := slices.IndexFunc([]connState{0, parked, waiting, passed, ending}, func(c connState) bool { return c.String() == s.State })
		switch {
		case state <= 0:
			return nil, fmt.Errorf("connection %d is %q", s.ID, s.State)
		case s.ID == 0 || s.ID > st.LastConn || byID[s.ID] != nil:
			return nil, fmt.Errorf("a connection with id %d", s.ID)
		case s.FD < 0 || min(s.Size, s.Seen, s.Drained, s.Tries) < 0:
			return nil, fmt.Errorf("a negative value of connection %d", s.ID)
		}
		c := &conn{
			fd: s.FD, index: int32(len(l.conns)), id: s.ID, state: connState(state), unix: s.Unix, probe: s.Probe, staked: s.Stake, tries: s.Tries,
			size: s.Size, seen: s.Seen, drained: s.Drained, hash: s.Hash,
			accepted: s.Accepted, whole: s.Whole, passedAt: s.PassedAt,
		}
		c.client.set(s.Client)
		c.method.set(s.Method)
		c.uri.set(s.URI)
		c.place.of, c.check.of = c, c
		l.conns = append(l.conns, c)
		byID[c.id] = c
		l.open++
		if c.staked {
			l.atStake++
		}
	}
	return byID, nil
}

// loadWorkers makes the workers, with the connections that they hold.
func (st *State) loadWorkers(l *loop, conns map[uint64]*conn, generations map[int]*generation) (map[uint64]*worker, error) {
	if len(st.Workers) > 4*control.WorkersMax {
		return nil, fmt.Errorf("%d workers", len(st.Workers))
	}
	byID := map[uint64]*worker{}
	l.lastWorker = st.LastWorker
	for i := range st.Workers {
		s := &st.Workers[i]
		state := starting
		for state < workerStates && state.String() != s.State {
			state++
		}
		switch {
		case state == workerStates:
			return nil, fmt.Errorf("worker %d is %q", s.ID, s.State)
		case s.ID == 0 || s.ID > st.LastWorker || byID[s.ID] != nil:
			return nil, fmt.Errorf("a worker with id %d", s.ID)
		case generations[s.Of] == nil:
			return nil, fmt.Errorf("worker %d is of generation %d", s.ID, s.Of)
		case s.PID <= 1 || min(s.PIDFD, s.Link, s.End) < 0 || s.Slots < 0 || s.Slots > link.MaxSlots:
			return nil, fmt.Errorf("a value of worker %d is out of range", s.ID)
		}
		w := &worker{
			id: s.ID, index: int32(len(l.workers)), state: state, of: generations[s.Of], dir: string(s.Dir), proc: process.Process{PID: s.PID, FD: s.PIDFD},
			link: s.Link, end: s.End, heard: s.Heard, slots: s.Slots, served: s.Served, slow: s.Slow,
			conns: make([]*conn, 0, max(s.Slots, len(s.Conns))),
			began: s.Began, goneSince: s.GoneSince, doomed: s.Doomed, failed: s.Failed, status: s.Status, dump: s.Dump, group: string(s.Group),
		}
		w.offered.of, w.timer.of = w, w
		for _, id := range s.Conns {
			c := conns[id]
			if c == nil || c.state != passed || c.worker != nil {
				return nil, fmt.Errorf("worker %d holds connection %d", s.ID, id)
			}
			c.worker = w
			w.conns = append(w.conns, c)
		}
		l.workers = append(l.workers, w)
		l.in[state]++
		byID[w.id] = w
	}
	return byID, nil
}

// loadLists puts connections and workers where they were.
func (st *State) loadLists(l *loop, conns map[uint64]*conn, workers map[uint64]*worker) error {
	s := &st.Lists
	place := func(c *conn) *node[conn] { return &c.place }
	check := func(c *conn) *node[conn] { return &c.check }
	offered := func(w *worker) *node[worker] { return &w.offered }
	timer := func(w *worker) *node[worker] { return &w.timer }
	return errors.Join(
		loadPlaces(&l.parked, s.Parked, conns, place),
		loadPlaces(&l.waiting, s.Waiting, conns, place),
		loadPlaces(&l.ending, s.Ending, conns, place),
		loadPlaces(&l.unconfirmed, s.Unconfirmed, conns, check),
		loadPlaces(&l.idle, s.Idle, workers, offered),
		loadPlaces(&l.partial, s.Partial, workers, offered),
		loadPlaces(&l.starts, s.Starts, workers, timer),
		loadPlaces(&l.stops, s.Stops, workers, timer),
		loadPlaces(&l.terms, s.Terms, workers, timer),
		loadPlaces(&l.burials, s.Burials, workers, timer),
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
	for _, c := range l.conns {
		at := map[connState]*list[conn]{parked: &l.parked, waiting: &l.waiting, ending: &l.ending}[c.state]
		if c.place.list != at || (c.worker != nil) != (c.state == passed) || c.check.list != nil && c.state != passed {
			return fmt.Errorf("connection %d is %s, but not where these are", c.id, c.state)
		}
	}
	for _, w := range l.workers {
		if w.offered.list != nil && (w.state != ready || len(w.conns) >= w.slots) || (w.offered.list == &l.idle) != (w.offered.list != nil && len(w.conns) == 0) {
			return fmt.Errorf("worker %d is %s with %d connections, and offered", w.id, w.state, len(w.conns))
		}
		if w.state == starting && w.timer.list != &l.starts || w.state == gone && w.timer.list != &l.burials {
			return fmt.Errorf("worker %d is %s, but not in the list of these", w.id, w.state)
		}
	}
	return nil
}
