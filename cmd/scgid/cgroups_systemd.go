package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"
)

// askLimit bounds the conversation with the service manager.
const askLimit = 2 * time.Second

// askManager asks the user's service manager for the control group that it has
// delegated to our service: unlike the system's it does not mark the group. It
// returns "" if there is none, or no manager.
func askManager() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	// The manager's own socket, where no bus daemon is needed.
	conn, err := dbus.Dial("unix:path="+dbus.EscapeBusAddressValue(filepath.Join(dir, "systemd/private")), dbus.WithContext(ctx))
	if err != nil {
		return ""
	}
	defer conn.Close()
	if conn.Auth(nil) != nil {
		return ""
	}
	return delegatedGroup(ctx, conn)
}

// delegatedGroup asks on a connection.
func delegatedGroup(ctx context.Context, conn *dbus.Conn) (group string) {
	const name = "org.freedesktop.systemd1"
	var unit dbus.ObjectPath
	var delegate bool
	get := func(property string, into any) error {
		return call(ctx, conn.Object(name, unit), into, "org.freedesktop.DBus.Properties.Get", name+".Service", property)
	}
	err := call(ctx, conn.Object(name, "/org/freedesktop/systemd1"), &unit, name+".Manager.GetUnitByPID", uint32(os.Getpid()))
	if err != nil || get("Delegate", &delegate) != nil || !delegate || get("ControlGroup", &group) != nil {
		return ""
	}
	return group
}

// call repeats a question that is not answered soon: systemd does not look at
// one that reaches it together with the end of the authentication, until there
// is more to read.
func call(ctx context.Context, of dbus.BusObject, into any, method string, args ...any) error {
	for {
		soon, cancel := context.WithTimeout(ctx, askLimit/20)
		err := of.CallWithContext(soon, method, 0, args...).Store(into)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}
