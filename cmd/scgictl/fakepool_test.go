package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/control/metrics"
)

// fakepool serves a pool without processes on a control socket, with the real
// server. It is ready when SOCKET.ready exists; it makes SOCKET.followed when
// somebody subscribes to its events.
func fakepool(args []string) int {
	f := flag.NewFlagSet("fakepool", flag.ExitOnError)
	name := f.String("name", "wiki", "of the pool")
	socket := f.String("socket", "", "control socket")
	may := f.String("access", "change", "what uid 65534, or the tester's, may do: change, read or name")
	state := f.String("state", control.Running, "of the pool")
	busy := f.Int("busy", 0, "how many of the workers are busy")
	waiting := f.Int("waiting", 0, "how many requests wait")
	odd := f.Bool("odd", false, "texts from outside are odd")
	drop := f.Bool("drop", false, "be nobody, if the tester is root")
	age := f.Float64("age", 2.34, "of requests that are served, in seconds")
	var ops operations
	ops.flags(f)
	var st control.Status
	statusFlags(f, &st)
	_ = f.Parse(args)

	if *drop {
		become(nobody, filepath.Dir(*socket))
	}
	time.Sleep(ops.late)
	l, err := api.Listen(*socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakepool:", err)
		return 1
	}
	p := newPool(*name, *state, *busy, *waiting, *odd)
	p.followed, p.ops = *socket+".followed", ops
	p.ops.marks = *socket + "."
	p.st.PID, p.st.Version, p.st.Build, p.st.Operation = st.PID, st.Version, st.Build, st.Operation
	for i := range *busy {
		p.workers[i].Request.AgeSeconds = *age
	}
	s := api.NewServer(api.Options{Pool: p, Access: access(*may), Metrics: metrics.Handler(p.Metrics, *name, st.Version)})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	if err := os.WriteFile(*socket+".ready", nil, 0o666); err != nil {
		fmt.Fprintln(os.Stderr, "fakepool:", err)
		return 1
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	select {
	case <-end:
	case <-p.stopped:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = s.Shutdown(ctx)
	l.Close()
	return 0
}

// become changes the user for good, if we may, and gives it a directory. The
// kernel tells clients who called listen(2), so this comes before.
func become(uid int, dir string) {
	if os.Getuid() != 0 {
		return
	}
	var errs []error
	if dir != "" {
		errs = append(errs, os.MkdirAll(dir, 0o755), os.Chown(dir, uid, uid))
	}
	errs = append(errs, unix.Setgroups(nil), unix.Setresgid(uid, uid, uid), unix.Setresuid(uid, uid, uid))
	if err := errors.Join(errs...); err != nil {
		panic(err)
	}
}

// nobody is who asks when a script says so; see setUp.
const nobody = 65534

// access makes rules that give the scripts' user this level. A tester who is
// not root cannot become another user, so is that one.
func access(level string) control.Access {
	user := uint32(nobody)
	if os.Getuid() != 0 {
		user = uint32(os.Getuid())
	}
	a := control.Access{OwnUID: user, OwnFull: level == "change", Group: -1, ReadGroup: -1}
	if level == "name" {
		a.OwnUID = user - 1
	}
	return a
}

// A memPool is a pool in memory: its workers are numbers, but they come and
// go as limits and orders say.
type memPool struct {
	mu       sync.Mutex
	st       control.Status // Workers, Queue and Requests are counted when asked
	conf     control.Limits
	workers  []control.Worker
	waiting  []control.Request
	level    string
	next     uint64 // id
	seq      uint64
	readers  []chan control.Event
	followed string // a file to make when somebody subscribes
	ops      operations
	once     sync.Once
	stopped  chan struct{}
}

func newPool(name, state string, busy, waiting int, odd bool) *memPool {
	limits := control.Limits{MinWorkers: 2, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}
	p := &memPool{
		st: control.Status{
			Name: name, State: state, PID: 4711, Version: "1.2.3", Generation: 1, Limits: limits,
			Since:    time.Now().Add(-3*time.Hour - 12*time.Minute - 20*time.Second),
			Requests: control.RequestCounts{Served: 12345},
			Exits:    map[string]uint64{"retired": 12, "killed": 1},
		},
		conf: limits, level: "info", next: 1, stopped: make(chan struct{}),
	}
	if state == control.Failing {
		p.st.Starts = control.StartCounts{Failed: 3, FailuresInRow: 3, NextTryIn: 4.5,
			LastFailure: "no module \x1b[5mwiki"}
	}
	p.st.Queue.Limit = limits.MaxWorkers
	p.st.Queue.Listeners = []control.Listener{
		{Name: "app", Address: "/run/scgid/" + name + ".sock", Backlog: 3, BacklogLimit: 4096},
		{Name: "tcp", Address: "127.0.0.1:4000", Backlog: -1},
	}
	for range max(busy+1, limits.MinWorkers) {
		p.start()
	}
	for i := range busy {
		p.give(i, odd)
	}
	for i := range waiting {
		p.waiting = append(p.waiting, control.Request{ID: uint64(900 + i), State: control.RequestWaiting,
			Method: "GET", URI: fmt.Sprintf("/wait/%d", i), Client: "192.0.2.9", AgeSeconds: 1.5, Waited: 1.5})
	}
	return p
}

// give has a worker work on a request.
func (p *memPool) give(i int, odd bool) {
	w := &p.workers[i]
	r := &control.Request{ID: uint64(100 + i), State: control.RequestActive, Method: "GET",
		URI: fmt.Sprintf("/page/%d?q=some+words", i), Client: "192.0.2.7", AgeSeconds: 2.34, Waited: 0.004, Worker: w.ID}
	if odd {
		r.URI = "/\x1b]0;owned\a\x1b[2J\u009b31m\u202eevil/" + string(make([]byte, 3)) + "/\xff"
		w.Status = "\x1b[31mred\r\nsecond line\u0085"
	}
	w.Active, w.Request = 1, r
	p.st.Requests.Active++
}

// start adds a worker; mu is held, or nobody else has p yet.
func (p *memPool) start() {
	p.workers = append(p.workers, control.Worker{
		ID: p.next, PID: 4711 + int(p.next), State: control.WorkerReady, Generation: 1, Slots: 1, Served: 1000 * p.next,
		Since: time.Now().Add(-2*time.Hour - 5*time.Minute - 10*time.Second), CPUSeconds: 12.5, MemoryBytes: 34 << 20, CanDump: p.next == 1,
	})
	p.tell(control.Event{Kind: control.EventWorkerReady, Worker: p.next, PID: 4711 + int(p.next)})
	p.next++
	p.st.Starts.Total++
}

// leave takes a worker out; mu is held.
func (p *memPool) leave(i int, reason string) {
	w := p.workers[i]
	p.workers = slices.Delete(p.workers, i, i+1)
	p.st.Exits[reason]++
	p.tell(control.Event{Kind: control.EventWorkerExited, Worker: w.ID, PID: w.PID, Reason: reason, Served: w.Served})
}

// tell gives an event to all readers; mu is held.
func (p *memPool) tell(e control.Event) {
	p.seq++
	e.Seq, e.Time = p.seq, time.Now()
	for _, r := range p.readers {
		r <- e
	}
}

func (p *memPool) setState(state string) {
	p.st.State = state
	p.tell(control.Event{Kind: control.EventState, State: state})
}

func (p *memPool) Status(context.Context) (control.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.st
	st.Workers = control.WorkerCounts{Total: len(p.workers)}
	for _, w := range p.workers {
		switch {
		case w.State == control.WorkerRetiring:
			st.Workers.Retiring++
		case w.Active > 0:
			st.Workers.Busy++
		default:
			st.Workers.Idle++
		}
	}
	st.Queue.Waiting = len(p.waiting)
	if len(p.waiting) > 0 {
		st.Queue.OldestAge, st.Saturated = 1.5, 75
	}
	return st, nil
}

func (p *memPool) Workers(context.Context) ([]control.Worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.workers), nil
}

func (p *memPool) Requests(context.Context) ([]control.Request, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []control.Request{}
	for _, w := range p.workers {
		if w.Request != nil {
			all = append(all, *w.Request)
		}
	}
	return append(all, p.waiting...), nil
}

func (p *memPool) Config(context.Context) ([]control.Setting, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	origin := "/etc/scgid/wiki.conf:3"
	if p.st.Scaled {
		origin = "set at run time"
	}
	return []control.Setting{
		{Section: "Pool", Key: "MinWorkers", Value: fmt.Sprint(p.st.Limits.MinWorkers), Origin: "default"},
		{Section: "Pool", Key: "MaxWorkers", Value: fmt.Sprint(p.st.Limits.MaxWorkers), Origin: origin},
		{Section: "Worker", Key: "ExecStart", Value: "scgi-wsgi wiki:application", Origin: "/etc/scgid/wiki.conf:7"},
	}, nil
}

func (p *memPool) Metrics(ctx context.Context) (control.Metrics, error) {
	st, err := p.Status(ctx)
	m := control.Metrics{Status: st, Accepted: 12346, Outcomes: map[string]uint64{"served": 12345}}
	m.Queued.Add(time.Millisecond)
	return m, err
}

func (p *memPool) Scale(_ context.Context, c control.Change) (control.Limits, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.st.Limits
	if c.Reset {
		l = p.conf
	}
	l = c.Apply(l)
	if err := l.Validate(); err != nil {
		return p.st.Limits, control.Errorf(control.CodeInvalid, "cannot change the limits: %v", err)
	}
	p.st.Limits, p.st.Scaled = l, l != p.conf
	p.tell(control.Event{Kind: control.EventLimits, Limits: &l})
	for len(p.workers) < l.MinWorkers {
		p.start()
	}
	return l, nil
}

func (p *memPool) Pause(_ context.Context, limit time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.ResumesIn = limit.Seconds()
	p.setState(control.Paused)
	return nil
}

func (p *memPool) Resume(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.st.State == control.Draining {
		return control.Errorf(control.CodeState, "cannot resume the intake: the pool is stopping")
	}
	if p.st.State == control.Paused {
		p.st.ResumesIn = 0
		p.setState(control.Running)
	}
	return nil
}

// Stop finishes the requests at work, or loses them. With a limit it takes
// exactly so long, and goes on when the caller has left.
func (p *memPool) Stop(ctx context.Context, o control.StopOrder) (control.StopReport, error) {
	p.mu.Lock()
	p.setState(control.Draining)
	r := control.StopReport{Finished: uint64(p.st.Requests.Active), Refused: uint64(len(p.waiting)), Took: 1234 * time.Millisecond}
	p.mu.Unlock()
	if o.Now {
		r.Finished, r.Lost = 0, r.Finished
	}
	time.AfterFunc(o.Limit, func() { p.once.Do(func() { close(p.stopped) }) })
	select {
	case <-p.stopped:
		return r, nil
	case <-ctx.Done():
		return control.StopReport{}, ctx.Err()
	}
}

// find returns the index of a worker; mu is held.
func (p *memPool) find(id uint64) (int, error) {
	i := slices.IndexFunc(p.workers, func(w control.Worker) bool { return w.ID == id })
	if i < 0 {
		return 0, control.Errorf(control.CodeNoWorker, "there is no worker %d", id)
	}
	return i, nil
}

func (p *memPool) Retire(_ context.Context, id uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, err := p.find(id)
	if err != nil {
		return err
	}
	p.tell(control.Event{Kind: control.EventWorkerRetired, Worker: id, PID: p.workers[i].PID})
	if p.workers[i].Active > 0 {
		p.workers[i].State = control.WorkerRetiring
		return nil
	}
	p.leave(i, "retired")
	return nil
}

func (p *memPool) Kill(_ context.Context, id uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, err := p.find(id)
	if err != nil {
		return err
	}
	p.leave(i, "killed")
	return nil
}

func (p *memPool) Dump(_ context.Context, id uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, err := p.find(id)
	if err != nil {
		return err
	}
	if !p.workers[i].CanDump {
		return control.Errorf(control.CodeState, "cannot dump worker %d: it did not say that it can", id).
			WithHint("a worker says DUMPSIGNAL= when it is ready, see scgid-worker(7)")
	}
	return nil
}

func (p *memPool) LogLevel(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.level, nil
}

func (p *memPool) SetLogLevel(_ context.Context, level string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level = level
	return nil
}

func (p *memPool) Subscribe(context.Context, bool) (*control.Subscription, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := make(chan control.Event, 100)
	p.readers = append(p.readers, c)
	if err := os.WriteFile(p.followed, nil, 0o666); err != nil {
		return nil, err
	}
	return &control.Subscription{C: c, Close: func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.Index(p.readers, c); i >= 0 {
			p.readers = slices.Delete(p.readers, i, i+1)
			close(c)
		}
	}}, nil
}
