package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// Bounds on what a client reads.
const (
	maxReplyHead = 64 << 10
	maxReply     = 64 << 20
	maxEvent     = 1 << 20
)

// A Client asks one pool over its control socket. Each call has a connection
// of its own, so it holds nothing between calls; it may be used from any
// goroutine. Its errors are of type *control.Error, but for a cancelled
// context, which gives context.Canceled.
type Client struct {
	socket string
	check  func(Peer) error
}

// NewClient returns a client for the socket with this path. It connects only
// when something is asked.
func NewClient(socket string) *Client { return &Client{socket: socket} }

// ErrCut is the error of a call whose connection ended before its reply was
// whole: nobody knows whether it was done. A master that executes its program
// again cuts all connections so.
var ErrCut = &control.Error{Code: control.CodeOver, Text: "the master has ended, or closed the connection, before its answer was whole"}

// Socket is the path of the socket.
func (c *Client) Socket() string { return c.socket }

// Verify has each connection checked before anything is said on it: check gets
// the peer of that connection. An error that it returns ends the call.
func (c *Client) Verify(check func(Peer) error) { c.check = check }

// Call calls a verb and decodes what it returns into out, unless that is nil.
// args are the arguments in the form that the verb's Call takes, or another that
// encoding/json writes as such an object; nil is none, and reads where the verb
// can.
func (c *Client) Call(ctx context.Context, verb string, args, out any) error {
	if strings.ContainsAny(verb, "/?#% \r\n") || verb == "" {
		return control.Errorf(control.CodeNoVerb, "there is no verb %.40q", verb)
	}
	body, err := json.Marshal(args)
	if err != nil {
		return control.Errorf(control.CodeInvalid, "cannot write the arguments of %s: %v", verb, err)
	}
	if string(body) == "null" {
		body = []byte("{}")
	}
	if v := control.FindVerb(verb); v != nil && reads(v) && string(body) == "{}" {
		return c.do(ctx, http.MethodGet, pathV1+verb, nil, out)
	}
	return c.do(ctx, http.MethodPost, pathV1+verb, body, out)
}

// Status reads the status. A caller that may see name and state only gets
// these, and zeros.
func (c *Client) Status(ctx context.Context) (s control.Status, err error) {
	return s, c.Call(ctx, "status", nil, &s)
}

// Workers reads the list of workers.
func (c *Client) Workers(ctx context.Context) (w []control.Worker, err error) {
	return w, c.Call(ctx, "workers", nil, &w)
}

// Requests reads the requests in progress and waiting.
func (c *Client) Requests(ctx context.Context) (r []control.Request, err error) {
	return r, c.Call(ctx, "requests", nil, &r)
}

// Config reads the configuration in effect.
func (c *Client) Config(ctx context.Context) (s []control.Setting, err error) {
	return s, c.Call(ctx, "config", nil, &s)
}

// Metrics reads the metrics, as OpenMetrics text.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	var text []byte
	err := c.exchange(ctx, http.MethodGet, pathMetrics, "application/openmetrics-text; version=1.0.0", nil, func(r *http.Response) (err error) {
		text, err = readAll(r.Body)
		return err
	})
	return text, err
}

// Events calls each with every event from now on, and with one of kind
// control.EventMissed where some were lost, until the context, the pool or
// each ends it; each's error is returned as it is. An end by the server has
// CodeOver. Connecting again is the caller's.
func (c *Client) Events(ctx context.Context, each func(control.Event) error) error {
	return c.EventsFrom(ctx, nil, each)
}

// EventsFrom is Events that calls ready, unless it is nil, when the stream has
// begun: no event after that is missed.
func (c *Client) EventsFrom(ctx context.Context, ready func() error, each func(control.Event) error) error {
	return c.exchange(ctx, http.MethodGet, pathEvents, typeNDJSON, nil, func(r *http.Response) error {
		if ready != nil {
			if err := ready(); err != nil {
				return stopped{err}
			}
		}
		lines := bufio.NewScanner(r.Body)
		lines.Buffer(nil, maxEvent)
		for lines.Scan() {
			var e control.Event
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				return c.notScgid("an event that cannot be read")
			}
			if err := each(e); err != nil {
				return stopped{err}
			}
		}
		if lines.Err() != nil {
			return lines.Err()
		}
		return control.Errorf(control.CodeOver, "the stream of events has ended")
	})
}

