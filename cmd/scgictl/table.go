package main

import (
	"slices"
	"strings"
)

// A column of a table. At most one should be wide: it gets the room that the
// others leave, and is cut there.
type column struct {
	head    string
	right   bool // aligned to the right, for figures
	wide    bool
	atLeast int // width
}

// A table collects rows and prints them aligned.
type table struct {
	columns []column
	rows    [][]span
	indent  int
}

const (
	gap     = "  "
	minWide = 12   // a wide column is not cut below this, however narrow the screen
	maxCell = 4096 // bytes of a cell that are looked at
	maxElse = 64   // other columns are cut above this: much of it comes from outside
)

// row adds a row of strings and spans.
func (t *table) row(cells ...any) {
	row := make([]span, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case string:
			row[i] = span{plain, c}
		case span:
			row[i] = c
		default:
			panic("a table holds strings and spans")
		}
	}
	t.rows = append(t.rows, row)
}

// table prints t. Headings are printed unless all are empty.
func (s *screen) table(t *table) {
	rows, headed := make([][]span, 0, len(t.rows)+1), false
	head := make([]span, len(t.columns))
	for i, c := range t.columns {
		head[i] = span{dim, c.head}
		headed = headed || c.head != ""
	}
	if headed {
		rows = append(rows, head)
	}
	rows = append(rows, t.rows...)
	widths := s.widths(t, rows)
	for _, row := range rows {
		s.tableRow(t, row, widths)
	}
}

// widths finds the width of each column.
func (s *screen) widths(t *table, rows [][]span) []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = c.atLeast
	}
	for _, row := range rows {
		for i, cell := range row {
			if len(cell.text) > maxCell {
				row[i].text = cell.text[:maxCell]
			}
			widths[i] = max(widths[i], textWidth(s.clean(row[i].text)))
		}
	}
	for i, c := range t.columns {
		if !c.wide {
			widths[i] = min(widths[i], maxElse)
		}
	}
	room := s.width - t.indent - len(gap)*(len(widths)-1)
	for i, c := range t.columns {
		if !c.wide {
			room -= widths[i]
		}
	}
	for i, c := range t.columns {
		if c.wide {
			widths[i] = min(widths[i], max(room, minWide))
		}
	}
	return widths
}

// tableRow prints a row without blanks at its end.
func (s *screen) tableRow(t *table, row []span, widths []int) {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", t.indent))
	pending := "" // blanks are written only when something follows
	for i, cell := range row {
		text := s.fit(cell.text, widths[i])
		pad := strings.Repeat(" ", max(widths[i]-textWidth(text), 0))
		if t.columns[i].right {
			pending, pad = pending+pad, ""
		}
		if text != "" {
			b.WriteString(pending + s.paint(cell.style, text))
			pending = ""
		}
		pending += pad + gap
	}
	s.WriteString(b.String() + "\n")
}

// fits says whether no cell of t is cut on this screen.
func (s *screen) fits(t *table) bool { return s.need(t, false) <= s.width }

// narrowest is the width of t when its wide column is cut as far as it may be.
func (s *screen) narrowest(t *table) int { return s.need(t, true) }

// need is the width of t, with the wide column whole or cut.
func (s *screen) need(t *table, cut bool) int {
	need := t.indent + len(gap)*(len(t.columns)-1)
	for i, c := range t.columns {
		n := max(c.atLeast, len(c.head))
		for _, row := range t.rows {
			n = max(n, textWidth(s.clean(row[i].text)))
		}
		if c.wide && cut {
			n = min(n, minWide)
		}
		need += n
	}
	return need
}

// drop leaves out the column with this head.
func (t *table) drop(head string) {
	i := slices.IndexFunc(t.columns, func(c column) bool { return c.head == head })
	t.columns = slices.Delete(t.columns, i, i+1)
	for r := range t.rows {
		t.rows[r] = slices.Delete(t.rows[r], i, i+1)
	}
}
