package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func requestsCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:  "requests",
		short: "List the requests in progress and waiting",
		long:  "requests lists the requests in progress and those that wait for a worker. What\nstill waits in the kernel is not among them; scgictl status shows how many.",
		run: func(ctx context.Context, t *target, _ []string) error {
			ctx, cancel := soon(ctx)
			defer cancel()
			requests, err := t.Requests(ctx)
			if err != nil {
				return err
			}
			return c.show(some(requests), func(s *screen) { s.requests(requests) })
		},
	})
}

// requests prints a table with the request last: it alone is cut to the width.
func (s *screen) requests(requests []control.Request) {
	if len(requests) == 0 {
		s.line("no requests")
		return
	}
	t := &table{columns: []column{
		{head: "ID", right: true}, {head: "STATE"}, {head: "TIME", right: true}, {head: "WAITED", right: true},
		{head: "WORKER", right: true}, {head: "CLIENT"}, {head: "REQUEST", wide: true},
	}}
	for _, r := range requests {
		look, worker := cyan, strconv.FormatUint(r.Worker, 10)
		if r.State == control.RequestWaiting {
			look = yellow
		}
		if r.Worker == 0 {
			worker = "-"
		}
		t.row(strconv.FormatUint(r.ID, 10), span{look, r.State}, seconds(r.AgeSeconds), seconds(r.Waited),
			worker, r.Client, r.Method+" "+r.URI)
	}
	s.table(t)
}
