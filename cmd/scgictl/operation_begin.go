package main

import (
	"context"
	"errors"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// begin asks for an operation and returns when that has begun, or waits for its
// turn. The operation continues without us.
func (c *ctl) begin(ctx context.Context, t *target, kind string) error {
	ctx, cancel := soon(ctx)
	defer cancel()
	before, err := t.Status(ctx)
	if err != nil {
		return err
	}
	var o control.Operation
	ended := make(chan error, 1)
	go func() { ended <- t.Call(ctx, kind, nil, &o) }()
	for asked := time.Now(); ; {
		select {
		case err := <-ended:
			if kind == control.OpUpgrade && errors.Is(err, api.ErrCut) {
				return c.showBegun(t, kind, &control.Operation{Kind: kind, State: control.OpRunning, Generation: before.Generation, Began: asked}, "has begun")
			}
			if err != nil {
				return failed(ctx, t, kind, err)
			}
			return c.showPerformed(t, kind, &o)
		case <-time.After(lookAgain):
		}
		now, err := t.running(ctx)
		switch {
		case err != nil:
			return failed(ctx, t, kind, err)
		case now == nil: // ours has not begun, or has ended and is about to say so
		case now.Kind == kind && !same(before.Operation, now):
			return c.showBegun(t, kind, now, "has begun")
		case time.Since(asked) >= patience:
			return c.showBegun(t, kind, nothing{}, "waits for the "+now.Kind+" in progress")
		}
	}
}

// running is the operation in progress, or nil. A master that has ended meanwhile
// is not an error: what was ordered from it says that better.
func (t *target) running(ctx context.Context) (*control.Operation, error) {
	st, err := t.Status(ctx)
	switch {
	case err != nil && (isNotRunning(err) || control.AsError(err).Code == control.CodeOver):
		return nil, nil
	case err != nil:
		return nil, err
	case st.Operation == nil || st.Operation.State != control.OpRunning:
		return nil, nil
	}
	return st.Operation, nil
}

// same says whether both are the same operation; a may be nil.
func same(a, b *control.Operation) bool { return a != nil && a.ID == b.ID }

func (c *ctl) showBegun(t *target, kind string, o any, what string) error {
	return c.show(o, func(s *screen) { s.line(span{bold, t.String()}, ": the "+kind+" "+what) })
}
