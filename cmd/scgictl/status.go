package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func statusCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:    "status",
		short:   "Show a pool in figures",
		long:    "status shows the state of a pool, its workers, queue, requests, limits and\nlisteners. Counts begin with the master.",
		example: "  scgictl status wiki\n  scgictl status wiki --json",
		run: func(ctx context.Context, t *target, _ []string) error {
			ctx, cancel := soon(ctx)
			defer cancel()
			st, err := t.Status(ctx)
			if err != nil {
				return err
			}
			if nameOnly(&st) {
				return c.showNameOnly(&st)
			}
			return c.show(st, func(s *screen) { s.status(&st) })
		},
	})
}

// nameOnly says that the caller may see no more than name and state.
func nameOnly(st *control.Status) bool { return st.PID == 0 && st.Since.IsZero() }

// showNameOnly leaves out the zeros that stand for what the caller may not see.
func (c *ctl) showNameOnly(st *control.Status) error {
	seen := struct {
		Name  string `json:"name"`
		State string `json:"state"`
	}{st.Name, st.State}
	return c.show(seen, func(s *screen) {
		s.line(span{bold, st.Name}, ": ", stateSpan(st.State))
		s.line("  You may see name and state only.")
	})
}

// stateSpan paints the state of a pool.
func stateSpan(state string) span {
	switch state {
	case control.Running:
		return span{green, state}
	case control.Failing:
		return span{red, state}
	}
	return span{yellow, state}
}

// status prints what is wrong first, then the figures.
func (s *screen) status(st *control.Status) {
	s.line(span{bold, st.Name}, ": ", stateSpan(st.State), stateDetail(st))
	s.line(span{dim, fmt.Sprintf("  up %s since %s, pid %d, scgid %s, generation %d",
		ago(st.Since), stamp(st.Since), st.PID, st.Version, st.Generation)})
	if st.Starts.FailuresInRow > 0 {
		s.line(span{red, "  " + failureText(st.Starts)})
	}
	if text := lastOperation(st.Operation); text != "" {
		s.line(span{operationStyle(st.Operation), "  " + text})
	}
	if st.Saturated > 0 {
		s.line(span{yellow, fmt.Sprintf("  All workers have been busy for %s while requests wait.", seconds(st.Saturated))})
	}
	for _, f := range st.Foreign {
		s.line(span{yellow, fmt.Sprintf("  refused: %s %s; see scgictl explain", count(f.Count), foreignName(f.Kind))})
	}
	s.line()
	s.WriteString("  workers    " + s.bar(st.Workers, st.Limits.MaxWorkers) + "\n")
	t := &table{indent: 2, columns: []column{{}, {wide: true}}}
	t.row("", workerCounts(st.Workers, st.Limits))
	t.row("limits", limits(st.Limits, st.Scaled))
	t.row("queue", queueText(st.Queue, st.Busy.Held))
	t.row("requests", requestCounts(st.Requests))
	t.row("starts", startText(st.Starts))
	t.row("exits", exitText(st.Exits))
	if st.Preload != nil {
		t.row("preload", preloadText(st.Preload))
	}
	t.columns[0].atLeast = len("listeners") // of the table below
	s.table(t)
	s.listeners(st.Queue.Listeners)
}

// foreignName is a kind of what is no request, in words.
func foreignName(kind string) string {
	switch kind {
	case "no-request":
		return "requests without method and URI"
	case "proxy":
		return "connections with the PROXY protocol"
	}
	return "connections that speak " + bounded(kind, 20)
}

// preloadText says what workers are made from.
func preloadText(p *control.Preload) string {
	if p.PID == 0 {
		return p.Level
	}
	return fmt.Sprintf("%s, by process %d", p.Level, p.PID)
}

// stateDetail follows a state that has a reason or an end.
func stateDetail(st *control.Status) string {
	switch {
	case st.State == control.Failing:
		return ", the application does not start"
	case st.State == control.Paused && st.ResumesIn > 0:
		return ", resumes in " + seconds(st.ResumesIn)
	}
	return ""
}

// barMost is the longest bar, in columns.
const barMost = 40

// bar draws the workers for status.
func (s *screen) bar(w control.WorkerCounts, most int) string {
	var b strings.Builder
	for _, part := range s.barSpans(w, most, min(barMost, max(s.width-20, 10))) {
		b.WriteString(s.paint(part.style, part.text))
	}
	return b.String()
}

