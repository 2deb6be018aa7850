package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func reloadCommand(c *ctl) *cobra.Command {
	return c.operationCommand(poolVerb{
		verb:    control.OpReload,
		short:   "Take a new configuration and new workers, without losing a request",
		long:    "reload has a pool read its configuration again and replace all its workers. No\nrequest is lost or refused. A configuration that is wrong, or an application that\ndoes not start, changes nothing: the reload fails and says why.",
		example: "  scgictl reload wiki\n  scgictl reload wiki --no-wait",
	}, func(ctx context.Context, t *target) error { return c.operate(ctx, t, control.OpReload) })
}
