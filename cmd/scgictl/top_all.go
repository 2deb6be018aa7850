package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/scgid/scgid/control/api"
)

// A poolRow is one pool in the view of all, with what happened since the look
// before.
type poolRow struct {
	listed
	Rate   *float64 `json:"requests_per_second,omitempty"` // nil: not known
	Errors *float64 `json:"errors_per_second,omitempty"`   // replies with 5xx
	Lost   *float64 `json:"lost_per_second,omitempty"`
}

// A topAllModel is the view of all pools. Like a topModel it asks by poll only.
type topAllModel struct {
	look topLook
	poll func() []listed

	width, height int
	interval      time.Duration
	now, at       time.Time // at is when the newest look was taken
	newest, shown []poolRow
	frozen        bool
	selected      int
	chosen        *listed // the pool to be shown alone
}

// topAllData is a look that is over.
type topAllData struct {
	at    time.Time
	pools []listed
}

// topAll shows all pools, and one alone where that is chosen.
func (c *ctl) topAll(ctx context.Context, interval time.Duration, once bool) error {
	for {
		m := &topAllModel{look: topLook{c.out}, poll: c.poolPoll(ctx), width: 80, height: 24, now: time.Now(), interval: interval}
		if once {
			return c.topAllOnce(ctx, m)
		}
		_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithInput(c.in), tea.WithOutput(os.Stdout),
			tea.WithAltScreen(), tea.WithFPS(20)).Run()
		switch {
		case ctx.Err() != nil || err == nil && m.chosen == nil:
			return nil // as asked
		case err != nil:
			return err
		}
		t := targetOf(api.Found{Name: m.chosen.Name, Socket: m.chosen.Socket, User: m.chosen.User})
		c.verify(ctx, t, true)
		if err := c.topLive(ctx, t, interval); err != nil {
			return err
		}
	}
}

// topAllOnce prints what happens within one interval.
func (c *ctl) topAllOnce(ctx context.Context, m *topAllModel) error {
	m.take(topAllData{time.Now(), m.poll()})
	select {
	case <-ctx.Done():
		return context.Canceled
	case <-time.After(m.interval):
	}
	m.take(topAllData{time.Now(), m.poll()})
	return c.show(m.shown, func(s *screen) {
		width := s.width
		if !s.terminal {
			width = min(s.width, onceWidth)
		}
		m.selected = -1
		for _, line := range m.table(width) {
			s.WriteString(line + "\n")
		}
	})
}

// idleEvery is after how many looks systemd is asked again: it is a process each
// time.
const idleEvery = 10

// poolPoll returns what looks at all pools.
func (c *ctl) poolPoll(ctx context.Context) func() []listed {
	var idle []idlePool
	looks := 0
	return func() []listed {
		if looks%idleEvery == 0 {
			idle = c.idlePools(ctx)
		}
		looks++
		found, err := c.sockets()
		if err != nil {
			found = nil
		}
		return withIdle(askAll(ctx, found), idle)
	}
}

// Init begins to look.
func (m *topAllModel) Init() tea.Cmd { return tea.Batch(m.ask, clock()) }

func (m *topAllModel) ask() tea.Msg {
	pools := m.poll()
	return topAllData{time.Now(), pools}
}

