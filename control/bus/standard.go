package bus

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

var introspectInterface = iface{name: introspectIface, methods: []method{
	{name: "Introspect", out: args{"s xml"}, reads: true, do: (*session).introspect},
}}

var propertiesInterface = iface{name: propertiesIface,
	methods: []method{
		{name: "Get", in: args{"s interface", "s property"}, out: args{"v value"}, reads: true, do: (*session).getProperty},
		{name: "GetAll", in: args{"s interface"}, out: args{"a{sv} properties"}, reads: true, do: (*session).getProperties},
		{name: "Set", in: args{"s interface", "s property", "v value"}, reads: true, do: (*session).setProperty},
	},
	signals: []signal{{"PropertiesChanged", args{"s interface", "a{sv} changed", "as invalidated"}}},
}

var managerInterface = iface{name: managerIface,
	methods: []method{{name: "GetManagedObjects", out: args{"a{oa{sa{sv}}} objects"}, reads: true, do: (*session).managedObjects}},
	signals: []signal{
		{"InterfacesAdded", args{"o object", "a{sa{sv}} interfaces"}},
		{"InterfacesRemoved", args{"o object", "as interfaces"}},
	},
}

// propertiesAt reads all properties of an interface at a path.
func (s *session) propertiesAt(ctx context.Context, path dbus.ObjectPath, iface string) (values, error) {
	_, worker := workerAt(path)
	switch {
	case path == poolPath && iface == poolIface:
		return s.poolValues(ctx)
	case worker && iface == workerIface:
		return s.workerValues(ctx, path)
	case path == logPath && iface == logIface:
		return s.logValues(ctx)
	}
	if own, _ := nameAt(path); iface == own || iface == introspectIface || iface == propertiesIface {
		return values{}, nil
	}
	return nil, fail(errUnknownIface, fmt.Sprintf("there is no interface %.255q at %s", iface, path))
}

func (s *session) getProperty(c *call) ([]any, error) {
	iface, name := c.body[0].(string), c.body[1].(string)
	all, err := s.readProperties(c, iface)
	if err != nil {
		return nil, err
	}
	v, ok := all[name]
	if !ok && c.denied != nil && interfaceOf(c.path, iface) == poolIface {
		return nil, c.denied
	}
	if !ok {
		return nil, unknownProperty(iface, name)
	}
	return []any{v}, nil
}

func (s *session) getProperties(c *call) ([]any, error) {
	all, err := s.readProperties(c, c.body[0].(string))
	if err != nil {
		return nil, err
	}
	return []any{map[string]dbus.Variant(all)}, nil
}

// interfaceOf returns the interface that iface means in a call to an object:
// an empty name stands for the object's own.
func interfaceOf(path dbus.ObjectPath, iface string) string {
	if iface == "" {
		iface, _ = nameAt(path)
	}
	return iface
}

// readProperties is propertiesAt with a time limit and for the caller: one that
// may not read gets what is public, and learns nothing of other objects.
func (s *session) readProperties(c *call, iface string) (values, error) {
	ctx, cancel := context.WithTimeout(s.calls, queryLimit)
	defer cancel()
	iface = interfaceOf(c.path, iface)
	own, _ := nameAt(c.path)
	switch {
	case c.denied == nil || iface != own:
		return s.propertiesAt(ctx, c.path, iface)
	case iface == poolIface:
		return s.publicValues(ctx)
	case iface == workerIface || iface == logIface:
		return nil, c.denied
	}
	return values{}, nil
}

// setProperty refuses, but for the log level: changes go through methods,
// which the bus lets nobody mistake for a property.
func (s *session) setProperty(c *call) ([]any, error) {
	iface, name := c.body[0].(string), c.body[1].(string)
	if c.path == logPath && (iface == logIface || iface == "") && name == "LogLevel" {
		return nil, s.setLogLevel(c, c.body[2].(dbus.Variant))
	}
	all, err := s.readProperties(c, iface)
	if err != nil {
		return nil, err
	}
	if _, ok := all[name]; !ok && c.denied == nil {
		return nil, unknownProperty(iface, name)
	}
	return nil, fail(errReadOnly, fmt.Sprintf("property %.255s is read-only", name))
}

func unknownProperty(iface, name string) error {
	return fail(errUnknownProp, fmt.Sprintf("there is no property %.255q in %.255s", name, iface))
}

// managedObjects is of org.freedesktop.DBus.ObjectManager.
func (s *session) managedObjects(c *call) ([]any, error) {
	ctx, cancel := context.WithTimeout(s.calls, queryLimit)
	defer cancel()
	read := s.poolValues
	if c.denied != nil {
		read = s.publicValues
	}
	pool, err := read(ctx)
	if err != nil {
		return nil, err
	}
	all := map[dbus.ObjectPath]map[string]values{poolPath: {poolIface: pool}}
	if c.denied != nil {
		return []any{all}, nil
	}
	workers, err := s.f.o.Pool.Workers(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range workers {
		all[pathOf(w.ID)] = map[string]values{workerIface: valuesOf(workerProperties, w, nil)}
	}
	return []any{all}, nil
}
