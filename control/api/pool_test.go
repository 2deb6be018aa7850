package api

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/scgid/scgid/control"
)

// A memPool is a pool that exists in memory only: it scales, pauses, loses
// workers and stops, and tells events of it.
type memPool struct {
	mu       sync.Mutex
	state    string
	limits   control.Limits
	initial  control.Limits
	workers  map[uint64]*control.Worker
	nextID   uint64
	level    string
	exits    map[string]uint64
	seq      uint64
	subs     map[*memSub]struct{}
	dumped   []uint64
	calls    int             // of anything
	status   control.Status  // fields that tests set
	metrics  control.Metrics // fields that tests set
	broken   error           // Metrics fails
	held     sync.WaitGroup  // requests that a stop waits for
	finished uint64
	stopped  chan struct{} // closed when a stop is complete
	reason   error         // operations fail
	began    int           // operations
	ended    chan control.Operation
}

type memSub struct {
	events chan control.Event
	missed uint64
	closed bool
}

func newMemPool() *memPool {
	limits := control.Limits{MinWorkers: 2, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}
	p := &memPool{state: control.Running, limits: limits, initial: limits, workers: map[uint64]*control.Worker{}, nextID: 1,
		level: "info", exits: map[string]uint64{}, subs: map[*memSub]struct{}{}, stopped: make(chan struct{}), ended: make(chan control.Operation, 10)}
	p.status = control.Status{Name: "wiki", PID: 4711, Version: "1.2", Since: time.Unix(1700000000, 0).UTC(), Generation: 1,
		Queue: control.Queue{Limit: 8, Listeners: []control.Listener{{Name: "scgi", Address: "/run/scgid/wiki/socket", Backlog: 3, BacklogLimit: 128}}}}
	p.fit()
	return p
}

// fit starts and ends workers until there are MinWorkers.
func (p *memPool) fit() {
	for len(p.workers) < p.limits.MinWorkers {
		p.workers[p.nextID] = &control.Worker{ID: p.nextID, PID: 5000 + int(p.nextID), State: control.WorkerReady, Slots: 1}
		p.tell(control.Event{Kind: control.EventWorkerStarted, Worker: p.nextID})
		p.nextID++
	}
	for id := range p.workers {
		if len(p.workers) > p.limits.MaxWorkers {
			p.exit(id, "retired")
		}
	}
}

func (p *memPool) exit(id uint64, reason string) {
	delete(p.workers, id)
	p.exits[reason]++
	p.tell(control.Event{Kind: control.EventWorkerExited, Worker: id, Reason: reason})
}

