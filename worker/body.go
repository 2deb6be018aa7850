package worker

import (
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/scgid/scgid/worker/scgi"
	"github.com/scgid/scgid/worker/spool"
)

// A body is a request's body. Once it has come whole the connection may be
// watched instead, for a client that leaves.
//
// The handler reads from the connection itself until a reply begins before the
// body has come whole. From then on only a goroutine reads from it, and the
// handler from the spool; see readahead.go.
type body struct {
	conn *Conn
	req  *scgi.Request // guarded by mu, or by busy for the reader that set it
	gone func()
	waits

	mu       sync.Mutex // guards what follows; not held while anybody waits
	changed  sync.Cond  // bytes came, a deadline changed, or a reader ended
	busy     bool       // somebody reads from the connection
	direct   bool       // and it is the handler
	received int64      // bytes that were read from the connection
	closed   bool       // the handler reads no more
	over     bool       // the reading side is not ours any more
	asked    bool       // the client is to be watched
	watched  <-chan struct{}

	own     bool      // the handler sets the read deadline
	readBy  time.Time // which is this one
	writeBy time.Time // the handler's write deadline

	ahead   bool      // a goroutine reads, and nobody else
	running bool      // it has not ended
	wake    sync.Cond // for it: sending, waiting, busy or over changed
	sending bool      // a part of the reply is being written
	waiting int       // readers that wait for bytes
	failed  error     // why it will receive no more
	spool   spool.Queue
	lost    error // why bytes behind those in spool are gone
}

func newBody(c *Conn, req *scgi.Request, w waits, gone func()) *body {
	b := &body{conn: c, req: req, waits: w, gone: gone}
	b.changed.L, b.wake.L = &b.mu, &b.mu
	return b
}

// watchClient has the client watched as soon as the body has come whole.
func (b *body) watchClient() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = true
	if !b.busy { // else whoever receives will watch
		b.watch()
	}
}

// watch starts to watch when that was asked for and nothing is left to read. The
// caller holds mu, and nobody is receiving.
func (b *body) watch() {
	if !b.asked || b.watched != nil || b.over || b.req.Unread() > 0 {
		return
	}
	b.conn.Conn.SetReadDeadline(time.Time{})
	b.watched = b.conn.watch(b.gone)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	begun := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.closed:
			return 0, http.ErrBodyReadAfterClose
		case b.spool.Size() > 0:
			return b.spool.Take(p)
		case b.lost != nil:
			return 0, b.lost
		case b.failed != nil:
			return 0, b.failed
		case b.busy: // also when nothing is left to read
		case b.req.Unread() == 0:
			return 0, io.EOF
		case !b.ahead:
			return b.readDirect(p)
		}
		if err := b.await(begun); err != nil {
			return 0, err
		}
	}
}

func (b *body) readDirect(p []byte) (int, error) {
	b.limit()
	b.direct = true
	defer func() { b.direct = false }()
	return b.receive(p)
}

// limit bounds the read to come.
func (b *body) limit() {
	if !b.own && !b.over && b.conn.in.Buffered() == 0 {
		b.conn.Conn.SetReadDeadline(time.Now().Add(b.patience))
	}
}

// receive reads from the connection, without mu meanwhile.
func (b *body) receive(p []byte) (int, error) {
	b.busy = true
	b.mu.Unlock()
	n, err := b.req.Body.Read(p)
	b.mu.Lock()
	b.busy = false
	b.received += int64(n)
	b.watch()
	b.changed.Broadcast()
	b.wake.Signal()
	return n, err
}

// await waits for a change, within the time of a read that began at begun.
func (b *body) await(begun time.Time) error {
	by := begun.Add(b.patience)
	if b.own {
		by = b.readBy
	}
	if isPast(by) {
		return os.ErrDeadlineExceeded
	}
	b.waiting++
	b.wake.Signal()
	b.pause(by)
	b.waiting--
	return nil
}

// pause waits for a change, until by if that is not zero.
func (b *body) pause(by time.Time) {
	if !by.IsZero() {
		timer := time.AfterFunc(time.Until(by), func() {
			b.mu.Lock() // not before Wait has let go of it
			defer b.mu.Unlock()
			b.changed.Broadcast()
		})
		defer timer.Stop()
	}
	b.changed.Wait()
}

// isPast tells whether a deadline has passed; the zero time is none.
func isPast(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }

// Close makes later reads fail, and what comes from now on is not kept. What
// was not received Done will drain.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.close()
	return nil
}

func (b *body) close() {
	b.closed = true
	b.spool.Drop()
	b.changed.Broadcast()
}

// setDeadline is the handler's. With nothing left to read it would only end
// the watch, so it does nothing then, nor where a goroutine reads ahead.
func (b *body) setDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own, b.readBy = true, t
	b.changed.Broadcast()
	if b.over || b.watched != nil || b.ahead && !b.direct {
		return nil
	}
	return b.conn.Conn.SetReadDeadline(t)
}

// setWriteDeadline is the handler's.
func (b *body) setWriteDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writeBy = t
	b.changed.Broadcast()
	return b.conn.SetWriteDeadline(t)
}

// end takes the connection's reading side back, from a read that the handler
// left behind, from the goroutine that reads ahead and from the watch.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.conn.Conn.SetReadDeadline(time.Unix(1, 0))
	b.close()
	b.wake.Signal()
	for b.busy || b.running {
		b.changed.Wait()
	}
	if b.watched != nil {
		<-b.watched
	}
}
