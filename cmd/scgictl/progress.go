package main

import (
	"os"
	"time"

	"github.com/scgid/scgid/control"
)

// A progress tells on stderr what an operation does: on a terminal in one line
// that is overwritten, elsewhere in a line for each step, but at most one a
// second.
type progress struct {
	s       *screen
	now     func() time.Time
	rewrite bool
	every   time.Duration // least time between two

	last string    // as shown
	next string    // to be shown when it is time
	at   time.Time // when the last was shown
}

func newProgress(s *screen) *progress {
	p := &progress{s: s, now: time.Now, every: time.Second}
	if s.terminal && os.Getenv("TERM") != "dumb" {
		p.rewrite, p.every = true, time.Second/10
	}
	return p
}

// receive takes an event.
func (p *progress) receive(e *control.Event) {
	o := e.Operation
	if e.Kind != control.EventOperation || o == nil || o.State != control.OpRunning {
		return
	}
	p.next = o.Progress()
	// Lines that stay are for what has been done: nobody wants to find "0 of 2
	// workers replaced" as the last one before the success.
	nothingYet := !p.rewrite && o.Total > 0 && o.Done == 0
	if p.next == o.Kind || p.next == p.last || nothingYet {
		p.next = ""
	}
	if p.next != "" && p.now().Sub(p.at) >= p.every {
		p.show()
	}
}

// due is ready when what waits may be shown.
func (p *progress) due() <-chan time.Time {
	if p.next == "" {
		return nil
	}
	return time.After(p.at.Add(p.every).Sub(p.now()))
}

// show prints what waits.
func (p *progress) show() {
	p.last, p.next, p.at = p.next, "", p.now()
	if p.rewrite {
		p.s.WriteString("\r" + p.s.paint(dim, p.s.fit(p.last, p.s.width-1)) + eraseLine)
	} else {
		p.s.line(p.last)
	}
	p.s.Flush()
}

// end takes the line away: the result follows.
func (p *progress) end() {
	if p.rewrite && p.last != "" {
		p.s.WriteString("\r" + eraseLine)
		p.s.Flush()
	}
}

// eraseLine erases what is behind the cursor (EL, ECMA-48).
const eraseLine = "\x1b[K"
