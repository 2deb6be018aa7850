package bus

import (
	"context"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// logLevels are the levels of org.freedesktop.LogControl1(5), with the one of
// ours that shows the same messages.
var logLevels = map[string]string{
	"emerg": "err", "alert": "err", "crit": "err", "err": "err",
	"warning": "warning", "notice": "warning", "info": "info", "debug": "debug",
}

// logValues reads the properties of LogControl1.
func (s *session) logValues(ctx context.Context) (values, error) {
	level, err := s.f.o.Pool.LogLevel(ctx)
	if err != nil {
		return nil, err
	}
	return values{
		"LogLevel":         dbus.MakeVariant(clean(level)),
		"LogTarget":        dbus.MakeVariant(logTarget()),
		"SyslogIdentifier": dbus.MakeVariant("scgid"),
	}, nil
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
		return fail(errInvalidArgs, "there is no such log level")
	}
	_, err := s.do(c, control.FindVerb("log-level"), control.LevelArgs{Level: &level})
	return err
}
