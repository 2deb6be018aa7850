package master

import (
	"errors"

	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// firstPeek is how much of a connection is looked at first; most headers are
// shorter.
const firstPeek = 4 << 10

// peekAndRoute looks at what c has sent so far, without consuming it, and sends c on
// its way: to a worker, to our own reply, or to the parked ones.
func (l *loop) peekAndRoute(c *conn) {
	head, block, err := l.peek(c)
	switch {
	case err == nil && len(head.Method) == 0 && len(head.URI) == 0:
		l.strange(noRequest)
		l.count.Malformed++
		l.answer(c, 400)
	case err == nil:
		l.route(c, head, block)
	case errors.Is(err, scgi.ErrShort) && c.State == 0:
		c.State = parked
		l.makeRoomParked()
		l.conns.parked.append(&c.place, l.now+l.set().HeaderTimeout)
		l.park(c)
	case errors.Is(err, scgi.ErrShort):
		l.park(c)
	default:
		l.refuseHead(c, err)
	}
}

// peek returns the whole header of c as it lies in the socket.
func (l *loop) peek(c *conn) (scgi.Head, []byte, error) {
	buf := l.conns.buf[:firstPeek]
	for {
		n, errno := receive(c.FD, buf, unix.MSG_PEEK)
		switch {
		case errno == unix.EAGAIN:
			return scgi.Head{}, nil, scgi.ErrShort
		case errno != 0:
			return scgi.Head{}, nil, errno
		case n == 0:
			return scgi.Head{}, nil, errNothingSent
		}
		head, err := scgi.Peek(buf[:n], l.set().MaxHeader)
		if head.Size > 0 {
			c.Size = head.Size
		}
		if errors.Is(err, scgi.ErrShort) && n == len(buf) && len(buf) < len(l.conns.buf) {
			buf = l.conns.buf // the header is longer than the first look
			continue
		}
		c.Seen = n
		return head, buf[:min(n, head.Size)], err
	}
}

var errNothingSent = errors.New("closed with nothing sent")

// route takes c for a request: notes what is to be known of it and sends it
// to a worker or to wait for one.
func (l *loop) route(c *conn, head scgi.Head, block []byte) {
	c.Hash = l.conns.hash.sum(block)
	c.Method.set(head.Method)
	c.URI.set(head.URI)
	c.Client.set(head.RemoteAddr)
	c.Whole = l.now
	c.place.leave()
	l.unwatchConn(c)
	l.hand(c)
}

// park waits for the rest of a header.
func (l *loop) park(c *conn) {
	how := uint8(watchedEdge)
	switch c.watch {
	case watchedEdge:
		return
	case unwatched:
		how = watchedOnce
	}
	if err := l.watchConn(c, how); err != nil {
		l.log.Error("cannot watch a connection", "err", err)
		l.drop(c)
	}
}

// makeRoomParked bounds the parked connections: the oldest goes.
func (l *loop) makeRoomParked() {
	if l.conns.parked.len < 4*l.limits.Now.MaxWorkers+64 {
		return
	}
	l.count.Timeouts++
	l.answer(l.conns.parked.first.of, 408)
}

// refuseHead ends a connection that will never be a request.
func (l *loop) refuseHead(c *conn, err error) {
	var syntax *scgi.SyntaxError
	switch {
	case err == errNothingSent:
		// Health checks, and Apache before a 411.
		l.count.Empty++
		l.drop(c)
	case errors.Is(err, scgi.ErrTooLarge):
		l.count.TooLarge++
		l.answer(c, 431)
	case errors.As(err, &syntax):
		l.count.Malformed++
		l.log.Debug("refused a request", "err", err)
		kind := scgi.Foreign(l.conns.buf[:c.Seen]) // what peek has just read
		l.strange(kind)
		if kind == scgi.HTTP {
			l.answerWith(c, syntax.Status, httpReply)
			return
		}
		l.answer(c, syntax.Status)
	default:
		l.count.ClientGone++
		l.drop(c)
	}
}

// headEvent continues with a parked connection of which the kernel had news.
func (l *loop) headEvent(c *conn, events uint32) {
	// No more bytes will come: what is there has to be enough.
	over := events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if c.Size > 0 && !over {
		if n, err := unix.IoctlGetInt(c.FD, unix.SIOCINQ); err == nil && n < c.Size {
			l.park(c)
			return
		}
	}
	l.peekAndRoute(c)
	if over && c.State == parked {
		l.count.Malformed++
		l.answer(c, 400)
	}
}
