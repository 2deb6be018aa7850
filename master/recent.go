package master

import (
	"time"

	"github.com/scgid/scgid/control"
)

// recentSpan is how much of the last time is told at least, where there was so
// much.
const recentSpan = time.Minute

// recent has the counts as they were, twice: so what happened within the last
// one to two minutes is known without a timer.
type recent struct{ Older, Newer mark }

// A mark is what some counts were at a moment.
type mark struct {
	At              Time
	Served          uint64
	Errors          uint64 // replies with 5xx
	Lost            uint64
	Queued, Service control.Histogram
}

// mark is what the counts are now.
func (c *counts) mark(now Time) mark {
	return mark{now, c.Served, c.Codes[5], c.Lost, c.Queued, c.Service}
}

// advance is called before anything is counted in a turn. Where the newer mark is
// so old that the last minute lies behind all turns, nothing has happened in that
// minute.
func (c *counts) advance(now Time) {
	r := &c.Recent
	if now-r.Newer.At < recentSpan {
		return
	}
	r.Older = r.Newer
	if now-r.Newer.At >= 2*recentSpan {
		r.Older = c.mark(now - recentSpan)
	}
	r.Newer = c.mark(now)
}

// lately is what happened since the older mark.
func (c *counts) lately(now Time) *control.Recent {
	was := &c.Recent.Older
	r := &control.Recent{
		Seconds: (now - was.At).Seconds(), Served: c.Served - was.Served, Errors: c.Codes[5] - was.Errors, Lost: c.Lost - was.Lost,
		Queue: c.Queued.Since(was.Queued).Quantiles(), Service: c.Service.Since(was.Service).Quantiles(),
	}
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Served) / r.Seconds
	}
	return r
}
