package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

// topWide is the width from which curves stand beside the figures.
const topWide = 140

// topLate is how long an answer may take before that is told.
const topLate = 3 * time.Second

// topFewest is how many rows of workers are worth more than figures.
const topFewest = 3

// A topLayout says what goes where on a screen.
type topLayout struct {
	notices []topLine // below the title
	figures []topLine
	rows    int // of workers
}

// layout fits what is to be shown to the screen. Height 0 is any.
func (m *topModel) layout(width, height int) topLayout {
	l := topLayout{figures: m.figures(width), notices: m.notices(width, max(height/2, 8))}
	if height == 0 {
		l.rows = len(m.frame.workers)
		return l
	}
	room := height - 4 - len(l.notices) // title, message, heads, keys
	for len(l.figures) > 0 && room-len(l.figures) < topFewest {
		l.figures = l.figures[:len(l.figures)-1]
	}
	l.rows = max(room-len(l.figures), 0)
	return l
}

// draw makes the screen: exactly height lines, none wider than width.
func (m *topModel) draw(width, height int) string {
	l := m.layout(width, height)
	lines := append([]topLine{m.title(width)}, l.notices...)
	if m.help {
		lines = append(lines, topHelp...)
	} else {
		lines = append(lines, l.figures...)
		lines = append(lines, topLine{m.status()})
		lines = append(lines, m.table(width, l.rows)...)
		lines = append(lines, m.eventLines(height-1-len(lines))...)
	}
	for len(lines) < height-1 {
		lines = append(lines, nil)
	}
	lines = lines[:max(height-1, 0)]
	lines = append(lines, topKeys())
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = m.look.line(line, width)
	}
	return strings.Join(out, "\n")
}

// eventLines are the last events, the newest at the bottom, as far as there is room
// for at least one below a blank line and a head.
func (m *topModel) eventLines(room int) []topLine {
	n := min(room-2, len(m.events))
	if n < 1 {
		return nil
	}
	lines := []topLine{nil, {{dim, "events"}}}
	for _, e := range m.events[len(m.events)-n:] {
		line := topLine{{dim, e.Time.In(m.now.Location()).Format("15:04:05") + "  "}, {eventStyle(&e), fmt.Sprintf("%-15s  ", e.Kind)}}
		lines = append(lines, append(line, span{plain, eventText(&e)}))
	}
	return lines
}

// page is a frame of its natural height, without what only a terminal needs.
func (m *topModel) page(width int) string {
	m.scroll()
	m.selected = 0
	l := m.layout(width, 0)
	lines := append([]topLine{m.title(width)}, l.notices...)
	lines = append(lines, l.figures...)
	lines = append(lines, nil)
	lines = append(lines, m.table(width, l.rows)...)
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(m.look.line(line, width) + "\n")
	}
	return b.String()
}

// title is the line that every screen has, whatever is wrong.
func (m *topModel) title(width int) topLine {
	st := &m.frame.status
	name := st.Name
	if name == "" {
		name = m.name
	}
	line := topLine{{bold, name}, {plain, "  "}}
	switch {
	case m.err != nil && st.State == "":
		line = append(line, span{red, unseen(m.err.Code)})
	case st.State == "":
		line = append(line, span{dim, "asking"})
	default:
		line = append(line, stateSpan(st.State))
	}
	if st.PID != 0 {
		line = append(line, span{plain, "  up " + duration(m.frame.at.Sub(st.Since))},
			span{dim, fmt.Sprintf("  pid %d  scgid %s  generation %d", st.PID, st.Version, st.Generation)})
	}
	right := topLine{{dim, m.now.Format("15:04:05")}}
	if m.frozen {
		right = topLine{{yellow, "frozen at " + m.frame.at.Format("15:04:05")}}
	}
	return m.look.apart(line, right, width)
}

// unseen is the state of a pool of which nothing is known.
func unseen(code string) string {
	switch code {
	case control.CodeNotRunning, control.CodeOver:
		return "not running"
	case control.CodeDenied:
		return "not permitted"
	}
	return "no answer"
}

