package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

// A statusReport is what status shows: the pool's status, and what it uses.
type statusReport struct {
	control.Status
	consumption
}

// consumption is what the master and its workers use. What is not known is left out.
type consumption struct {
	Memory float64 `json:"memory_bytes,omitempty"`
	CPU    float64 `json:"cpu_seconds,omitempty"` // since the master began
}

// usageOf asks for what a pool uses; without an answer nothing is known.
func usageOf(ctx context.Context, t *target) (u consumption) {
	text, err := t.Metrics(ctx)
	if err != nil {
		return u
	}
	samples, _ := parseMetrics(text)
	for _, s := range samples {
		n, _ := s.Value.(float64)
		switch s.Name {
		case "scgid_memory_bytes":
			u.Memory = n
		case "scgid_cpu_seconds_total":
			u.CPU = n
		}
	}
	return u
}

func statusCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:  "status",
		short: "Show a pool in figures",
		long: "status shows the state of a pool, its workers, queue, requests, limits and\nlisteners, and the last error. Counts begin with the master; rate, times and\n" +
			"errors are of the last one to two minutes.",
		example: "  scgictl status wiki\n  scgictl status wiki --json",
		idle:    c.showIdle,
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
			r := statusReport{st, usageOf(ctx, t)}
			return c.show(r, func(s *screen) { s.status(&r) })
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
	case control.Running, stateListening:
		return span{green, state}
	case control.Failing, stateFailed:
		return span{red, state}
	}
	return span{yellow, state}
}

// status prints what is wrong first, then the figures.
func (s *screen) status(st *statusReport) {
	s.line(span{bold, st.Name}, ": ", stateSpan(st.State), stateDetail(&st.Status))
	s.line(span{dim, fmt.Sprintf("  up %s since %s, pid %d, scgid %s, generation %d",
		ago(st.Since), stamp(st.Since), st.PID, st.Version, st.Generation)})
	if st.Starts.FailuresInRow > 0 {
		s.paragraph(red, failureText(st.Starts))
	}
	if text := lastOperation(st.Operation); text != "" {
		s.paragraph(operationStyle(st.Operation), text)
	}
	if st.Saturated > 0 {
		s.paragraph(yellow, fmt.Sprintf("All workers have been busy for %s while requests wait.", seconds(st.Saturated)))
	}
	for _, f := range st.Foreign {
		s.paragraph(yellow, fmt.Sprintf("refused: %s %s; see scgictl explain", count(f.Count), foreignName(f.Kind)))
	}
	s.lastError(st)
	s.line()
	s.WriteString("  workers    " + s.bar(st.Workers, st.Limits.MaxWorkers) + "\n")
	s.figures(st)
	s.listeners(st.Queue.Listeners)
}

// figures prints what is counted, a line each.
func (s *screen) figures(st *statusReport) {
	s.figure("", workerCounts(st.Workers, st.Limits))
	s.figure("limits", limits(st.Limits, st.Scaled))
	s.figure("queue", queueText(st.Queue, st.Busy.Held))
	s.figure("requests", requestCounts(st.Requests))
	if text := replyText(st.Requests.Classes); text != "" {
		s.figure("replies", text)
	}
	if r := st.Recent; r != nil {
		s.figure("lately", lateText(r))
	}
	if r := st.Recent; r != nil && r.Service != nil {
		s.figure("times", timesText(r))
	}
	if st.Memory > 0 {
		s.figure("usage", usageText(st))
	}
	s.figure("starts", startText(st.Starts))
	s.figure("exits", exitText(st.Exits))
	if st.Preload != nil {
		s.figure("preload", preloadText(st.Preload))
	}
}

// figure prints a name and a text, which continues on further lines where it is
// wider than the screen.
func (s *screen) figure(name, text string) {
	for _, line := range wrapped(s.clean(text), s.width-13) {
		s.line(fmt.Sprintf("  %-9s  ", name), line)
		name = ""
	}
}

// wrapped breaks text into lines at blanks. A word wider than a line stays whole.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if line != "" && textWidth(line)+1+textWidth(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// lastError says what went wrong last, and when, unless the reason why the
// application does not start is told already.
func (s *screen) lastError(st *statusReport) {
	f := st.LastError
	if f == nil || f.Kind == control.FailedStart && st.Starts.FailuresInRow > 0 {
		return
	}
	look, text := plain, fmt.Sprintf("last error %s ago (%s): %s", ago(f.Time), stamp(f.Time), bounded(f.Text, 500))
	if time.Since(f.Time) < lateError {
		look = yellow
	}
	s.paragraph(look, text)
}

// paragraph prints a text, indented, on as many lines as it takes.
func (s *screen) paragraph(look style, text string) {
	for _, line := range wrapped(s.clean(text), s.width-2) {
		s.line(span{look, "  " + line})
	}
}

// lateError is how long an error stands out.
const lateError = 10 * time.Minute

// replyText says how many replies of each class there were.
func replyText(classes map[string]uint64) string {
	var parts []string
	for _, name := range []string{"1xx", "2xx", "3xx", "4xx", "5xx", "unknown"} {
		if n := classes[name]; n > 0 {
			parts = append(parts, count(n)+" "+name)
		}
	}
	return strings.Join(parts, ", ")
}

// lateText is the rate of the last minutes, with the errors in it.
func lateText(r *control.Recent) string {
	text := perSecond(r.PerSecond)
	if r.Errors > 0 {
		text += ", " + count(r.Errors) + " with 5xx"
	}
	if r.Lost > 0 {
		text += ", " + count(r.Lost) + " lost"
	}
	return text + " (within " + seconds(r.Seconds) + ")"
}

// timesText is how long requests took.
func timesText(r *control.Recent) string {
	text := fmt.Sprintf("p50 %s, p95 %s at a worker", latency(r.Service.P50), latency(r.Service.P95))
	if q := r.Queue; q != nil {
		text += fmt.Sprintf("; p50 %s, p95 %s before", latency(q.P50), latency(q.P95))
	}
	return text
}

// usageText is memory and CPU of the master and its workers.
func usageText(st *statusReport) string {
	text := fmt.Sprintf("%s memory, %s CPU time", size(uint64(min(st.Memory, 1e18))), seconds(st.CPU))
	if up := time.Since(st.Since).Seconds(); up > 1 && st.CPU >= 0 {
		text += fmt.Sprintf(" (%s%% of a CPU since the start)", percent(100*st.CPU/up))
	}
	return text
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
	word := " served"
	if len(r.Classes) > 0 {
		word = " answered" // some with errors, see replyText
	}
	parts := []string{count(r.Served) + word, count(r.Active) + " active"}
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
		if backlog := backlogSpan(l); l.BacklogLimit >= 0 { // else nobody has looked
			t.row(word, l.Name, l.Address, backlog)
		} else {
			t.row(word, l.Name, l.Address, "")
		}
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
