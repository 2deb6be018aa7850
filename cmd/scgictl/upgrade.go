package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

func upgradeCommand(c *ctl) *cobra.Command {
	return c.operationCommand(poolVerb{
		verb:    control.OpUpgrade,
		short:   "Replace the master's program, keeping workers and requests",
		long:    "upgrade has the master of a pool execute its program again, which a package may\nhave replaced, as the same process. Workers, requests and sockets are kept. It then\nchecks that the new program answers.",
		example: "  scgictl upgrade wiki",
	}, c.upgrade)
}

// upgrade asks for it. One that succeeds cuts the connection: what became of
// it is then read from the status.
func (c *ctl) upgrade(ctx context.Context, t *target) error {
	asked, cancel := soon(ctx)
	before, err := t.Status(asked)
	cancel()
	if err != nil {
		return err
	}
	if _, err := c.orderOperation(ctx, t, control.OpUpgrade); err != nil && !errors.Is(err, api.ErrCut) {
		return failed(ctx, t, control.OpUpgrade, err)
	}
	cut := time.Now()
	after, err := t.reconnect(ctx, c.upgradeLimit, func(st *control.Status) bool { return st.PID != before.PID || upgradeOver(&before, st) })
	if err != nil {
		return c.lostAt(ctx, t, &after, err)
	}
	if after.PID != before.PID {
		return control.Errorf(control.CodeFailed, "cannot upgrade %s: the master was restarted instead (pid %d before, %d now)", t, before.PID, after.PID).
			WithHint("its log says why")
	}
	o := upgradeOf(&before, &after)
	if o.State == control.OpFailed {
		return failed(ctx, t, control.OpUpgrade, control.OperationError(control.OpUpgrade, errors.New(o.Error)))
	}
	ctx, cancel = soon(ctx)
	defer cancel()
	kept := t.kept(ctx, cut)
	err = c.show(o, func(s *screen) {
		s.line(span{bold, t.String()}, ": ", fromTo(&before, &after), fmt.Sprintf("; pid %d", after.PID), kept, " kept")
	})
	c.notes(o)
	return err
}

// upgradeOf returns the upgrade that a status tells of, if it is not one that
// was over before. Another operation may have followed it, which only another
// program can run.
func upgradeOf(before, now *control.Status) *control.Operation {
	o := now.Operation
	if o != nil && o.Kind == control.OpUpgrade && (!same(before.Operation, o) || before.Operation.State == control.OpRunning) {
		return o
	}
	if now.Build != before.Build {
		return &control.Operation{Kind: control.OpUpgrade, State: control.OpDone, Generation: now.Generation}
	}
	return nil
}

func upgradeOver(before, now *control.Status) bool {
	o := upgradeOf(before, now)
	return o != nil && o.State != control.OpRunning
}

// lostAt is the error for a master that did not come back as it should.
func (c *ctl) lostAt(ctx context.Context, t *target, last *control.Status, err error) error {
	if ctx.Err() != nil {
		return control.Errorf(control.CodeTimeout, "stopped waiting; the upgrade of %s continues", t)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("it does not answer")
		if last.PID != 0 {
			err = errors.New("it answers, but does not say that it was upgraded")
		}
	}
	e := control.Errorf(control.CodeFailed, "cannot tell whether %s was upgraded: after %s: %v", t, duration(c.upgradeLimit), err)
	if t.unit != "" && c.underSystemd() {
		return e.WithHint("systemctl status %s", t.unit)
	}
	return e.WithHint("scgictl status %s", t)
}

// fromTo names both programs, as far as is needed to tell them apart.
func fromTo(before, after *control.Status) string {
	if before.Build == after.Build {
		return "upgraded in place (same build)"
	}
	from, to := before.Version, after.Version
	if from == to {
		from, to = from+build(before), to+build(after)
	}
	return "upgraded from " + from + " to " + to
}

// build is what is shown of a build, which may be a long hash.
func build(st *control.Status) string {
	const most = 12
	return fmt.Sprintf(" (build %.*s)", most, st.Build)
}

// kept says which workers and requests were there when the connection was cut
// and still are; nothing, if the caller may not see them.
func (t *target) kept(ctx context.Context, cut time.Time) string {
	workers, err := t.Workers(ctx)
	if err != nil {
		return ""
	}
	requests, err := t.Requests(ctx)
	if err != nil {
		return ""
	}
	old, since := 0, time.Since(cut).Seconds()
	for _, w := range workers {
		if w.PID != 0 && w.Since.Before(cut) {
			old++
		}
	}
	n := 0
	for _, r := range requests {
		if r.AgeSeconds >= since {
			n++
		}
	}
	all := "all requests" // those of the moment between have ended
	switch {
	case n == 1:
		all = "1 request"
	case n > 1:
		all = "all " + plural(n, "request")
	}
	return ", " + plural(old, "worker") + " and " + all
}
