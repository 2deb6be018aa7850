package main

import (
	"cmp"
	"slices"

	tea "github.com/charmbracelet/bubbletea"
)

// A topSort is what the workers are sorted by.
type topSort int

const (
	byID topSort = iota
	byCPU
	byMemory
	byAge
	byServed
	sorts // how many
)

func (s topSort) String() string {
	return [...]string{"id", "CPU", "memory", "time of the request", "requests served"}[s]
}

// order compares workers; what is most comes first, but for the id.
func (s topSort) order(a, b topWorker) int {
	c := 0
	switch s {
	case byCPU:
		c = cmp.Compare(b.cpu, a.cpu)
	case byMemory:
		c = cmp.Compare(b.MemoryBytes, a.MemoryBytes)
	case byAge:
		c = cmp.Compare(requestAge(b), requestAge(a))
	case byServed:
		c = cmp.Compare(b.Served, a.Served)
	}
	return cmp.Or(c, cmp.Compare(a.ID, b.ID))
}

// requestAge is negative where there is no request.
func requestAge(w topWorker) float64 {
	if w.Request == nil {
		return -1
	}
	return w.Request.AgeSeconds
}

// topSortKeys are those of each order.
var topSortKeys = map[string]topSort{"i": byID, "c": byCPU, "m": byMemory, "a": byAge, "n": byServed}

// keys takes what was typed. Several letters may come at once, but none after
// one that raises a question: text pasted by accident answers nothing.
func (m *topModel) keys(msg tea.KeyMsg) tea.Cmd {
	if msg.Type != tea.KeyRunes {
		return m.key(msg.String())
	}
	if msg.Paste || msg.Alt {
		return nil
	}
	asking := m.question != nil
	if asking && len(msg.Runes) > 1 {
		return nil
	}
	var next []tea.Cmd
	for _, r := range msg.Runes {
		next = append(next, m.key(string(r)))
		if m.question != nil && !asking {
			break
		}
	}
	return tea.Batch(next...)
}

// key takes one key. A question takes all but those that end the program, and any
// key ends the help.
func (m *topModel) key(k string) tea.Cmd {
	switch {
	case k == "ctrl+c":
		return tea.Quit
	case k == "ctrl+z":
		return tea.Suspend
	case m.question != nil:
		switch k {
		case "y", "Y":
			return m.answer(true)
		case "n", "N", "esc", "q":
			return m.answer(false)
		}
		return nil
	case m.help:
		m.help = false
		if k == "q" || k == "?" || k == "esc" {
			return nil
		}
	}
	if !m.acting {
		m.message = span{}
	}
	return m.command(k)
}

// command does what a key stands for while no question is open.
func (m *topModel) command(k string) tea.Cmd {
	switch k {
	case "q":
		return tea.Quit
	case "?":
		m.help = true
	case "f":
		m.frozen = !m.frozen
		if !m.frozen {
			m.frame, m.events = m.newest, slices.Clone(m.newestEvents)
		}
	case "s":
		m.sort = (m.sort + 1) % sorts
	case "r":
		m.ask("retire")
	case "k":
		m.ask("kill")
	case "d":
		m.ask("dump")
	case "up", "down", "pgup", "pgdown", "home", "end":
		m.move(k)
	default:
		if s, ok := topSortKeys[k]; ok {
			m.sort = s
		}
	}
	return nil
}

// move moves the selection.
func (m *topModel) move(k string) {
	n, page := len(m.frame.workers), max(m.layout(m.width, m.height).rows-1, 1)
	if n == 0 {
		return
	}
	to := map[string]int{"up": -1, "down": 1, "pgup": -page, "pgdown": page, "home": -n, "end": n}[k] + m.index()
	m.selected = m.frame.workers[min(max(to, 0), n-1)].ID
}

// index is that of the selected worker, -1 where there is none.
func (m *topModel) index() int {
	return slices.IndexFunc(m.frame.workers, func(w topWorker) bool { return w.ID == m.selected })
}

// scroll sorts the workers and keeps the selection on one, and on the screen.
// The selection stays with its worker; where that is gone, with its place.
func (m *topModel) scroll() {
	workers := slices.Clone(m.frame.workers)
	slices.SortFunc(workers, m.sort.order)
	m.frame.workers = workers
	n, rows := len(workers), max(m.layout(m.width, m.height).rows, 1)
	if n == 0 {
		m.first = 0
		return
	}
	at := m.index()
	if at < 0 {
		at = min(m.place, n-1)
		m.selected = workers[at].ID
	}
	m.place = at
	m.first = min(m.first, at, max(n-rows, 0))
	m.first = max(m.first, at-rows+1, 0)
}