// notices are the lines for what is amiss, whole unless these are more than most.
func (m *topModel) notices(width, most int) (lines []topLine) {
	for _, notice := range m.amiss() {
		for _, line := range wrapped(m.look.s.clean(notice.text), max(width, 1)) {
			if len(lines) < most {
				lines = append(lines, topLine{{notice.style, line}})
			}
		}
	}
	return lines
}

// amiss is what is not as it should be.
func (m *topModel) amiss() []span {
	st := &m.frame.status
	late := m.now.Sub(m.asked).Truncate(time.Second)
	text, look := "", yellow
	switch {
	case m.err != nil:
		return m.failure()
	case !m.asked.IsZero() && late >= topLate:
		text = "the master has not answered for " + duration(late)
	case st.State == control.Failing && st.Starts.LastFailure != "":
		text, look = fmt.Sprintf("the application does not start, next try in %s: %s", seconds(st.Starts.NextTryIn), st.Starts.LastFailure), red
	case st.State == control.Failing:
		text, look = "the application does not start", red
	case st.Operation != nil && st.Operation.State == control.OpRunning:
		text = lastOperation(st.Operation)
	case st.State == control.Paused && st.ResumesIn > 0:
		text = "the intake is paused, and resumes in " + seconds(st.ResumesIn)
	case st.State == control.Paused:
		text = "the intake is paused: connections wait in the backlog"
	case st.Saturated > 0:
		text = fmt.Sprintf("all workers have been busy for %s while requests wait", seconds(st.Saturated))
	default:
		return nil
	}
	return []span{{look, text}}
}

// failure says why the newest look failed.
func (m *topModel) failure() []span {
	lines := []span{{red, m.err.Text}}
	again := ""
	if m.err.Code != control.CodeDenied {
		again = "trying again since " + m.errSince.Format("15:04:05")
	}
	switch {
	case m.err.Hint != "" && again != "":
		again += "; " + m.err.Hint
	case m.err.Hint != "":
		again = m.err.Hint
	}
	if again != "" {
		lines = append(lines, span{dim, again})
	}
	return lines
}

// status is the line for questions and answers, above the table.
func (m *topModel) status() span {
	n, l := len(m.frame.workers), m.layout(m.width, m.height)
	switch {
	case m.question != nil:
		// The keys come first, so that no text from outside pushes them out.
		return span{bold, "[y/n] " + m.question.text}
	case m.message.text != "":
		return m.message
	case m.frame.status.PID == 0:
		return span{}
	case n == 0:
		return span{dim, "no workers"}
	}
	text := plural(n, "worker") + " by " + m.sort.String()
	if n > l.rows {
		text += fmt.Sprintf(", %d to %d shown", m.first+1, min(m.first+l.rows, n))
	}
	return span{dim, text}
}

// topKeys is the line at the bottom.
func topKeys() topLine {
	var line topLine
	for _, k := range [][2]string{{"s", "sort"}, {"r", "retire"}, {"k", "kill"}, {"d", "dump"}, {"f", "freeze"}, {"?", "help"}, {"q", "quit"}} {
		if len(line) > 0 {
			line = append(line, span{plain, "  "})
		}
		line = append(line, span{bold, k[0]}, span{dim, " " + k[1]})
	}
	return line
}

// topHelp fits 60x15.
var topHelp = []topLine{
	{},
	{{bold, "  arrows, PgUp, PgDn, Home, End"}, {plain, "  select a worker"}},
	{{bold, "  r  k  d"}, {plain, "  retire, kill, dump it (asks first)"}},
	{{bold, "  s"}, {plain, "  next order of the workers, or at once:"}},
	{{bold, "  i  c  m"}, {plain, "  by id, CPU, memory"}},
	{{bold, "  a  n"}, {plain, "  by time of the request, requests served"}},
	{{bold, "  f"}, {plain, "  freeze the screen; the pool continues"}},
	{{bold, "  q  Ctrl-C"}, {plain, "  quit"}},
	{},
	{{dim, "  Curves are of the last 60 seconds, percentiles of the"}},
	{{dim, "  last 10; CPU and memory are of the process alone."}},
}
