package main

import (
	"context"

	"github.com/spf13/cobra"
)

func resumeCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:    "resume",
		changes: true,
		short:   "End a pause",
		long:    "resume ends a pause: what waits in the kernel is taken again.",
		run: func(ctx context.Context, t *target, _ []string) error {
			ctx, cancel := soon(ctx)
			defer cancel()
			if err := t.Call(ctx, "resume", nil, nil); err != nil {
				return err
			}
			return c.show(nothing{}, func(s *screen) { s.line(span{bold, t.String()}, ": takes requests") })
		},
	})
}
