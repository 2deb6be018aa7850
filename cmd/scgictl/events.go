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

// errEnough ends a stream that has shown what was asked for.
var errEnough = errors.New("enough events")

func eventsCommand(c *ctl) *cobra.Command {
	var most int
	cmd := c.poolCommand(poolVerb{
		verb:    "events",
		short:   "Follow what happens to a pool",
		long:    "events prints what happens to a pool from now on, until it is interrupted or the\npool ends. It continues after an upgrade or a crash of the master, and says where\nevents may be missing. With --json each event is one line.",
		example: "  scgictl events wiki\n  scgictl events wiki --json | jq 'select(.kind == \"worker-exited\")'",
		check: func([]string) error {
			if most < 0 {
				return usage("-n must be a number from 1", "scgictl events -n 10")
			}
			return nil
		},
		run: func(ctx context.Context, t *target, _ []string) error { return c.events(ctx, t, most) },
	})
	cmd.Flags().IntVarP(&most, "count", "n", 0, "end after `N` events")
	return cmd
}

// events follows a pool over upgrades and crashes of its master, until it has shown
// most events; 0 is no limit.
func (c *ctl) events(ctx context.Context, t *target, most int) error {
	seen, last := 0, uint64(0)
	each := func(e control.Event) error {
		last = e.Seq
		if err := c.showLine(e, func(s *screen) { s.event(&e) }); err != nil {
			return err
		}
		if seen++; seen == most {
			return errEnough
		}
		return nil
	}
	err := t.EventsFrom(ctx, c.announce(t), each)
	for again := false; errors.Is(err, api.ErrCut) || again && isNotRunning(err); again = true {
		switch lost := c.awaitMaster(ctx, t); {
		case ctx.Err() != nil:
			return nil // as asked
		case lost != nil:
			return lost
		}
		err = t.EventsFrom(ctx, func() error { return each(afterCut(last)) }, each)
	}
	var known *control.Error
	switch {
	case errors.Is(err, errEnough), errors.Is(err, context.Canceled):
		return nil // as asked
	case errors.As(err, &known) && known.Code == control.CodeOver && most == 0:
		return nil // so did the pool
	}
	return err
}

// afterCut is the event that stands where a stream was cut off and continues.
func afterCut(last uint64) control.Event {
	return control.Event{Seq: last, Time: time.Now(), Kind: control.EventMissed, Reason: "the connection was cut, events may be missing"}
}

// awaitMaster waits for a master that cut the stream off: it is being upgraded, or
// has died and is started again. A pool that ends does not cut its streams.
func (c *ctl) awaitMaster(ctx context.Context, t *target) error {
	_, err := t.reconnect(ctx, c.upgradeLimit, func(*control.Status) bool { return true })
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = control.Errorf(control.CodeTimeout, "it does not answer")
	}
	e := control.AsError(err)
	lost := control.Errorf(e.Code, "the events of %s were cut off, and cannot be followed further: %s", t, e.Text)
	if t.unit != "" && c.underSystemd() {
		return lost.WithHint("systemctl status %s", t.unit)
	}
	return lost.WithHint("%s", e.Hint)
}

// announce says on a terminal that events are shown from now on.
func (c *ctl) announce(t *target) func() error {
	if !c.err.terminal || c.json {
		return nil
	}
	return func() error {
		c.err.line(span{dim, "following " + t.String() + ", Ctrl-C ends it"})
		return c.err.Flush()
	}
}

// event prints one event: moment, kind, and what it says besides.
func (s *screen) event(e *control.Event) {
	when, text := span{dim, e.Time.Local().Format("15:04:05.000")}, eventText(e)
	if text == "" { // no blanks at the end of the line
		s.line(when, "  ", span{eventStyle(e), e.Kind})
		return
	}
	s.line(when, "  ", span{eventStyle(e), fmt.Sprintf("%-15s", e.Kind)}, "  ", text)
}

// eventStyle paints what went wrong, what may, and what is good again; the rest is
// plain, so that these are found in a long list.
func eventStyle(e *control.Event) style {
	switch e.Kind {
	case control.EventOperation:
		return operationStyle(e.Operation)
	case control.EventStartFailing, control.EventLost:
		return red
	case control.EventSaturated, control.EventRefused, control.EventMissed, control.EventPaused:
		return yellow
	case control.EventWorkerReady, control.EventStartRecovered, control.EventRelieved, control.EventResumed:
		return green
	}
	return plain
}

// eventText says what an event tells beside its kind. Kinds of a later scgid
// are shown as far as their fields are known.
func eventText(e *control.Event) string {
	text := ""
	add := func(format string, args ...any) {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf(format, args...)
	}
	if e.State != "" {
		add("the pool is %s", e.State)
	}
	if e.Worker != 0 {
		add("worker %d", e.Worker)
	}
	if e.PID != 0 {
		add("pid %d", e.PID)
	}
	if e.Operation != nil {
		add("%s", operationText(e.Operation))
	} else if e.Reason != "" {
		add("%s", e.Reason)
	}
	if e.Kind == control.EventWorkerExited {
		add("%s served", plural(e.Served, "request"))
	}
	if e.Count != 0 {
		noun := "request"
		if e.Kind == control.EventMissed {
			noun = "event"
		}
		add("%s", plural(e.Count, noun))
	}
	if e.Limits != nil {
		add("%s", limits(*e.Limits, false))
	}
	return text
}
