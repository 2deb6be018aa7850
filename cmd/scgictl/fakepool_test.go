package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/control/controltest"
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
	errs := f.Bool("errors", false, "some replies were errors, and a worker has crashed")
	age := f.Float64("age", 2.34, "of requests that are served, in seconds")
	errFile := f.String("stderr", "", "its standard error is this `FILE`")
	var ops operations
	ops.flags(f)
	var st control.Status
	statusFlags(f, &st)
	_ = f.Parse(args)

	if *errFile != "" {
		if err := standardError(*errFile); err != nil {
			panic(err)
		}
	}
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
	p.St.PID, p.St.Version, p.St.Build, p.St.Operation = st.PID, st.Version, st.Build, st.Operation
	if *errs {
		p.goWrong()
	}
	for i := range *busy {
		p.All[i].Request.AgeSeconds = *age
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
	case <-p.Stopped:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = s.Shutdown(ctx)
	l.Close()
	return 0
}

// standardError has what this process writes there go to a file.
func standardError(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Dup3(int(f.Fd()), 2, 0)
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

// A memPool is a pool in memory that scripts set up: it makes files when it is
// asked for something, and its operations are theirs.
type memPool struct {
	*controltest.Pool
	followed string // a file to make when somebody subscribes
	ops      operations
	usage    control.Metrics // memory and CPU
	once     sync.Once
}

func newPool(name, state string, busy, waiting int, odd bool) *memPool {
	limits := control.Limits{MinWorkers: 2, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}
	p := &memPool{}
	p.Pool = controltest.New(control.Status{
		Name: name, PID: 4711, Version: "1.2.3", Generation: 1, Limits: limits,
		Since:    time.Now().Add(-3*time.Hour - 12*time.Minute - 20*time.Second),
		Requests: control.RequestCounts{Served: 12345, Active: busy},
		Exits:    map[string]uint64{"retired": 12, "killed": 1},
		Queue: control.Queue{Limit: limits.MaxWorkers, Listeners: []control.Listener{
			{Name: "app", Address: "/run/scgid/" + name + ".sock", Backlog: 3, BacklogLimit: 4096},
			{Name: "tcp", Address: "127.0.0.1:4000", Backlog: -1},
		}},
	}, newWorker)
	p.StartKind, p.St.State = control.EventWorkerReady, state
	if state == control.Failing {
		p.St.Starts = control.StartCounts{Total: 2, Failed: 3, FailuresInRow: 3, NextTryIn: 4.5,
			LastFailure: "no module \x1b[5mwiki"}
	}
	p.MayResume = func(state string) error {
		if state == control.Draining {
			return control.Errorf(control.CodeState, "cannot resume the intake: the pool is stopping")
		}
		return nil
	}
	for len(p.All) < busy+1 {
		p.Start()
	}
	for i := range busy {
		p.give(i, odd)
	}
	for i := range waiting {
		p.Waiting = append(p.Waiting, control.Request{ID: uint64(900 + i), State: control.RequestWaiting,
			Method: "GET", URI: fmt.Sprintf("/wait/%d", i), Client: "192.0.2.9", AgeSeconds: 1.5, Waited: 1.5})
		p.St.Saturated = 75
	}
	return p
}

// goWrong has a pool that serves, but not always well.
func (p *memPool) goWrong() {
	p.St.Requests.Classes = map[string]uint64{"2xx": 12000, "3xx": 270, "4xx": 40, "5xx": 35}
	p.St.Requests.Lost = 2
	p.St.Recent = &control.Recent{Seconds: 84.2, Served: 270, Errors: 3, Lost: 1, PerSecond: 3.2066,
		Queue: &control.Quantiles{P50: 0.00005, P95: 0.0021}, Service: &control.Quantiles{P50: 0.012, P95: 0.0805}}
	p.St.LastError = &control.Failure{Time: time.Now().Add(-3*time.Minute - 10*time.Second), Kind: control.FailedExit, Worker: 4,
		Text: "worker 4 was killed by SIGSEGV at request GET /thumbnails/2026/11/holidays-by-the-sea.jpg"}
	p.usage = control.Metrics{Memory: 168 << 20, CPU: 62 * time.Second}
}

func newWorker(id uint64) control.Worker {
	return control.Worker{
		ID: id, PID: 4711 + int(id), State: control.WorkerReady, Generation: 1, Slots: 1, Served: 1000 * id,
		Since: time.Now().Add(-2*time.Hour - 5*time.Minute - 10*time.Second), CPUSeconds: 12.5, MemoryBytes: 34 << 20, CanDump: id == 1,
	}
}

// give has a worker work on a request.
func (p *memPool) give(i int, odd bool) {
	w := &p.All[i]
	r := &control.Request{ID: uint64(100 + i), State: control.RequestActive, Method: "GET",
		URI: fmt.Sprintf("/page/%d?q=some+words", i), Client: "192.0.2.7", AgeSeconds: 2.34, Waited: 0.004, Worker: w.ID}
	if odd {
		r.URI = "/\x1b]0;owned\a\x1b[2J\u009b31m\u202eevil/" + string(make([]byte, 3)) + "/\xff"
		w.Status = "\x1b[31mred\r\nsecond line\u0085"
	}
	w.Active, w.Request = 1, r
}

func (p *memPool) Config(context.Context) ([]control.Setting, error) {
	p.Lock()
	defer p.Unlock()
	origin := "/etc/scgid/wiki.conf:3"
	if p.St.Scaled {
		origin = "set at run time"
	}
	return []control.Setting{
		{Section: "Pool", Key: "MinWorkers", Value: fmt.Sprint(p.St.Limits.MinWorkers), Origin: "default"},
		{Section: "Pool", Key: "MaxWorkers", Value: fmt.Sprint(p.St.Limits.MaxWorkers), Origin: origin},
		{Section: "Worker", Key: "ExecStart", Value: "scgi-wsgi wiki:application", Origin: "/etc/scgid/wiki.conf:7"},
	}, nil
}

func (p *memPool) Metrics(ctx context.Context) (control.Metrics, error) {
	m, err := p.Pool.Metrics(ctx)
	m.Accepted, m.Outcomes = 12346, map[string]uint64{"served": 12345}
	m.Queued.Add(time.Millisecond)
	m.Memory, m.CPU = p.usage.Memory, p.usage.CPU
	return m, err
}

// Stop finishes the requests at work, or loses them. With a limit it takes
// exactly so long, and continues when the caller has left.
func (p *memPool) Stop(ctx context.Context, o control.StopOrder) (control.StopReport, error) {
	p.Lock()
	p.SetState(control.Draining)
	r := control.StopReport{Finished: uint64(p.St.Requests.Active), Refused: uint64(len(p.Waiting)), Took: 1234 * time.Millisecond}
	p.Unlock()
	if o.Now {
		r.Finished, r.Lost = 0, r.Finished
	}
	time.AfterFunc(o.Limit, func() { p.once.Do(func() { close(p.Stopped) }) })
	select {
	case <-p.Stopped:
		return r, nil
	case <-ctx.Done():
		return control.StopReport{}, ctx.Err()
	}
}

func (p *memPool) Subscribe(ctx context.Context, keep bool) (*control.Subscription, error) {
	s, err := p.Pool.Subscribe(ctx, keep)
	if err == nil {
		err = os.WriteFile(p.followed, nil, 0o666)
	}
	return s, err
}
