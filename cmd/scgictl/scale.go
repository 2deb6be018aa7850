package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/scgid/scgid/control"
)

// scaleFlags are the limits: flag, argument of the verb, help.
var scaleFlags = [][3]string{
	{"min", "min_workers", "keep at least `N` workers"},
	{"max", "max_workers", "have at most `N` workers"},
	{"min-idle", "min_idle", "keep `N` idle workers ready"},
	{"max-idle", "max_idle", "retire idle workers above `N` in time"},
}

func scaleCommand(c *ctl) *cobra.Command {
	flags := pflag.NewFlagSet("scale", pflag.ContinueOnError)
	cmd := c.poolCommand(poolVerb{
		verb:    "scale",
		changes: true,
		short:   "Change the limits of a pool",
		long:    "scale changes limits of a pool. They are kept until the master ends, over reloads;\na crash of the master under systemd is no end. What follows from a change\nfollows: a lower --max takes the other limits down with it. --reset goes back to\nthe configuration first.",
		example: "  scgictl scale wiki --max 32\n  scgictl scale wiki --min 4 --min-idle 2\n  scgictl scale wiki --reset",
		check: func([]string) error {
			if len(change(flags)) == 0 {
				return usage("no limit is given", "scgictl scale NAME --max N; others are --min, --min-idle, --max-idle, --reset")
			}
			return nil
		},
		run: func(ctx context.Context, t *target, _ []string) error { return c.scale(ctx, t, change(flags)) },
	})
	for _, f := range scaleFlags {
		flags.Var(&countFlag{}, f[0], f[2])
	}
	flags.Bool("reset", false, "go back to the configuration first")
	cmd.Flags().AddFlagSet(flags)
	return cmd
}

// change is what the flags ask for, as arguments of the verb.
func change(flags *pflag.FlagSet) map[string]any {
	args := map[string]any{}
	for _, f := range scaleFlags {
		if flags.Changed(f[0]) {
			args[f[1]] = flags.Lookup(f[0]).Value.(*countFlag).n
		}
	}
	if reset, _ := flags.GetBool("reset"); reset {
		args["reset"] = true
	}
	return args
}

func (c *ctl) scale(ctx context.Context, t *target, change map[string]any) error {
	ctx, cancel := soon(ctx)
	defer cancel()
	var now control.Limits
	if err := t.Call(ctx, "scale", change, &now); err != nil {
		return err
	}
	configured := len(change) == 1 && change["reset"] == true
	return c.show(now, func(s *screen) {
		text := limits(now, !configured)
		if configured {
			text += " (as configured)"
		}
		s.line(span{bold, t.String()}, ": ", text)
	})
}

// A countFlag is a flag with a number of workers.
type countFlag struct{ n int }

func (f *countFlag) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > control.WorkersMax {
		return fmt.Errorf("it must be a number from 0 to %d", control.WorkersMax)
	}
	f.n = n
	return nil
}

func (f *countFlag) String() string { return "" }
func (*countFlag) Type() string     { return "N" }