// Update takes one message. Looks do not overlap.
func (m *topAllModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case topAllData:
		m.take(msg)
		return m, tea.Tick(m.interval, func(at time.Time) tea.Msg { return topTick{at} })
	case topTick:
		return m, m.ask
	case topClock:
		m.now = msg.at
		return m, clock()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

// take takes a look.
func (m *topAllModel) take(d topAllData) {
	pools := make([]poolRow, len(d.pools))
	for i, p := range d.pools {
		pools[i] = poolRow{listed: p}
		pools[i].since(m.newest, d.at.Sub(m.at))
	}
	m.newest, m.at, m.now = pools, d.at, d.at
	if !m.frozen {
		m.shown = pools
	}
	m.selected = max(min(m.selected, len(m.shown)-1), 0)
}

// since counts what happened since the look before, if the same master was there.
func (p *poolRow) since(before []poolRow, passed time.Duration) {
	i := slices.IndexFunc(before, func(q poolRow) bool { return q.Name == p.Name && q.User == p.User })
	if i < 0 || p.Status == nil || before[i].Status == nil || passed <= 0 {
		return
	}
	a, b := before[i].Status, p.Status
	if nameOnly(b) || a.PID != b.PID || !a.Since.Equal(b.Since) || b.Requests.Served < a.Requests.Served {
		return
	}
	x := pointOf(&topSample{status: *a}, &topSample{at: time.Time{}.Add(passed), status: *b})
	p.Rate, p.Errors, p.Lost = &x.rate, &x.errors, &x.lost
}

// key takes one key.
func (m *topAllModel) key(k string) tea.Cmd {
	switch k {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "f":
		if m.frozen = !m.frozen; !m.frozen {
			m.shown = m.newest
		}
	case "up":
		m.selected = max(m.selected-1, 0)
	case "down":
		m.selected = max(min(m.selected+1, len(m.shown)-1), 0)
	case "enter":
		if m.selected < len(m.shown) && m.shown[m.selected].Status != nil {
			m.chosen = &m.shown[m.selected].listed
			return tea.Quit
		}
	}
	return nil
}

// View draws the whole screen: exactly its height, no line wider than it is.
func (m *topAllModel) View() string {
	right := topLine{{dim, m.now.Format("15:04:05")}}
	if m.frozen {
		right = topLine{{yellow, "frozen at " + m.at.Format("15:04:05")}}
	}
	title := m.look.apart(topLine{{bold, plural(len(m.shown), "pool")}}, right, m.width)
	lines := append([]string{m.look.line(title, m.width)}, m.scrolled()...)
	lines = append(append(lines, ""), m.detail()...)
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	keys := topLine{{bold, "Enter"}, {dim, " show the pool  "}, {bold, "f"}, {dim, " freeze  "}, {bold, "q"}, {dim, " quit"}}
	lines = append(lines[:max(m.height-1, 0)], m.look.line(keys, m.width))
	return strings.Join(lines, "\n")
}

// detail is the last error of the selected pool, whole.
func (m *topAllModel) detail() (lines []string) {
	if m.selected >= len(m.shown) {
		return nil
	}
	cells := m.shown[m.selected].cells(m.at)
	text := m.look.s.clean(fmt.Sprint(cells[len(cells)-1]))
	for _, line := range wrapped(text, max(m.width, 1)) {
		lines = append(lines, m.look.line(topLine{{plain, line}}, m.width))
	}
	return lines
}

// scrolled is the table, as far as there is room, with the selected pool in it.
func (m *topAllModel) scrolled() []string {
	rows := m.table(m.width)
	room := max(m.height-3, 0) // title, heads, keys
	if first := m.selected - room + 1; first > 0 && first+1 < len(rows) {
		rows = append(rows[:1:1], rows[1+first:]...)
	}
	return rows
}

// table is a line for each pool, below the heads.
func (m *topAllModel) table(width int) []string {
	t := &table{columns: []column{
		{}, {head: "NAME"}, {head: "STATE"}, {head: "BUSY", right: true}, {head: "WAITING", right: true}, {head: "REQ/S", right: true},
		{head: "5XX/S", right: true}, {head: "LOST/S", right: true}, {head: "P95", right: true}, {head: "UP", right: true}, {head: "LAST ERROR", wide: true},
	}}
	for i := range m.shown {
		mark := ""
		if i == m.selected {
			mark = ">"
		}
		t.row(append([]any{mark}, m.shown[i].cells(m.at)...)...)
	}
	if m.selected < 0 {
		t.drop("")
	}
	var b bytes.Buffer
	s := &screen{Writer: bufio.NewWriter(&b), colour: m.look.s.colour, utf8: m.look.s.utf8, width: width}
	for _, head := range []string{"UP", "LOST/S", "WAITING", "P95"} {
		if s.narrowest(t) <= width {
			break
		}
		t.drop(head)
	}
	s.table(t)
	s.Flush()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], width, "")
	}
	return lines
}

// cells are those of a pool in the table.
func (p *poolRow) cells(now time.Time) []any {
	name, none := span{bold, p.Name}, []any{"-", "-", "-", "-", "-", "-", "-"}
	switch st := p.Status; {
	case p.Idle != nil:
		return append(append([]any{name, stateSpan(p.Idle.State)}, none...), p.Idle.why())
	case st == nil:
		return append(append([]any{name, span{red, "no answer"}}, none...), p.Error)
	case nameOnly(st):
		return append(append([]any{name, stateSpan(st.State)}, none...), "")
	}
	st := p.Status
	p95, last := "-", ""
	if r := st.Recent; r != nil && r.Service != nil {
		p95 = latency(r.Service.P95)
	}
	if f := st.LastError; f != nil {
		last = duration(now.Sub(f.Time)) + " ago: " + f.Text
	}
	return []any{name, stateSpan(st.State), fmt.Sprintf("%d/%d", st.Workers.Busy, st.Limits.MaxWorkers), count(st.Queue.Waiting),
		rateCell(p.Rate, plain), rateCell(p.Errors, red), rateCell(p.Lost, red), p95, duration(now.Sub(st.Since)), last}
}

// rateCell is a rate, in this style if it is not 0.
func rateCell(r *float64, look style) span {
	switch {
	case r == nil:
		return span{plain, "-"}
	case *r == 0:
		look = plain
	}
	return span{look, strings.TrimSuffix(perSecond(*r), "/s")}
}
