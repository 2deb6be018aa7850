package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/worker/scgi"
)

// An endpoint is where SCGI is spoken, as net.Dial wants it.
type endpoint struct{ network, address string }

func (e endpoint) String() string { return e.address }

// isAddress tells an address from the name of a pool, which holds none of
// these characters.
func isAddress(s string) bool { return strings.ContainsAny(s, "/:@") }

// parseEndpoint reads the forms in which scgid takes addresses to listen on:
// /path, unix:/path, @name, host:port, tcp:host:port.
func parseEndpoint(s string) (endpoint, error) {
	name, isUnix := strings.CutPrefix(s, "unix:")
	if isUnix || strings.HasPrefix(name, "@") || strings.Contains(name, "/") {
		if name == "" || name == "@" || strings.ContainsRune(name, 0) {
			return endpoint{}, fmt.Errorf("%q is not an address of a Unix socket", s)
		}
		return endpoint{"unix", name}, nil
	}
	name = strings.TrimPrefix(name, "tcp:")
	if _, port, err := net.SplitHostPort(name); err != nil || port == "" {
		return endpoint{}, fmt.Errorf("%q is neither /path, @name nor host:port", s)
	}
	return endpoint{"tcp", name}, nil
}

// A timing says when each part of an exchange was over, from its beginning.
// Sent is 0 if the reply was whole before the request had been.
type timing struct{ Connect, Sent, FirstByte, Whole time.Duration }

// errNothing is a connection that ends without a byte.
var errNothing = errors.New("the connection was closed without a reply")

// send does one exchange on a connection of its own. head is called with the
// reply's head and says where the body goes. The error is nil when the reply
// was valid and whole.
func (a *scgiRequest) send(ctx context.Context, to endpoint, head func(*http.Response) (io.Writer, error)) (took timing, got int64, err error) {
	began := time.Now()
	var d net.Dialer
	conn, err := d.DialContext(ctx, to.network, to.address)
	if err != nil {
		return took, 0, dialError(to, err)
	}
	took.Connect = time.Since(began)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	sent := make(chan time.Duration, 1)
	go func() {
		// A server may answer, and close, before it has read everything: the
		// reply decides, so the error is not looked at.
		if a.write(conn) == nil {
			sent <- time.Since(began)
		}
		close(sent)
	}()
	got, err = a.receive(conn, began, &took, head)
	took.Whole = time.Since(began)
	if err != nil && ctx.Err() != nil {
		err = control.Errorf(control.CodeTimeout, "%s gave no whole reply within %s", to, took.Whole.Round(10*time.Millisecond)).
			WithHint("scgictl explain says what a pool is waiting for; --timeout allows more")
	}
	conn.Close() // ends a write that nobody reads any more
	took.Sent = <-sent
	return took, got, err
}

// write sends the header and then the body.
func (a *scgiRequest) write(conn net.Conn) error {
	head, err := scgi.AppendHeader(nil, a.vars)
	if err != nil {
		return err
	}
	// One write for a small request: a server may look at the first packet only.
	if _, err := conn.Write(head); err != nil {
		return err
	}
	_, err = io.CopyN(conn, a.body, a.length)
	return err
}

// receive reads the reply and notes when its first byte came. It tells a
// connection that was closed without one from a reply that broke off.
func (a *scgiRequest) receive(conn net.Conn, began time.Time, took *timing, head func(*http.Response) (io.Writer, error)) (int64, error) {
	r := bufio.NewReader(conn)
	_, err := r.Peek(1)
	if err == io.EOF {
		return 0, errNothing
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the reply: %w", err)
	}
	took.FirstByte = time.Since(began)
	p, err := scgi.ReadResponse(r, a.req)
	if err != nil {
		return 0, err
	}
	to, err := head(p)
	if err != nil {
		return 0, err
	}
	got, err := io.Copy(to, p.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return got, fmt.Errorf("the body broke off: Content-Length is %d, %d bytes came", p.ContentLength, got)
	}
	if err != nil {
		return got, fmt.Errorf("the body broke off after %d bytes: %w", got, err)
	}
	return got, nil
}

// dialError says why a connection failed, with the code that decides scgictl's
// exit status.
func dialError(to endpoint, err error) error {
	text := fmt.Sprintf("cannot connect to %s: %v", to, lastError(err))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return control.Errorf(control.CodeDenied, "%s", text).WithHint("scgictl doctor says which directory or mode refuses")
	case errors.Is(err, syscall.EAGAIN):
		return control.Errorf(control.CodeFailed, "%s: the kernel's backlog of this socket is full", text).
			WithHint("scgictl explain says what the pool is busy with")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK):
		return control.Errorf(control.CodeNotRunning, "%s", text).WithHint("is scgid running, and on this address?")
	case errors.Is(err, context.DeadlineExceeded):
		return control.Errorf(control.CodeTimeout, "%s", text)
	}
	return control.Errorf(control.CodeFailed, "%s", text)
}

// lastError is the last part of a net error: the address stands before it
// already.
func lastError(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
