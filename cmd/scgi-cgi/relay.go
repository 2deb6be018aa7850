package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"sync"

	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// maxSurplus bounds what a program may write after the end of its reply, in
// bytes. Beyond that nobody reads, and the program gets SIGPIPE.
const maxSurplus = 64 << 10

// errNothing: the program's output ended before anything came.
var errNothing = errors.New("no output")

// readers are for the header of replies, and what comes with it.
var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// relay passes the program's reply on. It returns at the end of it, or with
// the error that says why there is none, or no whole one.
func (x *exchange) relay() error {
	if cut := x.cut.Load(); cut != nil {
		return cut
	}
	r := readers.Get().(*bufio.Reader)
	r.Reset(x.prog.stdout)
	defer func() { r.Reset(nil); readers.Put(r) }()
	h, err := x.readHead(r)
	if err != nil {
		return err
	}
	x.code = h.code
	switch {
	case neverBody(h.code):
		x.complete()
		x.write(h.text)
	case x.method == http.MethodHead:
		x.completed = true // but a client that leaves ends the program, which may write forever
		if x.write(h.text) == nil {
			io.Copy(io.Discard, x.prog.stdout)
		}
		return nil
	case h.chunked:
		err = x.relayChunked(h, r)
	default:
		begin, _ := r.Peek(r.Buffered())
		err = x.relayBody(h, begin)
	}
	if x.completed && err == nil {
		x.surplus = make(chan struct{})
		go x.discard()
	}
	return err
}

// readHead reads the program's header and writes the web server's.
func (x *exchange) readHead(r *bufio.Reader) (head, error) {
	h, err := scgi.ReadReplyHead(r, 0)
	if err == io.EOF {
		return head{}, errNothing
	}
	if err != nil {
		return head{}, err
	}
	m, err := makeHead(h, x.site)
	for _, odd := range m.odd {
		x.note("the header of its reply is odd: %s", odd)
	}
	return m, err
}

// relayBody passes on the header and the body, of which begin has been read. No
// more than the stated length goes to the client.
func (x *exchange) relayBody(h head, begin []byte) error {
	rest := int64(-1)
	if h.length >= 0 {
		begin = begin[:min(int64(len(begin)), h.length)]
		if rest = h.length - int64(len(begin)); rest == 0 {
			x.complete()
		}
	}
	if x.write(append(h.text, begin...)) != nil {
		return nil
	}
	n, err := x.prog.stdout.moveTo(x.raw, rest, x.complete)
	x.bytes = int64(len(begin)) + n
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		x.gone()
		return nil
	}
	if err == nil && n < rest && !x.left.Load() {
		x.short = true
		x.note("it stated a Content-Length of %d and wrote %d bytes", h.length, x.bytes)
	}
	return err
}

// relayChunked is relayBody for a body that the program has chunked. What is
// wrong in the first chunk still gives the client a 500.
func (x *exchange) relayChunked(h head, r *bufio.Reader) error {
	body := httputil.NewChunkedReader(r)
	buf := make([]byte, 32<<10)
	n, err := body.Read(buf)
	if err != nil && err != io.EOF {
		return chunkError(err)
	}
	if x.write(append(h.text, buf[:n]...)) != nil {
		return nil
	}
	x.bytes = int64(n)
	for err == nil {
		n, err = body.Read(buf)
		if n > 0 && x.write(buf[:n]) != nil {
			return nil
		}
		x.bytes += int64(n)
	}
	if err != io.EOF {
		return chunkError(err)
	}
	x.complete()
	return nil
}

func chunkError(err error) error {
	return fmt.Errorf("its body is not chunked as its Transfer-Encoding says: %w", err)
}

// complete is called right before the last of a reply is written whose end the
// client can see, by its length or its status: nginx leaves at that very moment,
// while the program may have more to do.
func (x *exchange) complete() {
	if !x.completed {
		x.completed = true
		x.unwatch()
	}
}

// discard takes what a program writes after its reply.
func (x *exchange) discard() {
	defer close(x.surplus)
	if _, err := io.CopyN(io.Discard, x.prog.stdout, maxSurplus); err == nil {
		x.prog.stdout.close()
	}
}

// write writes to the client; an error means that it has left.
func (x *exchange) write(b []byte) error {
	x.begun = true
	_, err := x.conn.Write(b)
	if err != nil {
		x.gone()
	}
	return err
}

// gone is leave for a client that cannot be written to.
func (x *exchange) gone() {
	x.completed = false
	x.leave()
}

// reply gives the client a reply of the worker's own, if it has none yet.
func (x *exchange) reply(code int) {
	if x.begun {
		return
	}
	x.begun, x.code = true, code
	x.conn.Write(plain(code, x.method)) // a client that left is no news here
}

// note writes what the operator should know of a reply that was given.
func (x *exchange) note(format string, args ...any) {
	x.server.log.Printf("request %d: %s: %s", x.conn.ID(), show(x.script.path), fmt.Sprintf(format, args...))
}
