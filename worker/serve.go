package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/scgid/scgid/worker/scgi"
)

// Serve takes connections from the master and answers each request with h (or
// http.DefaultServeMux). It returns nil after it has finished all it held: at
// the master's end of file, at SIGTERM, or when ctx ends. Requests keep the
// values of ctx but do not end with it.
//
// A request's context ends when its client has left, as far as that can be
// known: once the body has come, on a Unix socket when the client closes, on
// TCP when it resets. A client that leaves with all of the reply does not end
// it, because web servers do so while the handler may still have work to do:
// after as many bytes as Content-Length states, after the header to HEAD and
// of 204 and 304. Without Content-Length only the handler's return ends a
// reply.
//
// A handler may reply before it has read the body. What comes of the body
// before the reply begins (while it flows, within two seconds and 16 MiB), and
// while a write to the client waits, is kept for the handler, in memory and
// then in a file in TMPDIR: some web servers read nothing before they have sent
// all, some send no more once a reply has begun.
//
// A panic of h is logged and gives 500 if nothing was sent; else the reply is cut,
// see Conn.Cut. So is one that is shorter than its Content-Length. The ResponseWriter
// also is an http.Flusher and an io.ReaderFrom that uses sendfile(2), and has
// the deadlines of http.ResponseController; it is not an http.Hijacker.
func Serve(ctx context.Context, h http.Handler, opts ...Option) error {
	o := newOptions(opts)
	w, err := Open()
	if err != nil {
		return err
	}
	defer w.Close()
	if h == nil {
		h = http.DefaultServeMux
	}
	if err := w.Ready(o.slots); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { w.Leave() })
	defer stop()
	s := &server{options: o, w: w, h: h, ctx: context.WithoutCancel(ctx)}
	return s.run()
}

type server struct {
	options
	w   *Worker
	h   http.Handler
	ctx context.Context
}

// run has one goroutine for each slot, so that no more connections are held
// than were asked for. When one fails, all leave.
func (s *server) run() error {
	ends := make(chan error)
	for range s.slots {
		go s.slot(ends)
	}
	var err error
	for range s.slots {
		if e := <-ends; e != io.EOF && err == nil {
			err = e
			s.w.Leave()
		}
	}
	return err
}

// slot serves one connection after the other and reports why it ended.
func (s *server) slot(ends chan<- error) {
	ended := false
	defer func() {
		if !ended { // a handler called runtime.Goexit
			go s.slot(ends)
		}
	}()
	for yielded := time.Now(); ; {
		c, err := s.w.Accept()
		if err != nil {
			ended = true
			ends <- err
			return
		}
		now := time.Now()
		s.serve(c, now)
		if now.Sub(yielded) > yieldEvery {
			yielded = now
			runtime.Gosched()
		}
	}
}

// yieldEvery is how often a slot tells the scheduler that it has not been
// computing all the time. The runtime's monitor thread counts a goroutine that
// waits in system calls, and never for another goroutine, as one that has run
// since it was last scheduled. After 10 ms of that it takes the processor away
// from each receive that it finds waiting, and looks every 20 microseconds for
// more: an eighth of a small request's cost.
const yieldEvery = 5 * time.Millisecond

var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// serve answers one connection, which came now.
func (s *server) serve(c *Conn, now time.Time) {
	in := readers.Get().(*bufio.Reader)
	in.Reset(c.Conn)
	defer func() {
		in.Reset(nil)
		readers.Put(in)
	}()
	c.SetReadDeadline(now.Add(s.patience))
	req, err := c.readRequest(in, s.maxHeader)
	if err != nil {
		refuse(c, err)
		return
	}
	r, err := newRequest(req.Header)
	if err != nil {
		refuse(c, &scgi.SyntaxError{Status: http.StatusBadRequest, Reason: err.Error()})
		return
	}
	s.answer(c, req, r)
}

// answer runs the handler. Everything behind it happens also when the handler
// panics or ends its goroutine.
func (s *server) answer(c *Conn, req *scgi.Request, r *http.Request) {
	ctx, cancel := context.WithCancel(s.ctx)
	client := &clientWatch{cancel: cancel}
	body := newBody(c, req, s.waits, client.leave)
	r = r.WithContext(&requestContext{Context: ctx, vars: req.Header, body: body})
	r.Body = body
	if req.ContentLength == 0 {
		r.Body = http.NoBody
	}
	w := newReply(c, r, body, client, s.log)
	defer func() {
		body.Close() // what comes while the end of the reply is sent is not kept
		w.finish()
		body.end()
		cancel()
		if w.isCut() {
			c.Cut()
		}
		c.Done(w.code, w.bytes)
		if r.MultipartForm != nil {
			r.MultipartForm.RemoveAll()
		}
	}()
	s.handle(w, r)
}

func (s *server) handle(w *reply, r *http.Request) {
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover() // nil: runtime.Goexit
		if v != http.ErrAbortHandler {
			s.log.Printf("panic serving %s %s: %v\n%s", r.Method, r.URL.EscapedPath(), v, debug.Stack())
		}
		w.crash()
	}()
	s.h.ServeHTTP(w, r)
	returned = true
}

// refuse answers what is not a valid request.
func refuse(c *Conn, err error) {
	code, reason := http.StatusBadRequest, err.Error()
	var bad *scgi.SyntaxError
	switch {
	case err == io.EOF: // nothing was sent, nothing is answered
		c.Done(0, 0)
		return
	case errors.As(err, &bad):
		code = bad.Status
	case errors.Is(err, scgi.ErrTooLarge):
		code = http.StatusRequestHeaderFieldsTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		code, reason = http.StatusRequestTimeout, "the header did not come in time"
	case errors.Is(err, io.ErrUnexpectedEOF):
		reason = "the header broke off"
	default: // the connection is of no use
		c.Done(0, 0)
		return
	}
	c.SetWriteDeadline(time.Now().Add(drainTime))
	fmt.Fprintf(c.Conn, "Status: %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s\n",
		code, http.StatusText(code), len(reason)+1, reason)
	c.Done(code, int64(len(reason)+1))
}
