package bus

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"
)

// Base is the name that every instance is in the queue for, so that one rule
// of the bus's policy is for all of them, and the beginning of their own names.
const Base = "org.scgid1"

// Paths and interfaces.
const (
	rootPath   = dbus.ObjectPath("/org/scgid1")
	poolPath   = dbus.ObjectPath("/org/scgid1/pool")
	workerPath = dbus.ObjectPath("/org/scgid1/worker")
	logPath    = dbus.ObjectPath("/org/freedesktop/LogControl1")

	poolIface   = "org.scgid1.Pool"
	workerIface = "org.scgid1.Worker"
	logIface    = "org.freedesktop.LogControl1"

	propertiesIface = "org.freedesktop.DBus.Properties"
	introspectIface = "org.freedesktop.DBus.Introspectable"
	managerIface    = "org.freedesktop.DBus.ObjectManager"
)

// Name returns the bus name of an instance.
func Name(instance string) string { return Base + ".app." + Label(instance) }

// Label writes a name as one element of a bus name or path, as systemd's
// sd_bus_path_encode(3) does: letters and digits stay, but for a digit at the
// beginning; any other byte is an underscore and two hexadecimal digits.
func Label(name string) string {
	if name == "" {
		return "_"
	}
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// pathOf returns the path of a worker.
func pathOf(worker uint64) dbus.ObjectPath {
	return workerPath + "/" + dbus.ObjectPath(strconv.FormatUint(worker, 10))
}

// workerAt returns the id in a worker's path, if it is one.
func workerAt(path dbus.ObjectPath) (uint64, bool) {
	text, ok := strings.CutPrefix(string(path), string(workerPath)+"/")
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(text, 10, 64)
	return id, err == nil && id > 0 && pathOf(id) == path
}

// clean makes a text fit for D-Bus, which allows only UTF-8 without NUL.
func clean(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, "\x00") {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
