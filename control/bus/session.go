package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// Time limits.
const (
	setupLimit = 10 * time.Second        // to be on the bus, with names
	queryLimit = 5 * time.Second         // for a question to the bus or the pool
	verbLimit  = 30 * time.Second        // for a verb, but stop and operations
	endLimit   = 1500 * time.Millisecond // for replies to calls at the end
)

// callsMax is how many calls are served at a time, waitingMax how many of them
// may wait for operations, which keep them for minutes. More are refused.
const (
	callsMax   = 32
	waitingMax = 16
)

// A session is one connection to the bus.
type session struct {
	f    *Front
	conn *dbus.Conn
	wire *wire

	// calls is the context of calls: it outlives that of run a little, so
	// that the caller of a stop gets its report.
	calls     context.Context
	end       context.CancelFunc
	admission chan struct{} // one is held by each call that is served
	queries   control.Quota // questions to polkit that wait for an answer

	waiting chan struct{} // one is held by each call that waits for an operation

	readers readers

	// sequence keeps what goes out about worker objects in order: a list of them
	// is not sent after the news that one in it is gone.
	sequence sync.Mutex

	up bool // it got its names
}

func newSession(f *Front) *session {
	s := &session{f: f, admission: make(chan struct{}, callsMax), waiting: make(chan struct{}, waitingMax),
		queries: control.Quota{All: queriesMax, Others: queriesMax, User: queriesUserMax}, readers: newReaders()}
	s.calls, s.end = context.WithCancel(context.Background())
	return s
}

// run is on the bus until the bus goes away, the pool's events end or ctx
// ends.
func (s *session) run(ctx context.Context) error {
	defer s.end()
	setup, cancel := context.WithTimeout(ctx, setupLimit)
	defer cancel()
	if err := s.connect(setup); err != nil {
		return fmt.Errorf("cannot connect to the %s: %v", s.busName(), err)
	}
	defer s.close()
	sub, err := s.f.o.Pool.Subscribe(ctx, false)
	if err != nil {
		return fmt.Errorf("cannot follow the pool for the bus: %v", err)
	}
	defer sub.Close()
	w := newFollower(s, sub.C)
	if err := w.begin(setup); err != nil {
		return fmt.Errorf("cannot show the pool on the bus: %v", err)
	}
	// The common one first: who sees our own name may call us, and the bus's
	// policy goes by the common one.
	for _, name := range []string{Base, Name(s.f.o.Name)} {
		if err := s.own(setup, name); err != nil {
			return err
		}
	}
	s.up = true
	s.f.forget()
	err = w.follow(ctx, s.conn.Context())
	if ctx.Err() != nil || errors.Is(err, errEventsEnded) {
		// The pool ends: the caller of the stop still gets its report.
		s.finish()
	}
	return err
}

func (s *session) busName() string {
	if s.f.o.Session {
		return "session bus"
	}
	return "system bus"
}

// connect dials, authenticates and says hello.
func (s *session) connect(ctx context.Context) error {
	address, err := s.f.o.address()
	if err != nil {
		return err
	}
	socket, err := socketOf(address)
	if err != nil {
		return err
	}
	raw, err := s.f.dial(ctx, socket)
	if err != nil {
		return err
	}
	s.wire = newWire(raw, s.refuse)
	s.conn, err = dbus.NewConn(s.wire, dbus.WithHandler(s), dbus.WithSignalHandler(departures{s}))
	if err != nil {
		raw.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	err = s.conn.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(s.f.uid))})
	if err == nil {
		err = s.conn.Hello()
	}
	if !stop() && err == nil {
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		s.close()
	}
	return err
}

// Refused says whether an error that Options.Report got is that the bus's policy
// does not let us have our name.
func Refused(err error) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == "org.freedesktop.DBus.Error.AccessDenied"
}

// own asks for a name, or for a place in the queue for it.
func (s *session) own(ctx context.Context, name string) error {
	var answer uint32
	err := s.bus(ctx, "RequestName", name, uint32(0)).Store(&answer)
	if err != nil {
		return fmt.Errorf("cannot own the bus name %s: %w", name, err)
	}
	if dbus.RequestNameReply(answer) == dbus.RequestNameReplyInQueue && name != Base {
		// Perhaps a master that is about to end. It is ours after that.
		s.f.report(fmt.Errorf("the bus name %s is in use by another process, waiting for it", name))
	}
	return nil
}

// bus calls a method of the bus itself.
func (s *session) bus(ctx context.Context, method string, args ...any) *dbus.Call {
	return s.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus."+method, 0, args...)
}

// finish lets calls that are about to be answered be answered.
func (s *session) finish() {
	expired := time.After(endLimit)
	for range callsMax {
		select {
		case s.admission <- struct{}{}:
		case <-expired:
			return
		case <-s.conn.Context().Done():
			return
		}
	}
}

// close ends the connection. The socket goes first: a write that is stuck in
// it would keep the connection's locks.
func (s *session) close() {
	s.end()
	s.wire.Close()
	s.conn.Close()
}

var errBusGone = errors.New("the bus has gone")
