package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

var levels = []string{"debug", "info", "warning", "err"}

func logLevelCommand(c *ctl) *cobra.Command {
	isLevel := func(arg string) bool { return slices.Contains(levels, arg) }
	v := poolVerb{
		verb:    "log-level",
		args:    "[LEVEL]",
		max:     1,
		own:     isLevel,
		short:   "Say or set what the master logs",
		long:    "log-level sets what the master logs: debug, info, warning or err and what is more\nimportant. Without LEVEL it says which it is. A pool called like a level needs both.",
		example: "  scgictl log-level wiki\n  scgictl log-level wiki debug",
		complete: func(context.Context, *target) []cobra.Completion {
			return levels
		},
	}
	v.check = func(args []string) error {
		if len(args) == 1 && !isLevel(args[0]) {
			return usage("there is no level "+args[0], "the levels are debug, info, warning, err")
		}
		return nil
	}
	v.run = func(ctx context.Context, t *target, args []string) error {
		ctx, cancel := soon(ctx)
		defer cancel()
		var change any // nothing is read
		if len(args) == 1 {
			// Reading needs no proof of who answers, setting does.
			c.verify(ctx, t, true)
			change = control.LevelArgs{Level: &args[0]}
		}
		var now struct {
			Level string `json:"level"`
		}
		if err := t.Call(ctx, "log-level", change, &now); err != nil {
			return err
		}
		return c.show(now, func(s *screen) { s.line(span{bold, t.String()}, ": log level ", now.Level) })
	}
	return c.poolCommand(v)
}
