package main

import "github.com/spf13/cobra"

func retireCommand(c *ctl) *cobra.Command {
	return c.workerCommand(poolVerb{
		verb:    "retire",
		short:   "Have a worker finish what it holds and leave",
		long:    "retire tells a worker to finish what it holds and to leave. No request is lost.\nIf the pool needs it, another one is started.",
		example: "  scgictl retire wiki 12",
	}, nil)
}
