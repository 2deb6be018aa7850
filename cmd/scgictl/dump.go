package main

import "github.com/spf13/cobra"

func dumpCommand(c *ctl) *cobra.Command {
	return c.workerCommand(poolVerb{
		verb:    "dump",
		short:   "Have a worker write its stacks to its log",
		long:    "dump has a worker write the stacks of all its threads to its standard error, which\nthe journal or the log of the pool keeps. Only workers that say they can are told.",
		example: "  scgictl dump wiki 12",
	}, nil)
}
