package worker

import (
	"fmt"
	"time"
)

// Some web servers write the whole body before they read any of the reply
// (Apache), and some send no more of the body once they have seen the reply
// begin (nginx). So before a reply begins the body is received, while it flows
// and within gatherTime (see waits) and drainBytes; and while a write to the client may
// block, the rest is. Nothing but the body's length bounds that: a worker that stopped would
// make both sides wait for each other.
//
// One goroutine does that. It is started when a reply begins before the body has
// come whole, and never otherwise.

// aheadSize is how much is received at a time.
const aheadSize = 64 << 10

// beginSend is called before a part of the reply is written, and endSend after
// it.
func (b *body) beginSend(first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.isMissing() {
		return
	}
	b.sending = true
	if !b.ahead {
		b.ahead, b.running = true, true
		go b.readAhead()
	}
	b.wake.Signal()
	if first && !b.closed { // else nobody is going to read
		b.gather()
	}
}

func (b *body) endSend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sending = false
}

// isMissing tells whether a part of the body may not have come yet.
func (b *body) isMissing() bool {
	return b.busy || b.isExpected() && b.req.Unread() > int64(b.conn.in.Buffered())
}

// isExpected tells whether there is more to receive. Nobody may be receiving.
func (b *body) isExpected() bool { return b.failed == nil && b.req.Unread() > 0 }

// gather waits until the body has come, or hesitates, or is longer than we
// want to wait for. Half of the time is left to the write that follows.
func (b *body) gather() {
	begun := time.Now()
	end := begun.Add(b.gatherTime)
	last, gap := b.received, begun.Add(b.gatherGap)
	for most := last + drainBytes; b.isMissing() && b.received < most; {
		if b.received > last {
			last, gap = b.received, time.Now().Add(b.gatherGap)
		}
		by := earlier(end, gap)
		if !b.writeBy.IsZero() {
			by = earlier(by, begun.Add(b.writeBy.Sub(begun)/2))
		}
		if isPast(by) {
			return
		}
		b.pause(by)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// readAhead receives when it is wanted, until the body is whole or ends.
func (b *body) readAhead() {
	b.mu.Lock()
	defer b.mu.Unlock()
	buf := make([]byte, aheadSize)
	for b.isWanted() {
		b.conn.Conn.SetReadDeadline(time.Time{}) // a waiting reader has its own
		n, err := b.receive(buf)
		b.keep(buf[:n], err)
	}
	b.running = false
	b.changed.Broadcast()
}

// isWanted waits until a write or a read wants more to be received. It returns
// false at the end.
func (b *body) isWanted() bool {
	for !b.over && (b.busy || b.isExpected() && !b.sending && (b.waiting == 0 || b.spool.Size() > 0)) {
		b.wake.Wait()
	}
	return !b.over && b.isExpected()
}

// keep puts what was received where the handler reads it.
func (b *body) keep(p []byte, err error) {
	if !b.closed && b.lost == nil {
		if b.lost = b.spool.Put(p); b.lost != nil {
			b.lost = fmt.Errorf("cannot keep the request's body: %w", b.lost)
		}
	}
	if err != nil {
		b.failed = err
	}
}
