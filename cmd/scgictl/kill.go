package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func killCommand(c *ctl) *cobra.Command {
	var yes bool
	cmd := c.workerCommand(poolVerb{
		verb:    "kill",
		short:   "End a worker at once, with all its children",
		long:    "kill ends a worker at once, with all its children. The request that it works on is\nlost: its client gets an error. On a terminal it asks first.",
		example: "  scgictl kill wiki 12\n  scgictl kill wiki 12 --yes",
	}, func(ctx context.Context, t *target, id uint64) (bool, error) {
		if yes || !c.asks {
			return true, nil
		}
		ok, err := c.confirm(ctx, killQuestion(ctx, t, id))
		if err == nil && !ok {
			err = control.Errorf(control.CodeFailed, "nothing was done")
		}
		return ok, err
	}, "is killed")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// killQuestion names what would be lost. A worker that cannot be found is
// the master's to refuse.
func killQuestion(ctx context.Context, t *target, id uint64) string {
	ctx, cancel := soon(ctx)
	defer cancel()
	question := fmt.Sprintf("Kill worker %d of %s?", id, t)
	workers, err := t.Workers(ctx)
	if err != nil {
		return question
	}
	for _, w := range workers {
		switch r := w.Request; {
		case w.ID != id:
		case r != nil && w.Active > 1:
			return fmt.Sprintf("Kill worker %d of %s, which loses %d requests?", id, t, w.Active)
		case r != nil:
			return fmt.Sprintf("Kill worker %d of %s, which loses %s %.60s?", id, t, r.Method, r.URI)
		default:
			return fmt.Sprintf("Kill worker %d of %s, which is %s?", id, t, workerState(w))
		}
	}
	return question
}
