package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// feedAtOnce is the longest body, in bytes, that is read before the program is
// started and written to it in one piece: a new pipe holds as much.
const feedAtOnce = 64 << 10

// broken says why a body did not come whole: the web server went away or fell
// silent, or the program did not read.
func broken(err error) *refusal {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "the request's body did not come in time")
	case err == errNoRoom:
		return refuse(http.StatusInsufficientStorage, "the program does not read the request's body: %v", err)
	case err == errUnread:
		return refuse(http.StatusRequestEntityTooLarge, "the program does not read the request's body: %v", err)
	}
	return refuse(http.StatusBadRequest, "the request's body broke off")
}

// A clientBody is a request's body. Each read waits for silence at most.
type clientBody struct {
	conn    net.Conn
	body    io.Reader
	silence time.Duration

	mu      sync.Mutex // guards the read deadline
	stopped bool       // guarded by mu
}

// Read implements io.Reader. It leaves alone the deadline that stop has set.
func (c *clientBody) Read(b []byte) (int, error) {
	c.mu.Lock()
	if !c.stopped {
		c.conn.SetReadDeadline(time.Now().Add(c.silence))
	}
	c.mu.Unlock()
	return c.body.Read(b)
}

// stop makes Read fail, also one that is under way.
func (c *clientBody) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.conn.SetReadDeadline(time.Unix(1, 0))
}

func (c *clientBody) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// readShort reads a short body whole. So no program waits for a slow client,
// and none is started for a body that breaks off.
func readShort(body io.Reader, size int64) ([]byte, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(body, b)
	return b, err
}

// feedShort writes b to the program and closes its standard input. That the
// program does not read it is the program's affair.
func (p *program) feedShort(b []byte) {
	n, err := unix.Write(p.feed, b)
	if err == nil && n == len(b) || err == unix.EPIPE {
		p.closeFeed()
		return
	}
	// pipe(7): a user with many pipes gets small ones.
	stdin := p.openFeed()
	go func() {
		stdin.Write(b[max(n, 0):])
		stdin.Close()
	}()
}

// A feeder gives a long body to a program.
type feeder struct {
	body     *clientBody
	kept     *bodyQueue
	stdin    *os.File
	received chan struct{} // closed when nothing more is read from the client
	passed   chan struct{} // closed when nothing more is written to the program
}

// feedLong starts to give body to p by way of kept, and closes p's standard
// input at the end. It calls cut when the body does not come whole; then the
// input stays open, because the program must not take a part for the whole.
func (p *program) feedLong(body *clientBody, kept *bodyQueue, cut func(error)) *feeder {
	f := &feeder{
		body:     body,
		kept:     kept,
		stdin:    p.openFeed(),
		received: make(chan struct{}),
		passed:   make(chan struct{}),
	}
	go f.receive(cut)
	go f.pass()
	return f
}

// receive takes the body from the client as fast as it comes.
func (f *feeder) receive(cut func(error)) {
	defer close(f.received)
	_, err := io.Copy(f.kept, f.body)
	switch {
	case err == nil:
		f.kept.end()
	case !f.body.isStopped():
		cut(err)
	}
}

// pass gives it to the program as fast as that reads. When the program has
// closed its end, the client may continue to send to nobody.
func (f *feeder) pass() {
	defer close(f.passed)
	// The struct hides the file's ReadFrom, which would try splice(2) in vain.
	io.Copy(struct{ io.Writer }{f.stdin}, f.kept)
	if f.kept.drop() {
		f.stdin.Close()
	}
}

// stop ends feeding and waits for it. When the body has not come whole it
// makes the client's reads fail meanwhile.
func (f *feeder) stop() {
	f.kept.drop()
	f.stdin.Close()
	select {
	case <-f.received:
	default:
		f.body.stop()
		<-f.received
	}
	<-f.passed
}

// awaitBody waits until the whole body has come, or the program has ended
// without it, or there is no room to keep it: then the program may be waiting
// for its reply to be read. At the limit of what is kept that shows in a full
// pipe; as long as it does not show, a program that does not read may get 413. nginx stops sending a request's body as soon as it
// has passed on the header of the reply, so a reply that begins before would cut
// the body: git-http-backend, for one, writes its header first.
func (p *program) awaitBody(long *feeder) {
	if long == nil {
		return
	}
	limited := long.kept.limited
	var tick <-chan time.Time
	for {
		select {
		case <-long.received:
			return
		case <-long.kept.full:
			return
		case <-p.exited:
			return
		case <-limited:
			limited = nil
			ticker := time.NewTicker(50 * time.Millisecond)
			defer ticker.Stop()
			tick = ticker.C
		case <-tick:
			if p.stdout.isFull() {
				return
			}
		}
	}
}
