package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// waitFlags are --wait and --no-wait. Units and scripts say which they mean,
// though one of them is the default.
type waitFlags struct{ yes, no bool }

func (f *waitFlags) add(cmd *cobra.Command, yes, no string) {
	cmd.Flags().BoolVar(&f.yes, "wait", false, yes)
	cmd.Flags().BoolVar(&f.no, "no-wait", false, no)
}

func (f *waitFlags) check(verb string) error {
	if f.yes && f.no {
		return usage("--wait and --no-wait exclude each other", "scgictl "+verb+" --help")
	}
	return nil
}

// operationCommand makes the command of a verb that runs an operation: perform
// runs it and prints the result.
func (c *ctl) operationCommand(v poolVerb, perform func(context.Context, *target) error) *cobra.Command {
	var wait waitFlags
	var limit timeFlag
	v.changes = true
	v.check = func([]string) error { return wait.check(v.verb) }
	v.run = func(ctx context.Context, t *target, _ []string) error {
		if limit.d > 0 {
			bounded, cancel := context.WithTimeout(ctx, limit.d)
			defer cancel()
			ctx = bounded
		}
		if wait.no {
			return c.begin(ctx, t, v.verb)
		}
		return perform(ctx, t)
	}
	cmd := c.poolCommand(v)
	wait.add(cmd, "return when it has ended; this is the default", "return when it has begun")
	cmd.Flags().Var(&limit, "timeout", "stop waiting after this time; the operation continues (default: wait until it has ended)")
	return cmd
}

// operate is perform for operations that do not replace the master's program.
func (c *ctl) operate(ctx context.Context, t *target, kind string) error {
	asked := time.Now()
	o, err := c.orderOperation(ctx, t, kind)
	if errors.Is(err, api.ErrCut) {
		// An upgrade was before us, and took the order with it.
		switch made, executed := afterUpgrade(ctx, t, kind, asked); {
		case made != nil && made.State == control.OpFailed:
			err = control.OperationError(kind, errors.New(made.Error))
		case made != nil:
			o, err = *made, nil
		case executed:
			o, err = c.orderOperation(ctx, t, kind)
		}
	}
	if err != nil {
		return failed(ctx, t, kind, err)
	}
	return c.showPerformed(t, kind, &o)
}

// afterUpgrade says whether the master was upgraded since an operation was asked
// for, and answers. The new program makes operations that
// waited: then it returns what became of ours.
func afterUpgrade(ctx context.Context, t *target, kind string, asked time.Time) (made *control.Operation, executed bool) {
	const patience, forever = 10 * time.Second, 24 * time.Hour
	st, err := t.reconnect(ctx, patience, func(st *control.Status) bool {
		o := st.Operation
		return o == nil || o.Kind != control.OpUpgrade || o.State != control.OpRunning
	})
	ours := func(o *control.Operation) bool { return o != nil && o.Kind == kind && o.Began.After(asked) }
	if err == nil && ours(st.Operation) {
		st, err = t.reconnect(ctx, forever, func(st *control.Status) bool {
			return !ours(st.Operation) || st.Operation.State != control.OpRunning
		})
	}
	switch o := st.Operation; {
	case err != nil || o == nil:
		return nil, false
	case ours(o):
		return o, true
	default:
		return nil, o.Kind == control.OpUpgrade && o.State == control.OpDone && o.Ended.After(asked)
	}
}

// orderOperation asks for an operation and waits for its end; meanwhile it prints
// how far that is. Its error is the master's own, or the context's.
func (c *ctl) orderOperation(ctx context.Context, t *target, kind string) (control.Operation, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := newProgress(c.err)
	defer p.end()
	heard := c.listen(ctx, t)
	if err := ctx.Err(); err != nil {
		return control.Operation{}, unasked{err}
	}
	var o control.Operation
	ended := make(chan error, 1)
	go func() { ended <- t.Call(ctx, kind, nil, &o) }()
	for {
		select {
		case e := <-heard:
			p.receive(&e)
		case <-p.due():
			p.show()
		case err := <-ended:
			return o, err
		}
	}
}

// unasked is the error of an order that was not given.
type unasked struct{ error }

func (u unasked) Unwrap() error { return u.error }

// listenTime is how long the stream of events may take to begin.
const listenTime = 2 * time.Second

// listen returns the pool's events from now on. A pool that gives none is not an
// error: they only tell how far an operation is.
func (c *ctl) listen(ctx context.Context, t *target) <-chan control.Event {
	heard := make(chan control.Event)
	if c.json {
		return heard
	}
	begun, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		_ = t.EventsFrom(ctx, func() error { close(begun); return nil }, func(e control.Event) error {
			select {
			case heard <- e:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	select {
	case <-begun:
	case <-over:
	case <-ctx.Done():
	case <-time.After(listenTime):
	}
	return heard
}

// failed is the error to print for an operation that was ordered.
func failed(ctx context.Context, t *target, kind string, err error) error {
	if u := (unasked{}); errors.As(err, &u) {
		if errors.Is(err, context.DeadlineExceeded) {
			return control.Errorf(control.CodeTimeout, "%s has not answered within the time limit, nothing was asked of it", t)
		}
		return u.error
	}
	if errors.Is(err, context.Canceled) || ctx.Err() != nil && control.AsError(err).Code == control.CodeTimeout {
		return control.Errorf(control.CodeTimeout, "stopped waiting; the %s of %s continues", kind, t)
	}
	e := control.AsError(err)
	doing := "cannot " + control.FindVerb(kind).Doing
	reason, ok := strings.CutPrefix(e.Text, doing+": ")
	if !ok {
		return err
	}
	told := control.Errorf(e.Code, "%s %s: %s", doing, t, reason)
	if told.Hint = e.Hint; e.Code == control.CodeFailed {
		told.Hint = strings.TrimSuffix(servesOn[kind]+"; "+e.Hint, "; ")
	}
	return told
}

// servesOn is what somebody wants to know first when an operation has failed.
var servesOn = map[string]string{
	control.OpReload:   "nothing has changed, the old configuration is still in use",
	control.OpRollback: "nothing has changed, the pool serves as before",
	control.OpUpgrade:  "nothing has changed, the old program is still running",
}

// performed are the words for what is done.
var performed = map[string]string{control.OpReload: "reloaded", control.OpRollback: "rolled back", control.OpUpgrade: "upgraded"}

// showPerformed prints what an operation did, and what it could not.
func (c *ctl) showPerformed(t *target, kind string, o *control.Operation) error {
	err := c.show(o, func(s *screen) {
		s.line(span{bold, t.String()}, ": ", performed[kind], ", ", outcome(o))
	})
	c.notes(o)
	return err
}

// notes prints what an operation could not change on standard error, where it is
// seen if the output goes to a file.
func (c *ctl) notes(o *control.Operation) {
	if c.json {
		return // they are in there
	}
	for _, note := range o.Notes {
		c.err.line(span{yellow, "scgictl: note: "}, note)
	}
	c.err.Flush()
}

// outcome says what a finished operation came to.
func outcome(o *control.Operation) string {
	text := fmt.Sprintf("generation %d, ", o.Generation)
	if o.Total > 0 {
		text += plural(o.Done, "worker") + " replaced "
	}
	return text + "in " + duration(o.Took())
}
