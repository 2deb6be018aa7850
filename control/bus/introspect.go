package bus

import (
	"context"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

// An iface is an interface that objects have: what is called and what is shown
// of it are the same table.
type iface struct {
	name       string
	methods    []method
	signals    []signal
	properties []introspect.Property
}

// A method is one that can be called.
type method struct {
	name    string
	in, out args
	reads   bool // what it does depends on whether its caller may read
	do      func(*session, *call) ([]any, error)
}

// A signal is one that is sent.
type signal struct {
	name string
	args args
}

// args are arguments, each "TYPE NAME".
type args []string

func (a args) signature() string {
	var b strings.Builder
	for _, one := range a {
		kind, _, _ := strings.Cut(one, " ")
		b.WriteString(kind)
	}
	return b.String()
}

func (a args) describe(direction string) []introspect.Arg {
	var all []introspect.Arg
	for _, one := range a {
		kind, name, _ := strings.Cut(one, " ")
		all = append(all, introspect.Arg{Name: name, Type: kind, Direction: direction})
	}
	return all
}

func (i *iface) describe() introspect.Interface {
	d := introspect.Interface{Name: i.name, Properties: i.properties}
	for _, m := range i.methods {
		d.Methods = append(d.Methods, introspect.Method{Name: m.name, Args: append(m.in.describe("in"), m.out.describe("out")...)})
	}
	for _, s := range i.signals {
		d.Signals = append(d.Signals, introspect.Signal{Name: s.name, Args: s.args.describe("")})
	}
	return d
}

// describeAll describes properties. x is any value that they can be read from.
func describeAll[T any](all []property[T], x T) []introspect.Property {
	var described []introspect.Property
	for _, p := range all {
		described = append(described, introspect.Property{
			Name: p.name, Type: dbus.SignatureOf(p.get(x)).String(), Access: "read",
			Annotations: []introspect.Annotation{{Name: "org.freedesktop.DBus.Property.EmitsChangedSignal", Value: p.emits}},
		})
	}
	return described
}

// nodes are the objects that are there for what is below them.
var nodes = map[dbus.ObjectPath][]string{
	"/":                {"org"},
	"/org":             {"freedesktop", "scgid1"},
	"/org/freedesktop": {"LogControl1"},
	rootPath:           {"pool", "worker"},
	workerPath:         {}, // those of the workers
}

// introspect describes an object.
func (s *session) introspect(c *call) ([]any, error) {
	var n introspect.Node
	own, _ := nameAt(c.path)
	if own == workerIface { // is it there?
		if _, err := s.readProperties(c, own); err != nil {
			return nil, err
		}
	}
	if i := interfaces[own]; i != nil {
		n.Interfaces = append(n.Interfaces, i.describe())
	}
	n.Interfaces = append(n.Interfaces, propertiesInterface.describe(), introspect.IntrospectData, introspect.PeerData)
	below, err := s.below(c)
	if err != nil {
		return nil, err
	}
	for _, name := range below {
		n.Children = append(n.Children, introspect.Node{Name: name})
	}
	text, err := xml.MarshalIndent(n, "", " ")
	if err != nil {
		return nil, err
	}
	return []any{strings.TrimSpace(introspect.IntrospectDeclarationString) + "\n" + emptyElement.ReplaceAllString(string(text), "/>") + "\n"}, nil
}

// emptyElement is how encoding/xml ends an element without content.
var emptyElement = regexp.MustCompile(`></[a-z]+>`)

// below returns the names of the objects just below that of a call.
func (s *session) below(c *call) ([]string, error) {
	if c.path != workerPath || c.denied != nil {
		return nodes[c.path], nil
	}
	ctx, cancel := context.WithTimeout(s.calls, queryLimit)
	defer cancel()
	all, err := s.f.o.Pool.Workers(ctx)
	names := make([]string, 0, len(all))
	for _, w := range all {
		names = append(names, fmt.Sprint(w.ID))
	}
	return names, err
}
