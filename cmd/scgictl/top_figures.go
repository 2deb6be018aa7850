package main

import (
	"fmt"
	"time"

	"github.com/scgid/scgid/control"
)

// figures are the lines between title and table, the most wanted first.
func (m *topModel) figures(width int) []topLine {
	if m.frame.status.PID == 0 { // nothing is known, or may be
		return nil
	}
	texts := []topLine{m.workersLine(), m.waitingLine(), m.limitsLine()}
	if width < topWide {
		return append(append(append(texts[:2:2], m.errorsLine()), m.curves(width)...), texts[2])
	}
	right := min(max(width/2, 70), 106)
	curves := m.curves(right)
	lines := make([]topLine, len(texts))
	for i := range texts {
		lines[i] = m.look.beside(texts[i], curves[i], width-right)
	}
	return append(lines, m.errorsLine())
}

// errorsLine says what goes wrong now, and what went wrong last.
func (m *topModel) errorsLine() topLine {
	rates, look := "5xx -  lost -", plain
	if p := m.frame.now(); p != nil {
		rates = fmt.Sprintf("5xx %s  lost %s", perSecond(p.errors), perSecond(p.lost))
		if p.errors > 0 || p.lost > 0 {
			look = red
		}
	}
	line := named("errors", span{look, rates})
	if f := m.frame.status.LastError; f != nil {
		line = append(line, span{plain, fmt.Sprintf("  %s ago: %s", duration(m.frame.at.Sub(f.Time)), f.Text)})
	}
	return line
}

// named begins a line of figures.
func named(name string, rest ...span) topLine {
	return append(topLine{{dim, fmt.Sprintf("%-10s", name)}}, rest...)
}

// workersLine has a bar of what the workers do, up to the maximum.
func (m *topModel) workersLine() topLine {
	const cells = 20
	w, l := m.frame.status.Workers, m.frame.status.Limits
	return append(named("workers", m.look.s.barSpans(w, l.MaxWorkers, cells)...), span{plain, "  " + workerCounts(w, l)})
}

// waitingLine says what waits, from the master to the kernel, and what was refused
// or lost, if anything was.
func (m *topModel) waitingLine() topLine {
	q, r := m.frame.status.Queue, m.frame.status.Requests
	look := plain
	if q.Waiting > 0 {
		look = yellow
	}
	text := fmt.Sprintf("%s of %s", count(q.Waiting), count(q.Limit))
	if q.Waiting > 0 {
		text += ", oldest " + seconds(q.OldestAge)
	}
	line := named("waiting", span{look, text}, span{plain, fmt.Sprintf("  parked %s", count(q.Parked))})
	for i, l := range q.Listeners {
		if i == 8 { // no screen has room for more
			break
		}
		line = append(line, backlog(l, i == 0)...)
	}
	for _, p := range []struct {
		n    uint64
		what string
	}{{r.Refused, "refused"}, {r.Lost, "lost"}} {
		if p.n > 0 {
			line = append(line, span{yellow, "  " + p.what + " " + count(p.n)})
		}
	}
	return line
}

// backlog is the kernel's queue of a listener.
func backlog(l control.Listener, first bool) topLine {
	word := "  "
	if first {
		word = "  backlog "
	}
	if l.Backlog < 0 {
		return topLine{{dim, fmt.Sprintf("%s%.16s ?", word, l.Name)}}
	}
	s := backlogSpan(l)
	return topLine{{s.style, fmt.Sprintf("%s%.16s %s/%s", word, l.Name, count(l.Backlog), count(l.BacklogLimit))}}
}

func (m *topModel) limitsLine() topLine {
	return named("limits", span{plain, limits(m.frame.status.Limits, m.frame.status.Scaled)})
}

// curves are the three of a pool: requests, time waited, time served.
func (m *topModel) curves(width int) []topLine {
	f := &m.frame
	rate := "-"
	if p := f.now(); p != nil {
		rate = perSecond(p.rate)
	}
	return []topLine{
		m.curve(width, "requests", rate, func(p topPoint) float64 { return p.rate }, perSecond),
		m.curve(width, "queue", f.queued.String(), func(p topPoint) float64 { return p.queued.curve() }, latency),
		m.curve(width, "service", f.service.String(), func(p topPoint) float64 { return p.service.curve() }, latency),
	}
}

// curve is a figure, its course, and the highest value within that.
func (m *topModel) curve(width int, name, text string, value func(topPoint) float64, unit func(float64) string) topLine {
	const texts, peak = 24, 13
	columns := width - 10 - texts
	if width >= 72 {
		columns -= peak
	}
	values, most := resample(m.frame.points, m.frame.at, min(max(columns, 0), 60), value)
	line := named(name, span{plain, pad(text, texts)}, span{cyan, m.look.spark(values, most)})
	if width >= 72 && most > 0 {
		line = append(line, span{dim, "  max " + unit(most)})
	}
	return line
}

// perSecond writes a rate.
func perSecond(r float64) string {
	if r < 99.95 {
		return tenths(r) + "/s"
	}
	return count(uint64(min(r, 1e15)+0.5)) + "/s"
}

func (p percentiles) String() string {
	if !p.known {
		return "-"
	}
	return fmt.Sprintf("p50 %-6s p95 %s", latency(p.p50.Seconds()), latency(p.p95.Seconds()))
}

// latency is seconds with a digit more for few milliseconds.
func latency(s float64) string {
	if s >= 0.001 && s < 0.00995 {
		return tenths(1000*s) + "ms"
	}
	return seconds(s)
}

// curve is the value of a curve: the 95th percentile, -1 where there is none.
func (p percentiles) curve() float64 {
	if !p.known {
		return -1
	}
	return p.p95.Seconds()
}

// resample brings points of any distance to columns that share the last 60
// seconds: each is the highest of what it touches, or -1.
func resample(points []topPoint, now time.Time, columns int, value func(topPoint) float64) (values []float64, most float64) {
	values = make([]float64, columns)
	for i := range values {
		from := now.Add(-topWindow * time.Duration(columns-i) / time.Duration(columns))
		to := now.Add(-topWindow * time.Duration(columns-i-1) / time.Duration(columns))
		values[i] = -1
		for _, p := range points {
			if p.to.After(from) && p.from.Before(to) {
				values[i] = max(values[i], value(p))
			}
		}
		most = max(most, values[i])
	}
	return values, most
}
