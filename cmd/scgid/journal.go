package main

import (
	"encoding/binary"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/master/memfd"
)

// The journal's native protocol, see
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL. Not by go-systemd's Send: its
// socket does not block, and while the journal's queue is full it does nothing
// but try again, at the expense of a processor.

// journalSocket is where the journal takes entries.
const journalSocket = "/run/systemd/journal/socket"

// A journalWriter sends entries to the journal.
type journalWriter struct {
	fd int
	to unix.SockaddrUnix
}

// openJournal says whether stderr is the journal, and if so returns a way to
// it, by the socket at this path, that keeps fields apart; nil if there is none.
func openJournal(socket string) (w *journalWriter, isJournal bool) {
	isJournal, err := journal.StderrIsJournalStream()
	if err != nil || !isJournal {
		return nil, false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, true
	}
	// Not connected: the path may be another socket's one day.
	return &journalWriter{fd, unix.SockaddrUnix{Name: socket}}, true
}

// send sends one entry; it waits while the journal's queue is full. One too
// large for a datagram goes as a sealed file.
func (w *journalWriter) send(entry []byte) error {
	err := w.datagram(entry, nil)
	if err != unix.EMSGSIZE && err != unix.ENOBUFS {
		return os.NewSyscallError("sendmsg", err)
	}
	fd, err := memfd.New("scgid-log", entry, memfd.Journal)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return os.NewSyscallError("sendmsg", w.datagram(nil, unix.UnixRights(fd)))
}

func (w *journalWriter) datagram(data, oob []byte) error {
	for {
		err := unix.Sendmsg(w.fd, data, oob, &w.to, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// entry is a line with its fields: ours begin with SCGID_. Members of a group
// are fields as if there were none.
func (h *lines) entry(text string, level slog.Level, attrs []slog.Attr) []byte {
	b := appendField(nil, "MESSAGE", text)
	b = appendField(b, "PRIORITY", strconv.Itoa(priority(level)))
	b = appendField(b, "SYSLOG_IDENTIFIER", "scgid")
	b = appendField(b, "SCGID_APP", h.pool)
	for _, a := range attrs {
		b = appendAttr(b, a)
	}
	return b
}

func appendAttr(b []byte, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		for _, member := range v.Group() {
			b = appendAttr(b, member)
		}
		return b
	}
	if name, ok := fieldName(a.Key); ok {
		b = appendField(b, name, v.String())
	}
	return b
}

// fieldMax is the length of the longest name of a field.
const fieldMax = 64

// fieldName makes the name of a field from that of an attribute. The journal
// drops others than of letters, digits and "_" without a word.
func fieldName(key string) (string, bool) {
	name := "SCGID_" + strings.ToUpper(key)
	odd := strings.ContainsFunc(name, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' })
	return name, key != "" && !odd && len(name) <= fieldMax && name != "SCGID_APP"
}

// appendField writes "NAME=value", or where the value has more than a line the
// form that has its length.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.Contains(value, "\n") {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	return append(append(b, value...), '\n')
}
