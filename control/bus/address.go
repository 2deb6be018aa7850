package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

const (
	sessionWord   = "session"
	systemDefault = "unix:path=/run/dbus/system_bus_socket"
)

// A dialer connects to the socket with this name, in net's notation.
type dialer func(ctx context.Context, socket string) (net.Conn, error)

func dial(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", socket)
}

// address returns the D-Bus address that o means. It starts nothing: godbus
// would run dbus-launch for a session bus that it does not find, and the
// master has one reaper for its children, which is not godbus.
func (o *Options) address() (string, error) {
	switch o.Address {
	case "":
		if o.Session {
			return sessionAddress()
		}
		if a := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
			return a, nil
		}
		return systemDefault, nil
	case sessionWord:
		return sessionAddress()
	}
	return o.Address, nil
}

func sessionAddress() (string, error) {
	if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" {
		return a, nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return "unix:path=" + escapeAddress(dir+"/bus"), nil
	}
	return "", errors.New("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
}

// escapeAddress writes a value of a D-Bus address.
func escapeAddress(s string) string {
	return strings.NewReplacer("%", "%25", ",", "%2c", ";", "%3b", " ", "%20").Replace(s)
}

// socketOf returns the first Unix socket that a D-Bus address names, in net's
// notation.
func socketOf(address string) (string, error) {
	for _, one := range strings.Split(address, ";") {
		keys, ok := strings.CutPrefix(one, "unix:")
		if !ok {
			continue
		}
		for _, pair := range strings.Split(keys, ",") {
			key, value, _ := strings.Cut(pair, "=")
			value, err := url.PathUnescape(value)
			if err != nil || value == "" {
				continue
			}
			switch key {
			case "path":
				return value, nil
			case "abstract":
				return "@" + value, nil
			}
		}
	}
	return "", fmt.Errorf("address %.100q names no Unix socket", address)
}
