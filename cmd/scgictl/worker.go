package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

// workerDone are the verbs on one worker, each with what the worker does then.
var workerDone = map[string]string{
	"retire": "finishes what it holds and leaves",
	"kill":   "is killed",
	"dump":   "writes its stacks to its log",
}

// workerCommand makes a command that does one thing to one worker. An error of
// first, which may be nil, ends the command before.
func (c *ctl) workerCommand(v poolVerb, first func(context.Context, *target, uint64) error) *cobra.Command {
	v.args, v.min, v.max, v.changes = "WORKER", 1, 1, true
	v.complete = c.completeWorkers
	v.check = func(args []string) error {
		if id, err := strconv.ParseUint(args[0], 10, 64); err != nil || id == 0 {
			return usage(fmt.Sprintf("%q is not a worker id", args[0]), "scgictl workers shows the ids; scgictl "+v.verb+" [NAME] WORKER")
		}
		return nil
	}
	v.run = func(ctx context.Context, t *target, args []string) error {
		id, _ := strconv.ParseUint(args[0], 10, 64)
		if first != nil {
			if err := first(ctx, t, id); err != nil {
				return err
			}
		}
		ctx, cancel := soon(ctx)
		defer cancel()
		if err := t.Call(ctx, v.verb, control.WorkerArgs{Worker: id}, nil); err != nil {
			return workerError(t, err)
		}
		return c.show(nothing{}, func(s *screen) { s.line(span{bold, t.String()}, fmt.Sprintf(": worker %d ", id), workerDone[v.verb]) })
	}
	return c.poolCommand(v)
}

// workerError adds a hint if the worker does not exist.
func workerError(t *target, err error) error {
	e := *control.AsError(err)
	if e.Code != control.CodeNoWorker {
		return err
	}
	if t.name == "" {
		return e.WithHint("scgictl workers --socket %s", t.Socket())
	}
	return e.WithHint("scgictl workers %s", t.name)
}
