package process

import (
	"fmt"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// journalStdout is where the journal takes streams of lines.
const journalStdout = "/run/systemd/journal/stdout"

// identifierMax bounds what a stream is called, in bytes.
const identifierMax = 256

// JournalStream opens a stream of lines in the journal, as the service manager
// does for a service's output: identifier becomes SYSLOG_IDENTIFIER of each
// line, "<N>" in front of a line its priority, which is info without. The
// journal takes process and unit of a line from the process that writes it.
//
// It does not wait: a journal that takes no more connections at the moment is
// an error. The caller owns the descriptor, which is blocking and
// close-on-exec.
func JournalStream(identifier string) (fd int, err error) {
	return streamAt(journalStdout, identifier)
}

func streamAt(socket, identifier string) (fd int, err error) {
	if identifier == "" || len(identifier) > identifierMax || strings.ContainsFunc(identifier, unicode.IsControl) {
		return -1, fmt.Errorf("%.40q cannot name a stream in the journal", identifier)
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := beginStream(fd, socket, identifier); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot open a stream at %s: %w", socket, err)
	}
	return fd, nil
}

// beginStream connects and says what the stream is: its identifier, no unit
// (which the journal knows better), the priority, whether lines may begin with
// theirs, and whether it is copied to syslog, the kernel's log or the console.
func beginStream(fd int, socket, identifier string) error {
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return os.NewSyscallError("connect", err)
	}
	if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
		return os.NewSyscallError("shutdown", err)
	}
	// An empty buffer holds it, so that nothing is left to be written.
	head := identifier + "\n\n6\n1\n0\n0\n0\n"
	if _, err := unix.SendmsgN(fd, []byte(head), nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	return os.NewSyscallError("fcntl", unix.SetNonblock(fd, false))
}

// withStream returns c with the stream that Command.Journal asks for as its
// output, and an error with c as it is if there can be none. The function
// closes the stream, of which the process has a copy by then.
func (c Command) withStream() (Command, func(), error) {
	if c.Journal == "" {
		return c, func() {}, nil
	}
	socket := c.journalAt
	if socket == "" {
		socket = journalStdout
	}
	fd, err := streamAt(socket, c.Journal)
	if err != nil {
		return c, func() {}, err
	}
	c.Stdout, c.Stderr = fd, fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil {
		// By this a program knows that its output is the journal; see
		// systemd.exec(5).
		c.Env = append(c.Env[:len(c.Env):len(c.Env)], fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino))
	}
	return c, func() { unix.Close(fd) }, nil
}
