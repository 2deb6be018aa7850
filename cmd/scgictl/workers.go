package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func workersCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:  "workers",
		short: "List the worker processes",
		long:  "workers lists the worker processes of a pool, with the oldest request of each, or\nwhat it says of itself. CPU and memory are those of the process alone.",
		run: func(ctx context.Context, t *target, _ []string) error {
			ctx, cancel := soon(ctx)
			defer cancel()
			workers, err := t.Workers(ctx)
			if err != nil {
				return err
			}
			return c.show(some(workers), func(s *screen) { s.workers(workers) })
		},
	})
}

// workers prints a table with what each one does last: it alone is cut to the
// width.
func (s *screen) workers(workers []control.Worker) {
	if len(workers) == 0 {
		s.line("no workers")
		return
	}
	t := &table{columns: []column{
		{head: "ID", right: true}, {head: "PID", right: true}, {head: "STATE"}, {head: "UP", right: true},
		{head: "CPU", right: true}, {head: "MEMORY", right: true}, {head: "SERVED", right: true}, {head: "DOING", wide: true},
	}}
	for _, w := range workers {
		t.row(strconv.FormatUint(w.ID, 10), pidText(w.PID), workerSpan(w), ago(w.Since),
			seconds(w.CPUSeconds), size(w.MemoryBytes), count(w.Served), doing(w))
	}
	s.table(t)
}

func pidText(pid int) string {
	if pid == 0 {
		return "-"
	}
	return strconv.Itoa(pid)
}

// workerState is a worker's state in one word; for one that takes connections
// whether it is idle or busy, with the number where it takes several.
func workerState(w control.Worker) string {
	switch {
	case w.State != control.WorkerReady && w.Active > 0:
		return fmt.Sprintf("%s %d", w.State, w.Active)
	case w.State != control.WorkerReady:
		return w.State
	case w.Active == 0:
		return "idle"
	case w.Slots > 1:
		return fmt.Sprintf("busy %d/%d", w.Active, w.Slots)
	}
	return "busy"
}

// workerSpan paints the state of a worker.
func workerSpan(w control.Worker) span {
	look := yellow
	switch {
	case w.State == control.WorkerKilled:
		look = red
	case w.State == control.WorkerReady && w.Active > 0:
		look = cyan
	case w.State == control.WorkerReady:
		look = green
	}
	return span{look, workerState(w)}
}

// doing is the request, what the worker says of itself, or both.
func doing(w control.Worker) string {
	text := w.Status
	if r := w.Request; r != nil {
		text = fmt.Sprintf("%s  %s %s", seconds(r.AgeSeconds), r.Method, r.URI)
		if w.Status != "" {
			text += " (" + w.Status + ")"
		}
	}
	return text
}
