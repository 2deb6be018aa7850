package link

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNoMaster means that the process was not started by a master.
var ErrNoMaster = errors.New("no master: " + EnvFD + " is not set; start this program as the command of scgid run or of ExecStart=")

// An End is a worker's end of its link, for a worker written in Go. Its
// methods may be used by several goroutines at a time.
type End struct {
	file *os.File
	raw  syscall.RawConn
}

// Inherit takes the descriptor that the master named in the environment, sets
// close-on-exec on it and removes the variable, so that neither reaches a
// child. The End owns the descriptor.
func Inherit() (*End, error) {
	value, ok := os.LookupEnv(EnvFD)
	if !ok {
		return nil, ErrNoMaster
	}
	os.Unsetenv(EnvFD)
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("%s=%q is not a descriptor", EnvFD, value)
	}
	if v := os.Getenv(EnvProtocol); v != "" && v != strconv.Itoa(Protocol) {
		return nil, fmt.Errorf("the master speaks protocol %q, this worker protocol %d", v, Protocol)
	}
	unix.CloseOnExec(fd)
	return NewEnd(fd)
}

// NewEnd takes fd, a worker's end of a link; it is closed also on error.
func NewEnd(fd int) (*End, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil && kind != unix.SOCK_SEQPACKET {
		err = unix.EPROTOTYPE
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("descriptor %d is not a link: %w", fd, os.NewSyscallError("getsockopt", err))
	}
	// The flag lies on the description that the master's duplicate shares;
	// the master says MSG_DONTWAIT on each call and does not notice.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "link")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &End{file: file, raw: raw}, nil
}

// Receive waits for the next connection. The caller owns its descriptor, which
// is blocking. io.EOF means: finish what you hold, then exit 0.
func (e *End) Receive() (Packet, error) {
	var p Packet
	var err error
	rerr := e.raw.Read(func(fd uintptr) bool {
		p, err = Take(int(fd), unix.MSG_DONTWAIT)
		return err != ErrEmpty
	})
	if rerr != nil {
		return Packet{}, rerr
	}
	return p, err
}

// Ready tells the master that the worker takes up to slots connections at a
// time. dumpSignal names the signal, without SIG, at which it writes a stack
// dump to stderr, or is empty.
func (e *End) Ready(slots int, dumpSignal string) error {
	text := "READY=1\nSLOTS=" + strconv.Itoa(slots)
	if dumpSignal != "" {
		text += "\nDUMPSIGNAL=" + dumpSignal
	}
	return e.send([]byte(text))
}

// Done tells the master that connection id is finished. Close its descriptor
// first: the master takes the slot for free from here on.
func (e *End) Done(id uint64, code int, length int64) error {
	return e.send(done(id, code, length))
}

// Cut is Done for a reply that ended early.
func (e *End) Cut(id uint64, code int, length int64) error {
	return e.send(append(done(id, code, length), "\nCUT=1"...))
}

func done(id uint64, code int, length int64) []byte {
	text := make([]byte, 0, 64)
	text = strconv.AppendUint(append(text, "DONE="...), id, 10)
	if code > 0 {
		text = strconv.AppendInt(append(text, "\nCODE="...), int64(code), 10)
	}
	if length > 0 {
		text = strconv.AppendInt(append(text, "\nBYTES="...), length, 10)
	}
	return text
}

// Fail tells the master that the worker cannot start, and why.
func (e *End) Fail(reason string) error { return e.send([]byte("FAILED=" + line(reason))) }

// Status gives the master a line to show for this worker.
func (e *End) Status(text string) error { return e.send([]byte("STATUS=" + line(text))) }

// Leave stops the flow of connections: Receive returns those already sent,
// then io.EOF, and the master finds the worker leaving. It is one system call,
// idempotent, and all that a SIGTERM handler has to do.
func (e *End) Leave() error {
	var err error
	cerr := e.raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("shutdown", unix.Shutdown(int(fd), unix.SHUT_RD))
	})
	return errors.Join(cerr, err)
}

// Close closes the link.
func (e *End) Close() error { return e.file.Close() }

// send waits for room: a DONE must not be lost.
func (e *End) send(text []byte) error {
	var err error
	werr := e.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), text, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		return err != unix.EAGAIN
	})
	return errors.Join(werr, os.NewSyscallError("sendto", err))
}

// line makes text one bounded line of a message.
func line(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, text)
	return text[:min(len(text), MaxMessage/2)]
}
