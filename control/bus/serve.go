package bus

import (
	"context"
	"errors"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// A call is a method call from the bus.
type call struct {
	path          dbus.ObjectPath
	iface, member string // iface may be empty
	sender        string // its unique name, which the bus vouches for
	signature     string
	body          []any
	interactive   bool // its user may be asked for a password
	wantsReply    bool
	serial        uint32
	admitted      bool  // it holds a place
	denied        error // why its sender may know name and state only; nil if it may read
}

// route is a call as godbus takes it apart: object, interface, method. There
// is no table behind it; serve looks at the whole call.
type route struct {
	s             *session
	path          dbus.ObjectPath
	iface, member string
}

// LookupObject is godbus's.
func (s *session) LookupObject(path dbus.ObjectPath) (dbus.ServerObject, bool) {
	return route{s: s, path: path}, true
}

// LookupInterface is godbus's.
func (r route) LookupInterface(name string) (dbus.Interface, bool) {
	r.iface = name
	return r, true
}

// LookupMethod is godbus's.
func (r route) LookupMethod(name string) (dbus.Method, bool) {
	r.member = name
	return r, true
}

// DecodeArguments is godbus's. It keeps the reply from godbus: one that we
// send ourselves is known to be sent, and in its order.
func (r route) DecodeArguments(_ *dbus.Conn, sender string, msg *dbus.Message, body []any) ([]any, error) {
	signature, _ := msg.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	c := &call{
		path: r.path, iface: r.iface, member: r.member, sender: sender, signature: signature.String(), body: body,
		interactive: msg.Flags&dbus.FlagAllowInteractiveAuthorization != 0,
		wantsReply:  msg.Flags&dbus.FlagNoReplyExpected == 0,
		serial:      msg.Serial(),
	}
	msg.Flags |= dbus.FlagNoReplyExpected
	return []any{c}, nil
}

// Call is godbus's, in a goroutine for each call.
func (r route) Call(args ...any) ([]any, error) {
	r.s.serve(args[0].(*call))
	return nil, nil
}

// NumArguments is godbus's.
func (route) NumArguments() int { return 0 }

// NumReturns is godbus's.
func (route) NumReturns() int { return 0 }

// ArgumentValue is godbus's.
func (route) ArgumentValue(int) any { return nil }

// ReturnValue is godbus's.
func (route) ReturnValue(int) any { return nil }

// Names of standard errors.
const (
	errPrefix        = "org.freedesktop.DBus.Error."
	errLimits        = errPrefix + "LimitsExceeded"
	errInvalidArgs   = errPrefix + "InvalidArgs"
	errUnknownObject = errPrefix + "UnknownObject"
	errUnknownIface  = errPrefix + "UnknownInterface"
	errUnknownMethod = errPrefix + "UnknownMethod"
	errUnknownProp   = errPrefix + "UnknownProperty"
	errReadOnly      = errPrefix + "PropertyReadOnly"
)

func fail(name, text string) error { return &dbus.Error{Name: name, Body: []any{clean(text)}} }

// serve serves a call, if there is room.
func (s *session) serve(c *call) {
	select {
	case s.admission <- struct{}{}:
		c.admitted = true
		defer s.release(c)
	default:
		s.answer(c, nil, fail(errLimits, "too many calls at a time, try again"))
		return
	}
	m, err := lookup(c)
	if err != nil {
		s.answer(c, nil, err)
		return
	}
	if m.reads {
		c.denied = s.mayRead(c.sender)
	}
	if c.member == "GetManagedObjects" {
		s.sequence.Lock()
		defer s.sequence.Unlock()
	}
	out, err := m.do(s, c)
	s.answer(c, out, err)
}

// release gives up the place of a call, acquire takes one again.
func (s *session) release(c *call) {
	if c.admitted {
		c.admitted = false
		<-s.admission
	}
}

func (s *session) acquire(c *call) error {
	select {
	case s.admission <- struct{}{}:
		c.admitted = true
		return nil
	case <-s.calls.Done():
		return s.calls.Err()
	}
}

// nameAt returns the interface that the object at path has beside the standard
// ones, if it has any, and whether there is an object. A worker's path may be
// that of no worker.
func nameAt(path dbus.ObjectPath) (iface string, ok bool) {
	switch path {
	case rootPath:
		return managerIface, true
	case poolPath:
		return poolIface, true
	case logPath:
		return logIface, true
	}
	if _, ok := workerAt(path); ok {
		return workerIface, true
	}
	return "", nodes[path] != nil
}

// interfaces are those that objects have beside the standard ones, by name.
var interfaces = map[string]*iface{
	poolIface: &poolInterface, workerIface: &workerInterface, logIface: &logInterface, managerIface: &managerInterface,
}

// standardInterfaces are those of every object.
var standardInterfaces = []*iface{&introspectInterface, &propertiesInterface}

// lookup finds the method that is called.
func lookup(c *call) (*method, error) {
	own, ok := nameAt(c.path)
	if !ok {
		return nil, fail(errUnknownObject, "there is no object "+string(c.path))
	}
	has := standardInterfaces
	if i := interfaces[own]; i != nil {
		has = append([]*iface{i}, has...)
	}
	known := c.iface == ""
	for _, i := range has {
		if c.iface != "" && c.iface != i.name {
			continue
		}
		known = true
		for n := range i.methods {
			m := &i.methods[n]
			if m.name != c.member {
				continue
			}
			if in := m.in.signature(); c.signature != in {
				return nil, fail(errInvalidArgs, c.member+" takes ("+in+"), not ("+c.signature+")")
			}
			return m, nil
		}
	}
	if !known {
		return nil, fail(errUnknownIface, "there is no interface "+c.iface+" at "+string(c.path))
	}
	return nil, fail(errUnknownMethod, "there is no method "+c.member+" at "+string(c.path))
}

// answer sends the reply.
func (s *session) answer(c *call, out []any, err error) {
	if !c.wantsReply {
		return
	}
	if err != nil {
		e := asDBus(err)
		s.send(dbus.TypeError, c.sender, c.serial, e.Name, e.Body)
		return
	}
	s.send(dbus.TypeMethodReply, c.sender, c.serial, "", out)
}

// refuse answers a call that was not let in.
func (s *session) refuse(sender string, serial uint32) {
	s.send(dbus.TypeError, sender, serial, errInvalidArgs, []any{"no method takes arguments of this kind or size"})
}

func (s *session) send(kind dbus.Type, to string, serial uint32, name string, body []any) {
	m := &dbus.Message{Type: kind, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(to),
		dbus.FieldReplySerial: dbus.MakeVariant(serial),
	}, Body: body}
	if name != "" {
		m.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	s.conn.Send(m, nil)
}

// asDBus writes an error as the bus has it. Those of the vocabulary keep their
// code.
func asDBus(err error) *dbus.Error {
	var standard *dbus.Error
	if errors.As(err, &standard) {
		return standard
	}
	e := control.AsError(err)
	code := e.Code
	if code == control.CodeFailed && errors.Is(err, context.DeadlineExceeded) {
		code = control.CodeTimeout
	}
	text := e.Text
	if e.Hint != "" {
		text += "; hint: " + e.Hint
	}
	return &dbus.Error{Name: Base + ".Error." + code, Body: []any{clean(text)}}
}
