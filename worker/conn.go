package worker

import (
	"bufio"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/worker/link"
	"github.com/scgid/scgid/worker/scgi"
)

// How long and how much Done reads of a request that was not read whole. A web
// server that writes the whole body before it reads the reply (Apache does)
// would lose the reply to a reset; one that never stops must not keep us.
const (
	drainTime  = 2 * time.Second
	drainBytes = 16 << 20
)

// A Conn is one passed connection. The caller of Accept ends it, with Done or
// with Close. Its net.Conn is neither a *net.UnixConn nor a *net.TCPConn, though
// its addresses are theirs: it is known to the runtime's poller only from the
// first call on that has to wait.
type Conn struct {
	net.Conn

	socket *socket // the same
	end    *link.End
	mark   link.Mark
	id     uint64
	waited time.Duration

	in    *bufio.Reader // nil unless readRequest was called
	req   *scgi.Request // nil until a header was read
	whole bool
	cut   bool
	done  atomic.Bool
}

// newConn takes the descriptor of p.
func newConn(p link.Packet, end *link.End) *Conn {
	mark := end.Mark(p)
	s := newSocket(p.FD, mark)
	return &Conn{Conn: s, socket: s, end: end, mark: mark, id: p.ID, waited: p.Waited}
}

// ID returns the number under which the master knows the connection.
func (c *Conn) ID() uint64 { return c.id }

// Waited returns how long the connection waited in the master for a worker.
func (c *Conn) Waited() time.Duration { return c.waited }

// ReadRequest reads the SCGI header from the connection; see scgi.ReadRequest
// for maxHeader and the errors. Read the body from Request.Body, not from the
// connection, and call it once. Done then knows how much of the request is
// left.
func (c *Conn) ReadRequest(maxHeader int) (*scgi.Request, error) {
	return c.readRequest(bufio.NewReader(c.Conn), maxHeader)
}

func (c *Conn) readRequest(in *bufio.Reader, maxHeader int) (req *scgi.Request, err error) {
	c.in = in
	c.req, err = scgi.ReadRequest(in, maxHeader)
	return c.req, err
}

// Whole tells Done that the request was read whole, for a caller that did not
// use ReadRequest. Done then does not look for the rest of the request.
func (c *Conn) Whole() { c.whole = true }

// Cut tells Done that the reply ends early. A client on TCP gets a reset, for
// which nothing may have been shut down before; on a Unix socket there is no
// such thing. The master's log and counters say it of both.
func (c *Conn) Cut() { c.cut = true }

// SyscallConn gives access to the descriptor, which is non-blocking. A reply is
// taken for begun at the first call of the RawConn's Write or of Conn's own
// methods: do not write in its Control before that. (A master whose worker dies
// sends a reply of its own where none has begun.)
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	return rawConn{raw, c.mark}, nil
}

// A rawConn is a connection's RawConn.
type rawConn struct {
	syscall.RawConn
	mark link.Mark
}

func (c rawConn) Write(f func(fd uintptr) bool) error {
	c.mark.Begin()
	return c.RawConn.Write(f)
}

// Done ends the reply, closes the connection and tells the master, with the
// status of the reply and the bytes of its body (0: not said). It is called
// once, when nobody reads or writes any more; later calls do nothing. It says so
// in the worker's page, and by a message only if the master waits for that.
//
// The end of the connection is the end of an SCGI reply, and the master holds
// a duplicate, so Done shuts the connection down. When the request was not
// read whole, or more came behind it, it first reads the rest, within bounds
// that make it last up to two seconds; closing over unread bytes would reset
// the reply.
//
// The error is that of the message to the master, if there is one. When the master is gone there
// is nothing else to do than to continue until Accept returns io.EOF.
func (c *Conn) Done(code int, bytes int64) error {
	if c.done.Swap(true) {
		return nil
	}
	if c.cut && c.socket.closeResets() {
		c.mark.Finish(code, bytes, true)
		c.Conn.Close() // the reset comes when the master closes its duplicate
		return c.end.Cut(c.id, code, bytes)
	}
	if rest := c.rest(); rest != 0 {
		c.socket.shutdown(unix.SHUT_WR)
		c.Conn.SetReadDeadline(time.Now().Add(drainTime))
		io.CopyN(io.Discard, c.Conn, rest)
	}
	c.mark.Finish(code, bytes, c.cut)
	c.socket.shutdown(unix.SHUT_RDWR)
	c.Conn.Close()
	switch {
	case c.cut:
		return c.end.Cut(c.id, code, bytes)
	case c.mark.Asked():
		return c.end.Done(c.id, code, bytes)
	}
	return nil
}

// Close is Done without a word about the reply.
func (c *Conn) Close() error { return c.Done(0, 0) }

// rest returns how many bytes Done should read: none when the request was read
// whole, what is missing of the body when that is known, else the most. More
// bytes than CONTENT_LENGTH promised have been seen from real web servers; behind
// a body they may still lie in the socket.
func (c *Conn) rest() int64 {
	switch {
	case c.whole:
		return 0
	case c.req == nil:
		return drainBytes
	}
	unread := c.req.Unread() - int64(c.in.Buffered())
	if unread < 0 || unread == 0 && c.req.ContentLength > 0 && c.socket.hasPending() {
		return drainBytes
	}
	return min(unread, drainBytes)
}
