package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func rollbackCommand(c *ctl) *cobra.Command {
	return c.operationCommand(poolVerb{
		verb:    control.OpRollback,
		short:   "Go back to what was before the last reload",
		long:    "rollback has a pool go back to the generation before the last reload: its\nconfiguration, and the directory where it ran. No request is lost or refused.",
		example: "  scgictl rollback wiki",
	}, func(ctx context.Context, t *target) error { return c.operate(ctx, t, control.OpRollback) })
}
