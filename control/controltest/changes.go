package controltest

import (
	"context"
	"slices"
	"time"

	"github.com/scgid/scgid/control"
)

// Scale is one of control.Pool.
func (p *Pool) Scale(ctx context.Context, c control.Change) (l control.Limits, err error) {
	err = p.Change(ctx, "scale", func() error {
		l = p.St.Limits
		if c.Reset {
			l = p.Configured
		}
		l = c.Apply(l)
		if err := l.Validate(); err != nil {
			return control.Errorf(control.CodeInvalid, "cannot change the limits: %v", err)
		}
		now := l
		p.St.Limits, p.St.Scaled = l, l != p.Configured
		p.Tell(control.Event{Kind: control.EventLimits, Limits: &now})
		p.fit()
		return nil
	})
	return l, err
}

// Pause is one of control.Pool.
func (p *Pool) Pause(ctx context.Context, limit time.Duration) error {
	return p.Change(ctx, "pause "+limit.String(), func() error {
		p.St.ResumesIn = limit.Seconds()
		p.SetState(control.Paused)
		return nil
	})
}

// Resume is one of control.Pool.
func (p *Pool) Resume(ctx context.Context) error {
	return p.Change(ctx, "resume", func() error {
		if p.MayResume != nil {
			if err := p.MayResume(p.St.State); err != nil {
				return err
			}
		}
		if p.St.State == control.Paused {
			p.St.ResumesIn = 0
			p.SetState(control.Running)
		}
		return nil
	})
}

// Stop is one of control.Pool: it drains at once, and is complete when changes
// are not held, or with Now.
func (p *Pool) Stop(ctx context.Context, o control.StopOrder) (control.StopReport, error) {
	what := "stop " + o.Limit.String()
	if o.Now {
		what += " now"
	}
	p.Lock()
	p.Calls++
	p.Changes = append(p.Changes, what)
	p.SetState(control.Draining)
	p.Unlock()
	return outlive(ctx, func() (control.StopReport, error) {
		if !o.Now {
			_ = p.wait(context.Background())
		}
		p.Lock()
		defer p.Unlock()
		select {
		case <-p.Stopped:
		default:
			close(p.Stopped)
		}
		return p.Report, nil
	})
}

// outlive runs f, which continues when the context ends.
func outlive[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		t   T
		err error
	}
	done := make(chan result, 1)
	go func() { t, err := f(); done <- result{t, err} }()
	select {
	case r := <-done:
		return r.t, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// operate runs an operation. It takes 4.2 seconds, as it says.
func (p *Pool) operate(ctx context.Context, kind string) (control.Operation, error) {
	p.Lock()
	o := control.Operation{ID: 1, Kind: kind, State: control.OpRunning, Began: p.Now(), Step: "starting worker 9"}
	if last := p.St.Operation; last != nil {
		o.ID = last.ID + 1
	}
	p.Show(o)
	p.Unlock()
	return outlive(ctx, func() (control.Operation, error) {
		err := p.Change(context.Background(), kind, func() error {
			o.State, o.Step, o.Ended = control.OpDone, "", o.Began.Add(4200*time.Millisecond)
			if p.Reason != nil {
				o.State, o.Error = control.OpFailed, p.Reason.Error()
			} else {
				p.St.Generation++
				o.Done, o.Total, o.Notes = len(p.All), len(p.All), slices.Clone(p.Notes)
			}
			o.Generation = p.St.Generation
			p.Show(o)
			return p.Reason
		})
		select {
		case p.Ended <- o:
		default:
		}
		return o, err
	})
}

// Show makes o the pool's operation and tells of it. The pool must be locked.
func (p *Pool) Show(o control.Operation) {
	p.St.Operation = &o
	p.Tell(control.Event{Kind: control.EventOperation, Reason: o.Error, Operation: &o})
}

// Reload is one of control.Pool.
func (p *Pool) Reload(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpReload)
}

// Rollback is one of control.Pool.
func (p *Pool) Rollback(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpRollback)
}

// Upgrade is one of control.Pool; it does not end the process.
func (p *Pool) Upgrade(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpUpgrade)
}

// LogLevel is one of control.Pool.
func (p *Pool) LogLevel(context.Context) (string, error) {
	p.Lock()
	defer p.Unlock()
	p.Calls++
	return p.Level, nil
}

// SetLogLevel is one of control.Pool.
func (p *Pool) SetLogLevel(ctx context.Context, level string) error {
	return p.Change(ctx, "log-level "+level, func() error {
		if !slices.Contains([]string{"debug", "info", "warning", "err"}, level) {
			return control.Errorf(control.CodeInvalid, "there is no log level %q", level)
		}
		p.Level = level
		return nil
	})
}
