package bus

import (
	"context"
	"sync"
	"time"

	"github.com/scgid/scgid/control"
)

// A fakePool is a pool in memory: orders change it, and what changes is told
// to those who subscribed.
type fakePool struct {
	mu      sync.Mutex
	st      control.Status
	initial control.Limits
	workers []control.Worker
	next    uint64
	seq     uint64
	level   string
	subs    map[chan control.Event]bool
	done    []string      // orders, as they came
	hold    chan struct{} // if not nil, orders wait for it to be closed
	held    chan struct{} // gets one for each order that waits
	report  control.StopReport
	reason  error // operations fail
}

func newFakePool() *fakePool {
	l := control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}
	p := &fakePool{initial: l, level: "info", subs: map[chan control.Event]bool{}, held: make(chan struct{}, 1000)}
	p.st = control.Status{Name: "my-app", State: control.Running, PID: 4711, Version: "1.2.3", Build: "b1", Since: time.UnixMicro(1700000000000001),
		Generation: 2, Limits: l, Queue: control.Queue{Limit: 8, Listeners: []control.Listener{{Name: "scgi", Address: "/run/x.sock", Backlog: 3, BacklogLimit: 128}}},
		Requests: control.RequestCounts{Served: 1203}, Exits: map[string]uint64{"exit status 1": 2}}
	p.start()
	return p
}

// tell is for a holder of mu.
func (p *fakePool) tell(e control.Event) {
	p.seq++
	e.Seq, e.Time = p.seq, time.Now()
	for c := range p.subs {
		select {
		case c <- e:
		default:
		}
	}
}

// send tells an event that changes nothing here.
func (p *fakePool) send(e control.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell(e)
}

// change changes the status and tells e.
func (p *fakePool) change(e control.Event, f func(*control.Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.st)
	p.tell(e)
}

// start starts a worker.
func (p *fakePool) start() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	id := p.next
	p.workers = append(p.workers, control.Worker{ID: id, PID: 5000 + int(id), State: control.WorkerReady, Generation: 2, Since: time.Now(), Slots: 1,
		CPUSeconds: 1.5, MemoryBytes: 1 << 20, Status: "fine", Request: &control.Request{ID: 7, URI: "/secret?token=1", AgeSeconds: 0.25}})
	p.st.Workers.Total, p.st.Workers.Idle = len(p.workers), len(p.workers)
	p.tell(control.Event{Kind: control.EventWorkerStarted, Worker: id, PID: 5000 + int(id)})
	return id
}

// exit takes a worker away.
func (p *fakePool) exit(id uint64, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range p.workers {
		if w.ID == id {
			p.workers = append(p.workers[:i:i], p.workers[i+1:]...)
			p.st.Workers.Total, p.st.Workers.Idle = len(p.workers), len(p.workers)
			p.tell(control.Event{Kind: control.EventWorkerExited, Worker: id, PID: w.PID, Reason: reason, Served: 212})
			return
		}
	}
}

// order notes an order, and waits if the test wants it.
func (p *fakePool) order(ctx context.Context, what string) error {
	p.mu.Lock()
	hold := p.hold
	p.mu.Unlock()
	if hold != nil {
		p.held <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = append(p.done, what)
	return nil
}

func (p *fakePool) orders() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.done...)
}

func (p *fakePool) Status(context.Context) (control.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st, nil
}

func (p *fakePool) Workers(context.Context) ([]control.Worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]control.Worker(nil), p.workers...), nil
}

func (p *fakePool) Requests(context.Context) ([]control.Request, error) { return nil, nil }
func (p *fakePool) Config(context.Context) ([]control.Setting, error)   { return nil, nil }
func (p *fakePool) Metrics(context.Context) (control.Metrics, error)    { return control.Metrics{}, nil }

func (p *fakePool) Scale(ctx context.Context, c control.Change) (control.Limits, error) {
	if err := p.order(ctx, "scale"); err != nil {
		return control.Limits{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.st.Limits
	if c.Reset {
		l = p.initial
	}
	l = c.Apply(l)
	if err := l.Validate(); err != nil {
		return l, control.Errorf(control.CodeInvalid, "cannot change the limits: %v", err)
	}
	p.st.Limits, p.st.Scaled = l, l != p.initial
	p.tell(control.Event{Kind: control.EventLimits, Limits: &l})
	return l, nil
}

func (p *fakePool) state(ctx context.Context, what, state string) error {
	if err := p.order(ctx, what); err != nil {
		return err
	}
	p.change(control.Event{Kind: control.EventState, State: state}, func(st *control.Status) { st.State = state })
	return nil
}

func (p *fakePool) Pause(ctx context.Context, limit time.Duration) error {
	return p.state(ctx, "pause "+limit.String(), control.Paused)
}

func (p *fakePool) Resume(ctx context.Context) error { return p.state(ctx, "resume", control.Running) }

func (p *fakePool) Stop(ctx context.Context, o control.StopOrder) (control.StopReport, error) {
	what := "stop " + o.Limit.String()
	if o.Now {
		what += " now"
	}
	err := p.state(ctx, what, control.Draining)
	return p.report, err
}

// operate runs an operation; it waits where orders do.
func (p *fakePool) operate(ctx context.Context, kind string) (control.Operation, error) {
	p.mu.Lock()
	o := control.Operation{ID: 1, Kind: kind, State: control.OpRunning, Step: "starting worker 9", Began: time.Now()}
	if last := p.st.Operation; last != nil {
		o.ID = last.ID + 1
	}
	p.show(o)
	p.mu.Unlock()
	if err := p.order(ctx, kind); err != nil {
		return control.Operation{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o.State, o.Step, o.Ended = control.OpDone, "", time.Now()
	if p.reason != nil {
		o.State, o.Error = control.OpFailed, p.reason.Error()
	} else {
		p.st.Generation++
		o.Notes = []string{"Listen= is read at the start only", "so is ListenMode="}
	}
	o.Generation = p.st.Generation
	p.show(o)
	return o, p.reason
}

// show is for a holder of mu.
func (p *fakePool) show(o control.Operation) {
	p.st.Operation = &o
	p.tell(control.Event{Kind: control.EventOperation, Operation: &o, Reason: o.Error})
}

func (p *fakePool) Reload(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpReload)
}

func (p *fakePool) Rollback(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpRollback)
}

func (p *fakePool) Upgrade(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpUpgrade)
}

func (p *fakePool) worker(ctx context.Context, what string, id uint64) error {
	if err := p.order(ctx, what); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if w.ID == id {
			return nil
		}
	}
	return control.Errorf(control.CodeNoWorker, "there is no worker %d", id).WithHint("scgictl workers shows them")
}

func (p *fakePool) Retire(ctx context.Context, id uint64) error { return p.worker(ctx, "retire", id) }
func (p *fakePool) Dump(ctx context.Context, id uint64) error   { return p.worker(ctx, "dump", id) }

func (p *fakePool) Kill(ctx context.Context, id uint64) error {
	err := p.worker(ctx, "kill", id)
	p.exit(id, "killed by order")
	return err
}

func (p *fakePool) LogLevel(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.level, nil
}

func (p *fakePool) SetLogLevel(ctx context.Context, level string) error {
	if err := p.order(ctx, "log-level "+level); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level = level
	return nil
}

func (p *fakePool) Subscribe(context.Context, bool) (*control.Subscription, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := make(chan control.Event, 256)
	p.subs[c] = true
	var once sync.Once
	return &control.Subscription{C: c, Close: func() {
		once.Do(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.subs, c)
			close(c)
		})
	}}, nil
}
