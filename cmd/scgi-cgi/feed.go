package main

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// feedAtOnce is the longest body, in bytes, that is read before the program is
// started and written to it in one piece: a new pipe holds as much.
const feedAtOnce = 64 << 10

// errCut: the web server went away, or stopped sending, before the whole body
// was here.
var errCut = errors.New("the request's body broke off")

// readShort reads a short body whole. So no program waits for a slow client,
// and none is started for a body that breaks off.
func readShort(body io.Reader, size int64) ([]byte, error) {
	b := make([]byte, size)
	if _, err := io.ReadFull(body, b); err != nil {
		return nil, errCut
	}
	return b, nil
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
	spool    *spool
	stdin    *os.File
	received chan struct{} // closed when nothing more is read from the client
	passed   chan struct{} // closed when nothing more is written to the program
}

// feedLong starts to give body to p, whose standard input it closes at the
// end. It calls cut when the body breaks off; then the input stays open, for
// the program must not take a part for the whole.
func (p *program) feedLong(body io.Reader, cut func()) *feeder {
	f := &feeder{
		spool:    newSpool(),
		stdin:    p.openFeed(),
		received: make(chan struct{}),
		passed:   make(chan struct{}),
	}
	go f.receive(body, cut)
	go f.pass()
	return f
}

// receive takes the body from the client as fast as it comes.
func (f *feeder) receive(body io.Reader, cut func()) {
	defer close(f.received)
	if _, err := io.Copy(f.spool, body); err != nil {
		cut()
		return
	}
	f.spool.end()
}

// pass gives it to the program as fast as that reads. When the program has
// closed its end, the client may go on sending to nobody.
func (f *feeder) pass() {
	defer close(f.passed)
	// The struct hides the file's ReadFrom, which would try splice(2) in vain.
	io.Copy(struct{ io.Writer }{f.stdin}, f.spool)
	if f.spool.drop() {
		f.stdin.Close()
	}
}

// stop ends feeding and waits for it. When the body has not come whole it
// makes the client's reads fail meanwhile.
func (f *feeder) stop(client net.Conn) {
	f.spool.drop()
	f.stdin.Close()
	select {
	case <-f.received:
	default:
		client.SetReadDeadline(time.Unix(1, 0))
		<-f.received
		client.SetReadDeadline(time.Time{})
	}
	<-f.passed
	f.spool.close()
}

// awaitBody waits until the whole body has come, or the program has ended
// without it. nginx stops sending a request's body as soon as it has passed on
// the header of the reply, so a reply that begins before would cut the body:
// git-http-backend, for one, writes its header first.
func (p *program) awaitBody(long *feeder) {
	if long == nil {
		return
	}
	select {
	case <-long.received:
	case <-p.exited:
	}
}
