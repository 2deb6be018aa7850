package master

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
)

// A Master is a control.Pool: each call is posted to the loop, and what has to
// be read from the kernel is read in the caller's goroutine, not the loop's.
var _ control.Pool = (*Master)(nil)

// errOver is ErrOver as the front ends know it.
var errOver = &control.Error{Code: control.CodeOver, Text: "the pool has ended"}

// query runs f in the loop and returns its answer.
func query[T any](ctx context.Context, m *Master, f func(*loop) (T, error)) (T, error) {
	type answer struct {
		t   T
		err error
	}
	back := make(chan answer, 1)
	var none T
	if !m.box.post(func(l *loop) { t, err := f(l); back <- answer{t, err} }) {
		return none, errOver
	}
	select {
	case a := <-back:
		return a.t, a.err
	case <-m.done:
		return none, errOver
	case <-ctx.Done():
		return none, control.Errorf(control.CodeTimeout, "the master did not answer in time: %v", ctx.Err())
	}
}

// do is query for what answers nothing.
func do(ctx context.Context, m *Master, f func(*loop) error) error {
	_, err := query(ctx, m, func(l *loop) (struct{}, error) { return struct{}{}, f(l) })
	return err
}

// Status returns the pool as it is now, with the kernel's backlog.
func (m *Master) Status(ctx context.Context) (control.Status, error) {
	s, err := query(ctx, m, func(l *loop) (control.Status, error) { return l.status(), nil })
	if err == nil {
		s.Queue.Listeners = m.backlogs()
	}
	return s, err
}

// backlogs reads the kernel's queue of each listener.
func (m *Master) backlogs() []control.Listener {
	all := []control.Listener{}
	for _, from := range m.host.Listeners {
		x := control.Listener{Name: from.Name, Address: from.Addr, Backlog: -1, BacklogLimit: -1}
		if from.Backlog != nil {
			if n, limit, err := from.Backlog(); err == nil {
				x.Backlog, x.BacklogLimit = n, limit
			}
		}
		all = append(all, x)
	}
	return all
}

// Workers lists the worker processes, with what the kernel says of them.
func (m *Master) Workers(ctx context.Context) ([]control.Worker, error) {
	all, err := query(ctx, m, func(l *loop) ([]control.Worker, error) { return l.workerList(), nil })
	for i := range all {
		u := process.Usage(all[i].PID)
		all[i].CPUSeconds, all[i].MemoryBytes = u.CPU.Seconds(), u.Memory
	}
	slices.SortFunc(all, func(a, b control.Worker) int { return cmp.Compare(a.ID, b.ID) })
	return all, err
}

// Requests lists the requests at work, the one accepted first before others,
// and then those that wait, in their order.
func (m *Master) Requests(ctx context.Context) ([]control.Request, error) {
	all, err := query(ctx, m, func(l *loop) ([]control.Request, error) { return l.requestList(), nil })
	atWork := all
	if i := slices.IndexFunc(all, func(r control.Request) bool { return r.State != control.RequestActive }); i >= 0 {
		atWork = all[:i]
	}
	slices.SortFunc(atWork, func(a, b control.Request) int { return cmp.Compare(b.AgeSeconds, a.AgeSeconds) })
	return all, err
}

// Config returns the configuration in effect; limits that were set at run time
// and sockets that were handed over are shown as such.
func (m *Master) Config(ctx context.Context) ([]control.Setting, error) {
	return query(ctx, m, func(l *loop) ([]control.Setting, error) { return l.effective(), nil })
}

// Metrics returns all counts, with the CPU time and memory of the pool.
func (m *Master) Metrics(ctx context.Context) (control.Metrics, error) {
	x, err := query(ctx, m, func(l *loop) (control.Metrics, error) { return l.metrics(), nil })
	if err != nil {
		return x, err
	}
	x.Status.Queue.Listeners = m.backlogs()
	workers, err := m.Workers(ctx)
	for _, w := range workers {
		x.CPU += time.Duration(w.CPUSeconds * float64(time.Second))
		x.Memory += w.MemoryBytes
	}
	own := process.Usage(os.Getpid())
	x.CPU += own.CPU + own.Ended
	x.Memory += own.Memory
	return x, err
}

// Scale changes the limits until the master ends.
func (m *Master) Scale(ctx context.Context, c control.Change) (control.Limits, error) {
	return query(ctx, m, func(l *loop) (control.Limits, error) { return l.scale(c) })
}

// Pause stops the intake; after limit, if that is not 0, it resumes.
func (m *Master) Pause(ctx context.Context, limit time.Duration) error {
	return do(ctx, m, func(l *loop) error { return l.pause(limit) })
}

// Resume ends a pause.
func (m *Master) Resume(ctx context.Context) error {
	return do(ctx, m, (*loop).resumeAsked)
}

// Stop begins the orderly exit and waits until it is complete.
func (m *Master) Stop(ctx context.Context, order control.StopOrder) (control.StopReport, error) {
	began := time.Now()
	before, err := query(ctx, m, func(l *loop) (Counters, error) { c := l.count.Counters; l.stopAs(order); return c, nil })
	if err != nil {
		return control.StopReport{}, err
	}
	select {
	case <-m.done:
	case <-ctx.Done():
		return control.StopReport{}, control.Errorf(control.CodeTimeout, "the pool is still stopping: %v", ctx.Err())
	}
	c := &m.loop.count // the loop has ended
	return control.StopReport{
		Finished: c.Served - before.Served, Lost: c.Lost - before.Lost, Refused: c.Refused - before.Refused,
		Took: time.Since(began),
	}, nil
}

// Retire tells a worker to finish what it holds and to leave.
func (m *Master) Retire(ctx context.Context, id uint64) error {
	return do(ctx, m, func(l *loop) error { return l.retireByID(id) })
}

// Kill ends a worker at once.
func (m *Master) Kill(ctx context.Context, id uint64) error {
	return do(ctx, m, func(l *loop) error { return l.killByID(id) })
}

// Dump has a worker write its stacks to its stderr.
func (m *Master) Dump(ctx context.Context, id uint64) error {
	return do(ctx, m, func(l *loop) error { return l.dump(id) })
}

// logLevels are systemd's names for those that we use.
var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "err": slog.LevelError}

// LogLevel returns what the master logs.
func (m *Master) LogLevel(context.Context) (string, error) {
	for name, level := range logLevels {
		if m.host.LogLevel != nil && level == m.host.LogLevel.Level() {
			return name, nil
		}
	}
	return "info", nil
}

// SetLogLevel changes what the master logs.
func (m *Master) SetLogLevel(_ context.Context, level string) error {
	l, ok := logLevels[strings.ToLower(level)]
	if !ok || m.host.LogLevel == nil {
		return control.Errorf(control.CodeInvalid, "cannot change the log level: there is no level %.20q", level).
			WithHint("levels are debug, info, warning and err")
	}
	m.host.LogLevel.Set(l)
	return nil
}

// Subscribe returns the events from now on. With keep the pool does not leave
// when it is idle while the subscription is open.
func (m *Master) Subscribe(ctx context.Context, keep bool) (*control.Subscription, error) {
	s, err := query(ctx, m, func(l *loop) (*subscriber, error) { return l.subscribe(keep), nil })
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, control.Errorf(control.CodeFailed, "cannot watch events: %d are watching already", maxSubscribers)
	}
	end := func() {
		if !m.box.post(func(l *loop) { l.unsubscribe(s) }) {
			s.once.Do(func() { close(s.c) })
		}
	}
	return &control.Subscription{C: s.c, Close: end}, nil
}
