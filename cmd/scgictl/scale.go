package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func scaleCommand(c *ctl) *cobra.Command {
	var change control.Change
	cmd := c.poolCommand(poolVerb{
		verb:    "scale",
		changes: true,
		short:   "Change the limits of a pool",
		long:    "scale changes limits of a pool. They hold until the master ends: reloads keep\nthem, and so does a crash of the master under systemd. Limits that would be out of\nrange are adjusted: a lower --max lowers the others. --reset goes back to the\nconfiguration first.",
		example: "  scgictl scale wiki --max 32\n  scgictl scale wiki --min 4 --min-idle 2\n  scgictl scale wiki --max-busy off\n  scgictl scale wiki --reset",
		check: func([]string) error {
			if change == (control.Change{}) {
				return usage("no limit is given", "scgictl scale NAME --max N; others are --min, --min-idle, --max-idle, --max-busy, --reset")
			}
			return nil
		},
		run: func(ctx context.Context, t *target, _ []string) error { return c.scale(ctx, t, change) },
	})
	flags := cmd.Flags()
	flags.Var(countFlag{&change.MinWorkers}, "min", "keep at least `N` workers")
	flags.Var(countFlag{&change.MaxWorkers}, "max", "have at most `N` workers")
	flags.Var(countFlag{&change.MinIdle}, "min-idle", "keep `N` idle workers ready")
	flags.Var(countFlag{&change.MaxIdle}, "max-idle", "retire idle workers above `N` in time")
	flags.Var(busyFlag{&change.MaxBusy}, "max-busy", "at most `N` requests at workers at the same time, or auto or off")
	flags.BoolVar(&change.Reset, "reset", false, "go back to the configuration first")
	return cmd
}

// scale prints the limits that hold now, which may differ from those asked for:
// the master adjusts the others.
func (c *ctl) scale(ctx context.Context, t *target, change control.Change) error {
	ctx, cancel := soon(ctx)
	defer cancel()
	var now control.Limits
	if err := t.Call(ctx, "scale", change, &now); err != nil {
		return err
	}
	configured := change == (control.Change{Reset: true})
	return c.show(now, func(s *screen) {
		text := limits(now, !configured)
		if configured {
			text += " (as configured)"
		}
		s.line(span{bold, t.String()}, ": ", text)
	})
}

// A countFlag is a flag with a number of workers; where it is not given, *to
// stays nil.
type countFlag struct{ to **int }

func (f countFlag) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > control.WorkersMax {
		return fmt.Errorf("it must be a number from 0 to %d", control.WorkersMax)
	}
	*f.to = &n
	return nil
}

func (countFlag) String() string { return "" }
func (countFlag) Type() string   { return "N" }

// A busyFlag is --max-busy; where it is not given, *to stays nil.
type busyFlag struct{ to **control.BusyLimit }

func (f busyFlag) Set(text string) error {
	limit, err := control.ParseBusyLimit(text)
	if err != nil {
		return fmt.Errorf("it %w", err)
	}
	*f.to = &limit
	return nil
}

func (busyFlag) String() string { return "" }
func (busyFlag) Type() string   { return "N" }
