package bus

import (
	"context"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

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
	var b strings.Builder
	b.WriteString(xmlHead)
	_, worker := workerAt(c.path)
	switch {
	case c.path == poolPath:
		b.WriteString(poolXML)
	case c.path == logPath:
		b.WriteString(logXML)
	case c.path == rootPath:
		b.WriteString(managerXML)
	case worker:
		if _, err := s.readProperties(c, workerIface); err != nil {
			return nil, err
		}
		b.WriteString(workerXML)
	}
	b.WriteString(standardXML)
	below, err := s.below(c)
	if err != nil {
		return nil, err
	}
	for _, name := range below {
		fmt.Fprintf(&b, " <node name=%q/>\n", name)
	}
	b.WriteString("</node>\n")
	return []any{b.String()}, nil
}

// below returns the names of the objects just below that of a call.
func (s *session) below(c *call) ([]string, error) {
	if c.path != workerPath || c.denied != nil {
		return nodes[c.path], nil
	}
	ctx, cancel := context.WithTimeout(s.calls, askLimit)
	defer cancel()
	all, err := s.f.o.Pool.Workers(ctx)
	names := make([]string, 0, len(all))
	for _, w := range all {
		names = append(names, fmt.Sprint(w.ID))
	}
	return names, err
}

const xmlHead = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
`
