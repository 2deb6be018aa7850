package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func pauseCommand(c *ctl) *cobra.Command {
	var limit timeFlag
	cmd := c.poolCommand(poolVerb{
		verb:    "pause",
		changes: true,
		short:   "Stop taking requests for a while",
		long:    "pause stops the intake: new connections wait in the kernel, and nothing fails\nwhile they have room there. Requests that were accepted are served.",
		example: "  scgictl pause wiki --limit 30s",
		run: func(ctx context.Context, t *target, _ []string) error {
			ctx, cancel := soon(ctx)
			defer cancel()
			if err := t.Call(ctx, "pause", control.PauseArgs{Limit: control.Seconds(limit.d)}, nil); err != nil {
				return err
			}
			return c.show(nothing{}, func(s *screen) {
				if limit.d > 0 {
					s.line(span{bold, t.String()}, ": paused for ", duration(limit.d))
					return
				}
				s.line(span{bold, t.String()}, ": paused until scgictl resume")
			})
		},
	})
	cmd.Flags().Var(&limit, "limit", "resume by itself after this time, such as 30s or 5min")
	return cmd
}
