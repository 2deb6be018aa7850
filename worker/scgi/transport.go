package scgi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// MaxBufferedBody bounds a request body of unknown length, in bytes: SCGI
// wants the length first, so such a body is held in memory before it is sent.
const MaxBufferedBody = 1 << 20

// ErrBodyLength: the length of the request body is unknown, and it is longer
// than MaxBufferedBody. The answer is 411 or 413.
var ErrBodyLength = errors.New("request body of unknown length is too large to be held in memory")

// A Transport is an SCGI client. Each request has a connection of its own,
// which the end of the request's context, an error, or closing the reply's
// body ends.
//
// It has no deadlines but the context's, keeps no connections and never sends
// a request twice.
type Transport struct {
	// Dial connects to the server. It must return when ctx ends.
	Dial func(ctx context.Context) (net.Conn, error)

	// Vars are sent besides those that function Vars gives, and override them.
	// CONTENT_LENGTH cannot be overridden.
	Vars []Var

	// MaxResponseHeader bounds the header of a reply, in bytes;
	// 0 means DefaultMaxResponseHeader.
	MaxResponseHeader int
}

// RoundTrip sends a request and reads the head of the reply. It sends the
// body while it reads the reply, so neither side waits for the other to finish.
// A server may answer before it has read the body, even close.
//
// Of a body longer than r.ContentLength the rest is not sent; a shorter one
// fails. A request that cannot be put into variables gives a *SyntaxError.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil {
		closeBody(r)
		return nil, errors.New("request has no URL")
	}
	length, content, err := sized(r)
	if err != nil {
		go closeBody(r) // Close may wait for a Read that still runs
		return nil, err
	}
	head, err := AppendHeader(nil, t.vars(r, length))
	if err != nil {
		closeBody(r)
		return nil, err
	}
	conn, err := t.Dial(r.Context())
	if err != nil {
		closeBody(r)
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	x := newExchange(r, conn)
	go x.send(head, content, length)
	p, err := readResponse(bufio.NewReader(conn), r, orDefault(t.MaxResponseHeader, DefaultMaxResponseHeader))
	if err != nil {
		err = x.explain(err)
		x.Close()
		return nil, err
	}
	p.Body = &replyBody{p.Body, x}
	return p, nil
}

// vars are those of the request, those of t that override them, and the length.
func (t *Transport) vars(r *http.Request, length int64) []Var {
	vars := slices.DeleteFunc(Vars(r), func(v Var) bool {
		return slices.ContainsFunc(t.Vars, func(o Var) bool { return o.Name == v.Name })
	})
	vars = append(vars, t.Vars...)
	return append(vars, Var{lengthName, strconv.FormatInt(length, 10)})
}

// sized returns r's body with its length. A body of unknown length is read
// whole; net/http says in Request.ContentLength which ones are.
func sized(r *http.Request) (int64, io.Reader, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return 0, http.NoBody, nil
	}
	if r.ContentLength > 0 {
		return r.ContentLength, r.Body, nil
	}
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() { // Read knows nothing of the context
		b, err := io.ReadAll(io.LimitReader(r.Body, MaxBufferedBody+1))
		done <- result{b, err}
	}()
	select {
	case <-r.Context().Done():
		return 0, nil, r.Context().Err()
	case got := <-done:
		switch {
		case got.err != nil:
			return 0, nil, fmt.Errorf("cannot read request body: %w", got.err)
		case len(got.b) > MaxBufferedBody:
			return 0, nil, ErrBodyLength
		}
		return int64(len(got.b)), bytes.NewReader(got.b), nil
	}
}

// An exchange is one request and its reply on a connection of its own.
type exchange struct {
	ctx  context.Context
	conn net.Conn
	stop func() bool // forgets about ctx

	sent      chan struct{} // closed when nothing more will be sent
	closeBody func()        // closes the request's body, once

	mu     sync.Mutex
	failed error // why the request cannot be sent whole
}

func newExchange(r *http.Request, conn net.Conn) *exchange {
	x := &exchange{ctx: r.Context(), conn: conn, sent: make(chan struct{})}
	x.closeBody = sync.OnceFunc(func() { closeBody(r) })
	x.stop = context.AfterFunc(x.ctx, x.interrupt)
	return x
}

// interrupt ends all reading and writing at once.
func (x *exchange) interrupt() { x.conn.SetDeadline(time.Unix(1, 0)) }

// Close ends the connection. It may be called more than once. A request body
// that is still being read is closed too: its other end may wait for us.
func (x *exchange) Close() error {
	x.stop()
	select {
	case <-x.sent:
	default:
		go x.closeBody()
	}
	if err := x.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// send writes the request and closes its body. A server that stops reading may
// still have answered, so the reply decides; a body that cannot be read ends
// the exchange, because the server waits for the rest.
func (x *exchange) send(head []byte, content io.Reader, length int64) {
	defer close(x.sent)
	defer x.closeBody()
	if _, err := x.conn.Write(head); err != nil {
		x.fail(fmt.Errorf("cannot send request: %w", err))
		return
	}
	source := &source{body: body{content, length}}
	_, err := io.Copy(x.conn, source)
	switch {
	case source.err != nil:
		x.fail(fmt.Errorf("cannot read request body: %w", source.err))
		x.interrupt()
	case err != nil:
		x.fail(fmt.Errorf("cannot send request body: %w", err))
	}
}

func (x *exchange) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed = err
}

// explain returns the cause of an error that was met while reading the reply.
func (x *exchange) explain(err error) error {
	if x.ctx.Err() != nil {
		return x.ctx.Err()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil {
		return x.failed
	}
	return err
}

// A source remembers its own error, to tell it from the connection's.
type source struct {
	body
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// A replyBody owns the connection that it is read from.
type replyBody struct {
	io.ReadCloser
	x *exchange
}

func (b *replyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.x.explain(err)
	}
	return n, err
}

func (b *replyBody) Close() error { return b.x.Close() }

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

func orDefault(n, other int) int {
	if n <= 0 {
		return other
	}
	return n
}
