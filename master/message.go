package master

import (
	"errors"
	"time"

	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// A worker has no reason to say more than this beside DONE.
const (
	chatLimit = 1000
	chatSpan  = time.Second
)

// linkEvent reads what a worker says. One packet a turn: the set is level
// triggered, and no worker must keep us from the others.
func (l *loop) linkEvent(w *worker, events uint32) {
	if w.fork != nil {
		l.startedFork(w)
		return
	}
	over := events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if over {
		// It has shut down its writing side. That is not its end, which is
		// told by its pidfd. But it could never say DONE again, so it has to
		// leave with whatever it holds.
		l.drainLink(w)
		l.unwatchLink(w)
		l.leaves(w)
		return
	}
	l.receive(w, false)
}

// receive takes one packet; false means that there was none. At the end of file
// an empty packet is the end.
func (l *loop) receive(w *worker, atEnd bool) bool {
	packet, err := l.workers.receiver.Receive(w.Link)
	if err != nil {
		return l.receiveFailed(w, err)
	}
	if len(packet) == 0 && atEnd {
		return false
	}
	m, err := link.Parse(packet)
	if err == nil {
		err = l.apply(w, m)
	}
	if err != nil {
		l.protocolError(w, err)
	}
	return true
}

// receiveFailed takes an error of Receive; false means that there was no packet.
func (l *loop) receiveFailed(w *worker, err error) bool {
	var violation *link.ParseError
	switch {
	case err == link.ErrEmpty:
		return false
	case errors.As(err, &violation):
		l.protocolError(w, violation)
		return true
	}
	l.kill(w, err.Error())
	return false
}

// drainLink takes what a worker has left behind.
func (l *loop) drainLink(w *worker) {
	for range 64 + link.MaxSlots {
		if !w.Watched || !l.receive(w, true) {
			return
		}
	}
}

func (l *loop) unwatchLink(w *worker) {
	if w.Watched {
		l.poll.Remove(w.Link)
		w.Watched = false
	}
}

// protocolError kills a worker that breaks the protocol; what it holds is served by
// others if it was not read.
func (l *loop) protocolError(w *worker, err error) {
	l.unwatchLink(w)
	l.count.Violations++
	l.kill(w, err.Error())
}

// apply does what a message says. An error is a violation.
func (l *loop) apply(w *worker, m link.Message) error {
	if m.HasDone {
		return l.done(w, m)
	}
	if err := l.rateLimit(w); err != nil {
		return err
	}
	if used, err := l.preloadMessage(w, m); used || err != nil {
		return err
	}
	if m.Extend != 0 && w.find(m.Extend) == nil {
		return &link.ParseError{Reason: "EXTEND for a connection that it does not hold"}
	}
	if m.Failed != nil {
		l.fails(w, printable(m.Failed))
	}
	if m.Status != nil {
		w.Status = printable(m.Status)
	}
	if !m.Ready {
		return nil
	}
	if w.State == killed || w.State == leaving {
		return nil
	}
	if w.State != starting {
		return &link.ParseError{Reason: "READY a second time"}
	}
	l.becomeReady(w, m)
	return nil
}

// done takes DONE=. From a worker with a page it is only a wake-up: what it says
// may have been seen in the page. But there are never more of them than
// connections.
func (l *loop) done(w *worker, m link.Message) error {
	w.Dones++
	switch c := w.find(m.Done); {
	case c == nil && w.Paged && w.Dones <= w.Served:
	case c == nil:
		return &link.ParseError{Reason: "DONE for a connection that it does not hold"}
	case !l.look(c):
		l.finish(c, m, l.now)
	}
	return nil
}

// fails takes FAILED=, after which a worker exits by itself.
func (l *loop) fails(w *worker, why string) {
	if w.State != starting {
		return
	}
	w.Failed = why
	l.startFailed(w, why)
	if w.State == starting { // its generation was not given up
		l.enter(w, leaving)
	}
}

// rateLimit bounds the messages that are not DONE.
func (l *loop) rateLimit(w *worker) error {
	if l.now-w.ChatSince > chatSpan {
		w.Chat, w.ChatSince = 0, l.now
	}
	if w.Chat++; w.Chat > chatLimit {
		return &link.ParseError{Reason: "it floods the link"}
	}
	return nil
}