// barSpans draws the workers by what they do, with room up to the maximum, in at
// most so many cells.
func (s *screen) barSpans(w control.WorkerCounts, most, cells int) []span {
	total := max(most, w.Total, 1)
	cells = min(total, cells)
	bar := []span{{dim, "["}}
	used, sum := 0, 0
	for _, part := range []struct {
		n           int
		style       style
		utf8, ascii string
	}{
		{w.Busy, cyan, "█", "#"},
		{w.Idle, green, "▒", "="},
		{w.Starting, yellow, "+", "+"},
		{w.Retiring, dim, "-", "-"},
	} {
		sum = min(sum+max(part.n, 0), total)
		end := sum * cells / total
		if part.n > 0 && end <= used && used < cells {
			end = used + 1 // few of many are shown all the same
		}
		if n := end - used; n > 0 {
			bar = append(bar, span{part.style, strings.Repeat(s.either(part.utf8, part.ascii), n)})
			used = end
		}
	}
	return append(bar, span{dim, strings.Repeat(s.either("·", "."), cells-used) + "]"})
}

func workerCounts(w control.WorkerCounts, l control.Limits) string {
	parts := []string{count(w.Busy) + " busy", count(w.Idle) + " idle"}
	if w.Starting > 0 {
		parts = append(parts, count(w.Starting)+" starting")
	}
	if w.Retiring > 0 {
		parts = append(parts, count(w.Retiring)+" retiring")
	}
	return fmt.Sprintf("%s of %s: %s", count(w.Total), count(l.MaxWorkers), strings.Join(parts, ", "))
}

func queueText(q control.Queue, held int) string {
	text := fmt.Sprintf("%s of %s waiting", count(q.Waiting), count(q.Limit))
	if q.Waiting > 0 {
		text += ", the oldest for " + seconds(q.OldestAge)
	}
	if held > 0 {
		text += "; " + count(held) + " for a hot worker"
	}
	if q.Parked > 0 {
		text += "; " + count(q.Parked) + " with half a header"
	}
	return text
}

func requestCounts(r control.RequestCounts) string {
	parts := []string{count(r.Served) + " served", count(r.Active) + " active"}
	for _, p := range []struct {
		n    uint64
		what string
	}{{r.Refused, "refused"}, {r.Bad, "bad"}, {r.Cut, "cut"}, {r.Lost, "lost"}, {r.ClientGone, "left by their client"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n)+" "+p.what)
		}
	}
	return strings.Join(parts, ", ")
}

func startText(st control.StartCounts) string {
	if st.Failed == 0 {
		return count(st.Total)
	}
	return fmt.Sprintf("%s, %s failed", count(st.Total), count(st.Failed))
}

// failureText says why the application does not start, and what comes next.
func failureText(st control.StartCounts) string {
	text := fmt.Sprintf("%s failed in a row", plural(st.FailuresInRow, "start"))
	if st.NextTryIn > 0 {
		text += ", the next is tried in " + seconds(st.NextTryIn)
	}
	if st.LastFailure != "" {
		text += ": " + st.LastFailure
	}
	return text
}

// exitText lists the reasons, the most frequent first.
func exitText(exits map[string]uint64) string {
	reasons := slices.SortedFunc(maps.Keys(exits), func(a, b string) int {
		if exits[a] != exits[b] {
			if exits[a] > exits[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	sum, parts := uint64(0), []string(nil)
	for _, r := range reasons {
		if exits[r] > 0 {
			sum += exits[r]
			parts = append(parts, count(exits[r])+" "+r)
		}
	}
	if sum == 0 {
		return "0"
	}
	return count(sum) + ": " + strings.Join(parts, ", ")
}

// listeners prints the addresses whole: they are copied from here into the
// configuration of web servers.
func (s *screen) listeners(all []control.Listener) {
	if len(all) == 0 {
		return
	}
	t := &table{indent: 2, columns: []column{{}, {}, {wide: true}, {}}}
	for i, l := range all {
		word := ""
		if i == 0 {
			word = "listeners"
		}
		t.row(word, l.Name, l.Address, backlogSpan(l))
	}
	s.table(t)
}

// backlogSpan is yellow from half of the limit: a burst may fill the rest.
func backlogSpan(l control.Listener) span {
	if l.Backlog < 0 {
		return span{dim, "backlog not known"}
	}
	look := plain
	if l.BacklogLimit > 0 && 2*l.Backlog >= l.BacklogLimit {
		look = yellow
	}
	if l.BacklogLimit > 0 && l.Backlog >= l.BacklogLimit {
		look = red
	}
	return span{look, fmt.Sprintf("backlog %s of %s", count(l.Backlog), count(l.BacklogLimit))}
}