// tell gives an event to all subscribers; those with no room miss it and are
// told so as soon as they have.
func (p *memPool) tell(e control.Event) {
	p.seq++
	e.Seq, e.Time = p.seq, time.Unix(1700000000, 0).UTC()
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

func (p *memPool) do(f func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	return f()
}

func (p *memPool) Status(context.Context) (s control.Status, err error) {
	return s, p.do(func() error { s = p.snapshot(); return nil })
}

func (p *memPool) snapshot() control.Status {
	s := p.status
	s.State, s.Limits, s.Scaled = p.state, p.limits, p.limits != p.initial
	s.Workers = control.WorkerCounts{Total: len(p.workers), Idle: len(p.workers)}
	s.Exits = map[string]uint64{}
	for reason, n := range p.exits {
		s.Exits[reason] = n
	}
	return s
}

func (p *memPool) Workers(context.Context) (all []control.Worker, err error) {
	return all, p.do(func() error {
		all = []control.Worker{}
		for id := uint64(1); id < p.nextID; id++ {
			if w := p.workers[id]; w != nil {
				all = append(all, *w)
			}
		}
		return nil
	})
}

func (p *memPool) Requests(context.Context) ([]control.Request, error) {
	return []control.Request{}, p.do(func() error { return nil })
}

func (p *memPool) Config(context.Context) (c []control.Setting, err error) {
	return c, p.do(func() error {
		c = []control.Setting{{Section: "Pool", Key: "MaxWorkers", Value: strconv.Itoa(p.initial.MaxWorkers), Origin: "default"}}
		return nil
	})
}

func (p *memPool) Metrics(context.Context) (m control.Metrics, err error) {
	return m, p.do(func() error { m = p.metrics; m.Status = p.snapshot(); return p.broken })
}

func (p *memPool) Scale(_ context.Context, c control.Change) (l control.Limits, err error) {
	return l, p.do(func() error {
		from := p.limits
		if c.Reset {
			from = p.initial
		}
		next := c.Apply(from)
		if err := next.Validate(); err != nil {
			return control.Errorf(control.CodeInvalid, "cannot change the limits: %v", err)
		}
		p.limits, l = next, next
		p.tell(control.Event{Kind: control.EventLimits, Limits: &next})
		p.fit()
		return nil
	})
}

func (p *memPool) become(state, from string) error {
	if p.state != from {
		return control.Errorf(control.CodeState, "the pool is %s", p.state)
	}
	p.state = state
	p.tell(control.Event{Kind: control.EventState, State: state})
	return nil
}

func (p *memPool) Pause(context.Context, time.Duration) error {
	return p.do(func() error { return p.become(control.Paused, control.Running) })
}

func (p *memPool) Resume(context.Context) error {
	return p.do(func() error { return p.become(control.Running, control.Paused) })
}

func (p *memPool) Stop(ctx context.Context, o control.StopOrder) (control.StopReport, error) {
	if err := p.do(func() error { return p.become(control.Draining, p.state) }); err != nil {
		return control.StopReport{}, err
	}
	done := make(chan control.StopReport, 1)
	go func() {
		if !o.Now {
			p.held.Wait()
		}
		p.mu.Lock()
		report := control.StopReport{Finished: p.finished, Took: time.Second}
		p.mu.Unlock()
		close(p.stopped)
		done <- report
	}()
	select {
	case r := <-done:
		return r, nil
	case <-ctx.Done():
		return control.StopReport{}, ctx.Err()
	}
}

// operate runs an operation that waits for what is held, and goes on when its
// caller leaves.
func (p *memPool) operate(ctx context.Context, kind string) (control.Operation, error) {
	o := control.Operation{ID: 1, Kind: kind, State: control.OpRunning, Began: time.Unix(1700000000, 0).UTC(), Step: "starting worker 9"}
	_ = p.do(func() error { p.began++; p.show(o); return nil })
	done := make(chan control.Operation, 1)
	go func() {
		p.held.Wait()
		_ = p.do(func() error {
			o.State, o.Step, o.Ended = control.OpDone, "", o.Began.Add(4200*time.Millisecond)
			if p.reason != nil {
				o.State, o.Error = control.OpFailed, p.reason.Error()
			} else {
				p.status.Generation++
				o.Done, o.Total, o.Notes = len(p.workers), len(p.workers), []string{"Listen= is read at the start only"}
			}
			o.Generation = p.status.Generation
			p.show(o)
			return nil
		})
		p.ended <- o
		done <- o
	}()
	select {
	case o := <-done:
		return o, p.reason
	case <-ctx.Done():
		return control.Operation{}, ctx.Err()
	}
}

func (p *memPool) show(o control.Operation) {
	p.status.Operation = &o
	p.tell(control.Event{Kind: control.EventOperation, Reason: o.Error, Operation: &o})
}

func (p *memPool) Reload(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpReload)
}

func (p *memPool) Rollback(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpRollback)
}

func (p *memPool) Upgrade(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpUpgrade)
}

func (p *memPool) at(id uint64, do func()) error {
	return p.do(func() error {
		if p.workers[id] == nil {
			return control.Errorf(control.CodeNoWorker, "there is no worker %d", id)
		}
		do()
		return nil
	})
}

func (p *memPool) Retire(_ context.Context, id uint64) error {
	return p.at(id, func() { p.exit(id, "retired") })
}

func (p *memPool) Kill(_ context.Context, id uint64) error {
	return p.at(id, func() { p.exit(id, "killed") })
}

func (p *memPool) Dump(_ context.Context, id uint64) error {
	return p.at(id, func() { p.dumped = append(p.dumped, id) })
}

func (p *memPool) LogLevel(context.Context) (level string, err error) {
	return level, p.do(func() error { level = p.level; return nil })
}

func (p *memPool) SetLogLevel(_ context.Context, level string) error {
	return p.do(func() error {
		if level != "debug" && level != "info" {
			return control.Errorf(control.CodeInvalid, "there is no log level %q", level)
		}
		p.level = level
		return nil
	})
}

func (p *memPool) Subscribe(context.Context, bool) (*control.Subscription, error) {
	s := &memSub{events: make(chan control.Event, 64)}
	err := p.do(func() error {
		if p.state == control.Draining {
			return errors.New("the pool is about to end")
		}
		p.subs[s] = struct{}{}
		return nil
	})
	return &control.Subscription{C: s.events, Close: func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if delete(p.subs, s); !s.closed {
			s.closed = true
			close(s.events)
		}
	}}, err
}

// event has the pool tell one.
func (p *memPool) event(e control.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell(e)
}

func (p *memPool) subscribers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.subs)
}
