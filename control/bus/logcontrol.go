package bus

import (
	"context"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"github.com/scgid/scgid/control"
)

// logLevels are the levels of org.freedesktop.LogControl1(5), with the one of
// ours that shows the same messages.
var logLevels = map[string]string{
	"emerg": "err", "alert": "err", "crit": "err", "err": "err",
	"warning": "warning", "notice": "warning", "info": "info", "debug": "debug",
}

// logProperties are read from the level.
var logProperties = []property[string]{
	{"LogLevel", silent, func(level string) any { return clean(level) }},
	{"LogTarget", silent, func(string) any { return logTarget() }},
	{"SyslogIdentifier", constant, func(string) any { return "scgid" }},
}

var logInterface = func() iface {
	i := iface{name: logIface, properties: describeAll(logProperties, "")}
	level := &i.properties[0]
	level.Access = "readwrite"
	level.Annotations = append(level.Annotations, introspect.Annotation{Name: "org.freedesktop.systemd1.Privileged", Value: "true"})
	return i
}()

// logValues reads the properties of LogControl1.
func (s *session) logValues(ctx context.Context) (values, error) {
	level, err := s.f.o.Pool.LogLevel(ctx)
	if err != nil {
		return nil, err
	}
	return valuesOf(logProperties, level, nil), nil
}

// logTarget says where the log goes. It is not for us to change: it is stderr,
// which systemd or a terminal gave us.
func logTarget() string {
	if ok, err := journal.StderrIsJournalStream(); ok && err == nil {
		return "journal"
	}
	return "console"
}

// setLogLevel is the one property that can be set, by the contract of
// LogControl1, by those who may change something.
func (s *session) setLogLevel(c *call, value dbus.Variant) error {
	text, ok := value.Value().(string)
	if !ok {
		return fail(errInvalidArgs, "LogLevel is a string")
	}
	level, ok := logLevels[text]
	if !ok {
		return fail(errInvalidArgs, "unknown log level")
	}
	_, err := s.do(c, control.FindVerb("log-level"), control.LevelArgs{Level: &level})
	return err
}
