package bus

import (
	"context"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// Bounds on connections that get signals; for all but uid 0 a quarter stays
// free.
const (
	readersMax     = 32
	readersUserMax = 8
)

// readers are the connections to the bus that were let read. What everybody who
// subscribes would get says the pool's state only, so each of these gets the
// other signals sent to itself, from its first read until it leaves the bus. A
// unique name is never given twice, so that who it belongs to is asked once.
type readers struct {
	quota control.Quota

	came chan struct{} // has one when a reader was added

	mu    sync.Mutex
	users map[string]uint32 // by unique name; guarded by mu
}

func newReaders() readers {
	return readers{quota: control.Quota{All: readersMax, Others: readersMax * 3 / 4, User: readersUserMax},
		came: make(chan struct{}, 1), users: map[string]uint32{}}
}

func (r *readers) has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.users[name]
	return ok
}

// add notes a reader, if it is new and there is room.
func (r *readers) add(name string, uid uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.users[name]; known || !r.quota.Acquire(uid) {
		return false
	}
	r.users[name] = uid
	select {
	case r.came <- struct{}{}:
	default:
	}
	return true
}

func (r *readers) remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if uid, ok := r.users[name]; ok {
		delete(r.users, name)
		r.quota.Release(uid)
	}
}

func (r *readers) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]string, 0, len(r.users))
	for name := range r.users {
		all = append(all, name)
	}
	return all
}

// mayRead returns nil if the sender of a call may read everything, else why it
// may not. Whatever is unclear is a refusal.
func (s *session) mayRead(sender string) error {
	if s.readers.has(sender) {
		return nil
	}
	reading := control.FindVerb("status")
	who, err := s.caller(sender)
	if err != nil {
		return control.Errorf(control.CodeDenied, "cannot %s: cannot read the credentials of the caller: %v", reading.Doing, err)
	}
	if level := s.f.o.Access.Level(who); level < control.LevelRead {
		return control.Denied(reading, who, level)
	}
	if s.readers.add(sender, who.UID) {
		s.awaitDeparture(sender)
	}
	return nil
}

// departure is the match rule for the news that a connection has left.
func departure(name string) string {
	return "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" + name + "'"
}

// awaitDeparture has the bus send a signal when a reader leaves. A reader that
// has left already is forgotten here.
func (s *session) awaitDeparture(name string) {
	ctx, cancel := context.WithTimeout(s.calls, queryLimit)
	defer cancel()
	var here bool
	err := s.bus(ctx, "AddMatch", departure(name)).Err
	if err == nil {
		err = s.bus(ctx, "NameHasOwner", name).Store(&here)
	}
	if err != nil || !here {
		s.departed(name)
	}
}

// departed forgets a reader.
func (s *session) departed(name string) {
	if s.readers.has(name) {
		s.readers.remove(name)
		s.conn.BusObject().Go("org.freedesktop.DBus.RemoveMatch", dbus.FlagNoReplyExpected, nil, departure(name))
	}
}

// departures takes the one kind of signal that the session asks for.
type departures struct{ s *session }

// DeliverSignal is godbus's, in the goroutine that reads: it must not wait.
func (d departures) DeliverSignal(_, member string, signal *dbus.Signal) {
	if member != "NameOwnerChanged" || len(signal.Body) != 3 || signal.Body[2] != "" {
		return
	}
	if name, ok := signal.Body[0].(string); ok && d.s.readers.has(name) {
		go d.s.departed(name)
	}
}

// broadcast sends a signal to everybody who subscribes to it.
func (s *session) broadcast(path dbus.ObjectPath, signal string, values ...any) {
	s.signal("", path, signal, values)
}

// tellReaders sends a signal to those who may read everything. A user's own bus
// has nobody else on it.
func (s *session) tellReaders(path dbus.ObjectPath, signal string, values ...any) {
	if s.f.o.Session {
		s.broadcast(path, signal, values...)
		return
	}
	for _, name := range s.readers.names() {
		s.signal(name, path, signal, values)
	}
}

// signal sends a signal. Its error is that of a connection that has ended, which
// follow sees.
func (s *session) signal(to string, path dbus.ObjectPath, signal string, values []any) {
	dot := strings.LastIndex(signal, ".")
	m := &dbus.Message{Type: dbus.TypeSignal, Flags: dbus.FlagNoReplyExpected, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(path),
		dbus.FieldInterface: dbus.MakeVariant(signal[:dot]),
		dbus.FieldMember:    dbus.MakeVariant(signal[dot+1:]),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(values...)),
	}, Body: values}
	if to != "" {
		m.Headers[dbus.FieldDestination] = dbus.MakeVariant(to)
	}
	s.conn.Send(m, nil)
}
