package controltest

import (
	"context"
	"slices"

	"github.com/scgid/scgid/control"
)

// Start starts a worker and returns its id.
func (p *Pool) Start() uint64 {
	p.Lock()
	defer p.Unlock()
	return p.start()
}

func (p *Pool) start() uint64 {
	p.next++
	w := p.NewWorker(p.next)
	p.All = append(p.All, w)
	p.St.Starts.Total++
	p.Tell(control.Event{Kind: p.StartKind, Worker: w.ID, PID: w.PID})
	return w.ID
}

// fit starts and ends workers as the limits want.
func (p *Pool) fit() {
	for len(p.All) < p.St.Limits.MinWorkers {
		p.start()
	}
	for len(p.All) > p.St.Limits.MaxWorkers {
		p.leave(0, "retired")
	}
}

// Exit takes a worker away, if it is there.
func (p *Pool) Exit(id uint64, reason string) {
	p.Lock()
	defer p.Unlock()
	if i, err := p.find(id); err == nil {
		p.leave(i, reason)
	}
}

func (p *Pool) leave(i int, reason string) {
	w := p.All[i]
	p.All = slices.Delete(slices.Clone(p.All), i, i+1)
	p.St.Exits[reason]++
	p.Tell(control.Event{Kind: control.EventWorkerExited, Worker: w.ID, PID: w.PID, Reason: reason, Served: w.Served})
}

func (p *Pool) find(id uint64) (int, error) {
	i := slices.IndexFunc(p.All, func(w control.Worker) bool { return w.ID == id })
	if i < 0 {
		return 0, control.Errorf(control.CodeNoWorker, "there is no worker %d", id).WithHint("%s", p.NoWorkerHint)
	}
	return i, nil
}

// Retire is one of control.Pool: a worker that is idle is gone at once.
func (p *Pool) Retire(ctx context.Context, id uint64) error {
	return p.Change(ctx, "retire", func() error {
		i, err := p.find(id)
		if err != nil {
			return err
		}
		p.Tell(control.Event{Kind: control.EventWorkerRetired, Worker: id, PID: p.All[i].PID})
		if p.All[i].Active > 0 {
			p.All[i].State = control.WorkerRetiring
			return nil
		}
		p.leave(i, "retired")
		return nil
	})
}

// Kill is one of control.Pool.
func (p *Pool) Kill(ctx context.Context, id uint64) error {
	return p.Change(ctx, "kill", func() error {
		i, err := p.find(id)
		if err == nil {
			p.leave(i, "killed")
		}
		return err
	})
}

// Dump is one of control.Pool.
func (p *Pool) Dump(ctx context.Context, id uint64) error {
	return p.Change(ctx, "dump", func() error {
		i, err := p.find(id)
		if err == nil && !p.All[i].CanDump {
			err = control.Errorf(control.CodeState, "cannot dump worker %d: it did not say that it can", id).
				WithHint("a worker says DUMPSIGNAL= when it is ready, see scgid-worker(7)")
		}
		return err
	})
}

// Workers is one of control.Pool.
func (p *Pool) Workers(context.Context) ([]control.Worker, error) {
	p.Lock()
	defer p.Unlock()
	p.Calls++
	return append([]control.Worker{}, p.All...), nil
}

// Requests is one of control.Pool.
func (p *Pool) Requests(context.Context) ([]control.Request, error) {
	p.Lock()
	defer p.Unlock()
	p.Calls++
	all := []control.Request{}
	for _, w := range p.All {
		if w.Request != nil && w.Active > 0 {
			all = append(all, *w.Request)
		}
	}
	return append(all, p.Waiting...), nil
}

// Status is one of control.Pool.
func (p *Pool) Status(context.Context) (control.Status, error) {
	p.Lock()
	defer p.Unlock()
	p.Calls++
	return p.Snapshot(), nil
}

// Snapshot is the status now. The pool must be locked, or used by nobody else.
func (p *Pool) Snapshot() control.Status {
	st := p.St
	st.Exits = map[string]uint64{}
	for reason, n := range p.St.Exits {
		st.Exits[reason] = n
	}
	st.Workers = control.WorkerCounts{Total: len(p.All)}
	for _, w := range p.All {
		switch {
		case w.State == control.WorkerRetiring:
			st.Workers.Retiring++
		case w.Active > 0:
			st.Workers.Busy++
		default:
			st.Workers.Idle++
		}
	}
	st.Queue.Waiting = len(p.Waiting)
	for _, r := range p.Waiting {
		st.Queue.OldestAge = max(st.Queue.OldestAge, r.AgeSeconds)
	}
	return st
}

// Config is one of control.Pool.
func (p *Pool) Config(context.Context) ([]control.Setting, error) {
	p.Lock()
	defer p.Unlock()
	p.Calls++
	return slices.Clone(p.Settings), nil
}

// Metrics is one of control.Pool.
func (p *Pool) Metrics(context.Context) (control.Metrics, error) {
	p.Lock()
	defer p.Unlock()
	p.Calls++
	return control.Metrics{Status: p.Snapshot()}, nil
}
