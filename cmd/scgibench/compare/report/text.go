// Package report shows what a comparison has measured: as text for people, as
// JSON, and as one SVG for each question.
//
// It owns nothing but the files that it is told to write, and judges nothing:
// beside a figure stands the goal, and whether they agree is the reader's.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/scgid/scgid/cmd/scgibench/compare"
	"github.com/scgid/scgid/cmd/scgibench/compare/servers"
)

// JSON writes the whole report as one object.
func JSON(w io.Writer, r *compare.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// Text writes the report for people.
func Text(w io.Writer, r *compare.Report) error {
	t := &table{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	head(t, r)
	for _, app := range servers.Apps() {
		application(t, r, app)
	}
	memory(t, r)
	starts(t, r)
	growths(t, r)
	goals(t, r)
	missing(t, r)
	return t.Flush()
}

// A table is lines of cells, that are aligned up to the next empty line.
type table struct{ *tabwriter.Writer }

func (t *table) row(cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(t, strings.Join(text, "\t"))
}

// line is a line that does not widen any column.
func (t *table) line(format string, args ...any) {
	t.Flush()
	fmt.Fprintf(t, format+"\n", args...)
	t.Flush()
}

func head(t *table, r *compare.Report) {
	m := r.Machine
	t.line("scgibench compare, %s form, %s, %.0f s", r.Form, r.Began.Format("2006-01-02 15:04 MST"), r.Seconds)
	t.line("%d CPUs (%s), %.0f GiB, %s, Linux %s; load average %.1f at the beginning", m.CPUs, m.Model, m.MemoryGiB, m.System, m.Kernel, m.Load)
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		versions = append(versions, name+" "+strings.TrimPrefix(r.Versions[name], name+" "))
	}
	t.line("%s", wrap(strings.Join(versions, ", ")))
	from := "a control group of each server"
	if !m.Group {
		from = "the processes that live at the end of each round"
	}
	t.line("CPU is in µs a request, from %s, without nginx; 2 ms of Python are %d rounds of a loop.", from, m.Rounds)
	t.line("Medians of rounds in turns; \"x\" is the median of the ratios of each round, with the least and the most.")
	if r.Interrupted {
		t.line("The run was interrupted: figures are missing.")
	}
	t.line("")
	for _, s := range r.Servers {
		t.row(s.Name, s.About)
	}
}

// wrap breaks a list at commas, at 110 columns.
func wrap(s string) string {
	var lines []string
	line := ""
	for _, part := range strings.SplitAfter(s, ", ") {
		if len(line)+len(part) > 110 {
			lines = append(lines, line)
			line = ""
		}
		line += part
	}
	return strings.Join(append(lines, line), "\n")
}

// application writes a table for each number of workers and load.
func application(t *table, r *compare.Report, app servers.App) {
	shown := ""
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.App != app.Name {
			continue
		}
		if group := fmt.Sprintf("%d workers, clients: %s", row.Workers, row.Clients); group != shown {
			shown = group
			t.line("\n%s (%s): %s", app.Title, app.Name, group)
			base := base(r, row)
			t.row("", "req/s", "CPU", "least-most", "x "+base.Server, "master", "workers", "kernel", "switches", "p50", "p99", "failed")
		}
		measured(t, r, row)
	}
}

func measured(t *table, r *compare.Report, row *compare.Row) {
	cpu := row.Figure(compare.CPU)
	failed := ""
	if n := row.Failed(); n > 0 {
		failed = fmt.Sprint(n)
	}
	t.row("  "+row.Server, number(row.Figure(compare.Rate).Median), number(cpu.Median), number(cpu.Min)+"-"+number(cpu.Max),
		ratio(row.Ratio(base(r, row), compare.CPU)), number(row.Figure(compare.Master).Median), number(row.Figure(compare.Workers).Median),
		number(row.Figure(compare.Kernel).Median), fmt.Sprintf("%.1f", row.Figure(compare.Switches).Median),
		us(row.Figure(compare.P50).Median), us(row.Figure(compare.P99).Median), failed)
}

// base is the row of the same group that others are set beside: the floor, or
// whatever comes first.
func base(r *compare.Report, row *compare.Row) *compare.Row {
	for i := range r.Rows {
		b := &r.Rows[i]
		if b.App == row.App && b.Workers == row.Workers && b.Clients == row.Clients {
			return b
		}
	}
	return row
}

func memory(t *table, r *compare.Report) {
	title := true
	for i := range r.Pools {
		p := &r.Pools[i]
		if p.PSS == 0 {
			continue
		}
		if title {
			t.line("\nMemory after the rounds, PSS in MiB as if it ran alone, and system calls of a request, one client")
			t.row("", "app", "workers", "together", "master", "processes", "calls", "")
			title = false
		}
		note, calls := "", ""
		if p.Calls != nil {
			calls = fmt.Sprintf("%.1f", p.CallsPerRequest())
		}
		if p.Served < p.Workers && !strings.HasPrefix(p.Server, "scgi-cgi") {
			note = fmt.Sprintf("only %d workers had served in the warm-up", p.Served)
		}
		t.row("  "+p.Server, p.App, p.Workers, fmt.Sprintf("%.1f", p.PSS), fmt.Sprintf("%.1f", p.MasterPSS), p.Processes, calls, note)
	}
}

func starts(t *table, r *compare.Report) {
	for i, s := range r.Starts {
		if i == 0 {
			t.line("\nFrom the start of the server to its first good answer, ms")
			t.row("", "workers", "median", "least-most")
		}
		t.row("  "+s.Server, s.Workers, number(s.MS.Median), number(s.MS.Min)+"-"+number(s.MS.Max))
	}
}

func growths(t *table, r *compare.Report) {
	for i, g := range r.Growths {
		if i == 0 {
			t.line("\nGrowth from one worker to %d that have begun to answer, in a burst of 32 clients, ms", g.To)
		}
		if g.Reached < g.To {
			t.row("  "+g.Server, fmt.Sprintf("not within the time; %d after %s", g.Reached, number(g.MS)))
			continue
		}
		t.row("  "+g.Server, number(g.MS))
	}
}

func missing(t *table, r *compare.Report) {
	for i, m := range r.Missing {
		if i == 0 {
			t.line("\nNot measured")
		}
		t.line("  %s, %s: %s", m.Server, m.App, m.Why)
	}
}

// number writes three digits where that many mean something.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func us(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.0f µs", v)
	}
	return fmt.Sprintf("%.1f ms", v/1000)
}

func ratio(f compare.Figure) string {
	return fmt.Sprintf("%.2f (%.2f-%.2f)", f.Median, f.Min, f.Max)
}
