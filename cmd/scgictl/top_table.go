package main

import (
	"strconv"
	"strings"
	"time"
)

// A topColumn is one of the table of workers. It is there while the request
// has at least wants columns beside it.
type topColumn struct {
	head  string
	right bool
	least int // width
	wants int
	cell  func(w topWorker, now time.Time) span
}

// plainCell makes a cell of a function that gives plain text.
func plainCell(f func(topWorker) string) func(topWorker, time.Time) span {
	return func(w topWorker, _ time.Time) span { return span{plain, f(w)} }
}

// topColumns are all but the request, which has the rest of the line.
var topColumns = []topColumn{
	{"ID", true, 3, 0, plainCell(func(w topWorker) string { return strconv.FormatUint(w.ID, 10) })},
	{"PID", true, 5, 14, plainCell(func(w topWorker) string { return pidText(w.PID) })},
	{"STATE", false, 8, 0, func(w topWorker, _ time.Time) span { return workerSpan(w.Worker) }},
	{"UP", true, 6, 20, func(w topWorker, now time.Time) span {
		if w.Since.IsZero() {
			return span{plain, "-"}
		}
		return span{plain, duration(now.Sub(w.Since))}
	}},
	{"GEN", true, 3, 50, plainCell(func(w topWorker) string { return strconv.Itoa(w.Generation) })},
	{"CPU%", true, 5, 10, plainCell(func(w topWorker) string { return percent(w.cpu) })},
	{"MEMORY", true, 8, 12, plainCell(func(w topWorker) string { return size(w.MemoryBytes) })},
	{"SERVED", true, 6, 16, plainCell(func(w topWorker) string { return count(w.Served) })},
	{"WAITED", true, 6, 60, plainCell(func(w topWorker) string {
		if w.Request == nil {
			return ""
		}
		return seconds(w.Request.Waited)
	})},
	{"CLIENT", false, 15, 60, plainCell(func(w topWorker) string {
		if w.Request == nil {
			return ""
		}
		return w.Request.Client
	})},
	{"TIME", true, 6, 0, plainCell(func(w topWorker) string {
		if w.Request == nil {
			return ""
		}
		return seconds(w.Request.AgeSeconds)
	})},
}

// percent writes a share of a processor.
func percent(p float64) string {
	switch {
	case !(p >= 0): // not known, or not a number
		return "-"
	case p < 99.95:
		return tenths(p)
	}
	return strconv.Itoa(int(min(p, 1e6) + 0.5))
}

// topRequest is the request of a worker, or what it says of itself.
func topRequest(w topWorker) string {
	if w.Request == nil {
		return w.Status
	}
	text := w.Request.Method + " " + w.Request.URI
	if w.Status != "" {
		text += " (" + w.Status + ")"
	}
	return text
}

// table is the heads and as many rows as there is room for.
func (m *topModel) table(width, rows int) []topLine {
	shown := m.frame.workers[min(m.first, len(m.frame.workers)):]
	shown = shown[:min(rows, len(shown))]
	if m.frame.status.PID == 0 {
		return nil
	}
	columns, widths := m.columns(width)
	head := "  "
	for i, c := range columns {
		head += align(m.look.cut(c.head, widths[i]), widths[i], c.right) + " "
	}
	lines := []topLine{{{dim, head + "REQUEST"}}}
	for _, w := range shown {
		lines = append(lines, m.tableRow(w, columns, widths, width))
	}
	return lines
}

// columns are those that there is room for, with their widths. These follow
// all workers, so that nothing moves when the table is scrolled.
func (m *topModel) columns(width int) (columns []topColumn, widths []int) {
	for _, c := range topColumns {
		n := max(c.least, len(c.head))
		for _, w := range m.frame.workers {
			n = max(n, textWidth(m.look.s.clean(c.cell(w, m.frame.at).text)))
		}
		columns, widths = append(columns, c), append(widths, min(n, 20))
	}
	for {
		rest, worst := width-2, 0
		for i := range widths {
			rest -= widths[i] + 1
			if columns[i].wants > columns[worst].wants {
				worst = i
			}
		}
		if len(columns) == 0 || rest >= columns[worst].wants || columns[worst].wants == 0 {
			return columns, widths
		}
		columns = append(columns[:worst:worst], columns[worst+1:]...)
		widths = append(widths[:worst:worst], widths[worst+1:]...)
	}
}

// tableRow is one worker. The selected one has no colours of its own: they would
// be hard to read in reverse.
func (m *topModel) tableRow(w topWorker, columns []topColumn, widths []int, width int) topLine {
	selected := w.ID == m.selected
	line := topLine{{plain, "  "}}
	if selected {
		line[0].text = "> "
	}
	for i, c := range columns {
		cell := c.cell(w, m.frame.at)
		line = append(line, span{cell.style, align(m.look.cut(cell.text, widths[i]), widths[i], c.right) + " "})
	}
	line = append(line, span{plain, topRequest(w)})
	if !selected {
		return line
	}
	all := ""
	for _, p := range line {
		all += p.text
	}
	return topLine{{inverse, pad(m.look.cut(all, width), width)}}
}

// align fills clean text up on one side.
func align(text string, width int, right bool) string {
	if right {
		return strings.Repeat(" ", max(width-textWidth(text), 0)) + text
	}
	return pad(text, width)
}
