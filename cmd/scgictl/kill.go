package main

import (
	"context"
	"fmt"
	"slices"

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
	}, func(ctx context.Context, t *target, id uint64) error {
		if yes || !c.asks {
			return nil
		}
		return c.confirm(ctx, killQuestion(ctx, t, id))
	})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// killQuestion names what would be lost. A worker that cannot be found is
// the master's to refuse.
func killQuestion(ctx context.Context, t *target, id uint64) string {
	ctx, cancel := soon(ctx)
	defer cancel()
	worker := fmt.Sprintf("worker %d of %s", id, t)
	workers, _ := t.Workers(ctx)
	if i := slices.IndexFunc(workers, func(w control.Worker) bool { return w.ID == id }); i >= 0 {
		return killText(worker, workers[i])
	}
	return "Kill " + worker + "?"
}

// killText asks about a worker by what it does.
func killText(worker string, w control.Worker) string {
	switch r := w.Request; {
	case r != nil && w.Active > 1:
		return fmt.Sprintf("Kill %s, which loses %d requests?", worker, w.Active)
	case r != nil:
		return fmt.Sprintf("Kill %s, which loses %s %.60s?", worker, r.Method, r.URI)
	}
	return fmt.Sprintf("Kill %s, which is %s?", worker, workerState(w))
}
