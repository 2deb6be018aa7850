package worker

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/scgid/scgid/worker/scgi"
)

// A body is a request's body. Once it has been read the connection is watched
// instead, for a client that leaves.
type body struct {
	conn     *Conn
	req      *scgi.Request
	patience time.Duration
	gone     func()

	mu      sync.Mutex // held during a read
	closed  bool
	watched <-chan struct{} // nil until the body has been read

	dmu  sync.Mutex // guards the read deadline and what follows
	own  bool       // the handler sets the deadline
	free bool       // no deadline any more: nothing is left to read
	over bool       // the deadline is no more the handler's
}

// newBody watches at once when there is no body.
func newBody(c *Conn, req *scgi.Request, patience time.Duration, gone func()) *body {
	b := &body{conn: c, req: req, patience: patience, gone: gone}
	b.watch()
	return b
}

// watch starts to watch when nothing is left to read. The caller holds mu.
func (b *body) watch() {
	if b.watched != nil || b.req.Unread() > 0 {
		return
	}
	b.dmu.Lock()
	defer b.dmu.Unlock()
	if b.over {
		return
	}
	b.free = true
	b.conn.Conn.SetReadDeadline(time.Time{})
	b.watched = b.conn.watch(b.gone)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.req.Unread() == 0 {
		return 0, io.EOF
	}
	b.wait()
	n, err := b.req.Body.Read(p)
	b.watch()
	return n, err
}

// wait bounds the read to come.
func (b *body) wait() {
	b.dmu.Lock()
	defer b.dmu.Unlock()
	if !b.own && !b.over && b.conn.in.Buffered() == 0 {
		b.conn.Conn.SetReadDeadline(time.Now().Add(b.patience))
	}
}

// Close makes later reads fail. What was not read Done will drain.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// setDeadline is the handler's. With nothing left to read it would only end
// the watch, so it does nothing then.
func (b *body) setDeadline(t time.Time) error {
	b.dmu.Lock()
	defer b.dmu.Unlock()
	b.own = true
	if b.over || b.free {
		return nil
	}
	return b.conn.Conn.SetReadDeadline(t)
}

// end takes the connection's reading side back, from a read that the handler
// left behind and from the watch.
func (b *body) end() {
	b.dmu.Lock()
	b.over = true
	b.conn.Conn.SetReadDeadline(time.Unix(1, 0))
	b.dmu.Unlock()
	b.Close()
	if b.watched != nil {
		<-b.watched
	}
}