// stopped is an error of the caller's own function, to be returned as it is.
type stopped struct{ error }

// do sends one request and decodes its reply.
func (c *Client) do(ctx context.Context, method, path string, body []byte, out any) error {
	return c.exchange(ctx, method, path, typeJSON, body, func(r *http.Response) error {
		reply, err := readAll(r.Body)
		if err != nil || out == nil {
			return err
		}
		if err := json.Unmarshal(reply, out); err != nil {
			return c.notScgid("a reply that cannot be read: " + err.Error())
		}
		return nil
	})
}

// exchange sends one request on a connection of its own and has read take a
// reply that is not a problem.
func (c *Client) exchange(ctx context.Context, method, path, accept string, body []byte, read func(*http.Response) error) error {
	conn, peer, err := c.dial(ctx)
	if err != nil {
		return c.explain(ctx, err)
	}
	defer conn.Close()
	// A deadline in the past ends whatever waits on the connection.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	if c.check != nil {
		if err := c.check(peer); err != nil {
			return err
		}
	}
	// A server that is full answers before it has read anything, and closes:
	// the answer is read whatever became of the request.
	_, werr := conn.Write(request(method, path, accept, body))
	from := &io.LimitedReader{R: conn, N: maxReplyHead}
	r, err := http.ReadResponse(bufio.NewReader(from), &http.Request{Method: method})
	if err != nil {
		if werr != nil && ctx.Err() == nil {
			err = werr
		}
		return c.explain(ctx, err)
	}
	from.N = math.MaxInt64 // read bounds the body
	if err := c.responseError(r); err != nil {
		return c.explain(ctx, err)
	}
	if err := read(r); err != nil {
		return c.explain(ctx, err)
	}
	return nil
}

// request writes a request. path and accept are our own words.
func request(method, path, accept string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: scgid\r\nConnection: close\r\nAccept: %s\r\n", method, path, accept)
	if method == http.MethodPost {
		b.WriteString("Content-Type: " + typeJSON + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// responseError returns the error that a reply stands for.
func (c *Client) responseError(r *http.Response) error {
	if r.StatusCode == http.StatusOK {
		return nil
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), typeProblem) {
		body, err := readAll(r.Body)
		if err != nil {
			return err
		}
		if e, ok := parseProblem(body); ok {
			return e
		}
	}
	return c.notScgid("HTTP status " + strconv.Itoa(r.StatusCode))
}

func (c *Client) notScgid(what string) *control.Error {
	return control.Errorf(control.CodeProtocol, "%s answers with %.200q: not an scgid control socket", c.socket, what)
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxReply+1))
	if err == nil && len(b) > maxReply {
		err = control.Errorf(control.CodeProtocol, "the reply is larger than %d bytes", maxReply)
	}
	return b, err
}

// explain makes an Error of what went wrong.
func (c *Client) explain(ctx context.Context, err error) error {
	var own stopped
	var known *control.Error
	switch {
	case errors.As(err, &own):
		return own.error
	case errors.As(err, &known):
		return known
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return control.Errorf(control.CodeTimeout, "%s has not answered within the time limit", c.socket)
	case errors.Is(err, errLink):
		return control.Errorf(control.CodeProtocol, "%s is a link: links to control sockets are not followed", c.socket).
			WithHint("readlink -f %s", c.socket)
	case errors.Is(err, errNotSocket):
		return control.Errorf(control.CodeProtocol, "%s is not a socket", c.socket)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return control.Errorf(control.CodeNotRunning, "nothing is running: %s does not exist", c.socket).
			WithHint("is scgid running?")
	case errors.Is(err, unix.ECONNREFUSED):
		return control.Errorf(control.CodeNotRunning, "nothing is running: nobody answers on %s", c.socket).
			WithHint("is scgid running?")
	case errors.Is(err, fs.ErrPermission):
		return control.Errorf(control.CodeDenied, "cannot connect to %s: permission denied", c.socket)
	case errors.Is(err, unix.EAGAIN):
		return control.Errorf(control.CodeBusy, "cannot connect to %s: too many callers wait there", c.socket)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return ErrCut
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return control.Errorf(control.CodeFailed, "cannot talk to %s: %v", c.socket, op.Err)
	}
	return c.notScgid(err.Error())
}
