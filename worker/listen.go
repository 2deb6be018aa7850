package worker

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// Listen opens the link, says READY and returns a net.Listener of the passed
// connections, for code that wants one. What it accepts are *Conn; closing one
// tells the master, and may last two seconds (see Done) unless the caller used
// ReadRequest or said Whole. Of the options only Slots matters here.
//
// Accept returns net.ErrClosed at the end of file, after SIGTERM and after
// Close: finish what you hold, then exit 0. Close does not cut the link, which
// open connections need; what was sent and not yet accepted goes back to the
// master when the process exits.
func Listen(opts ...Option) (net.Listener, error) {
	w, err := Open()
	if err != nil {
		return nil, err
	}
	if err := w.Ready(newOptions(opts).slots); err != nil {
		w.Close()
		return nil, err
	}
	return &listener{w: w}, nil
}

type listener struct {
	w      *Worker
	closed atomic.Bool
}

func (l *listener) Accept() (net.Conn, error) {
	if l.closed.Load() {
		return nil, net.ErrClosed
	}
	c, err := l.w.Accept()
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, io.EOF):
		err = net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Net: addr{}.Network(), Addr: addr{}, Err: err}
}

func (l *listener) Close() error {
	if l.closed.Swap(true) {
		return net.ErrClosed
	}
	return l.w.Leave()
}

func (l *listener) Addr() net.Addr { return addr{} }

// addr is the link, which has no name.
type addr struct{}

func (addr) Network() string { return "scgid" }
func (addr) String() string  { return "link" }
