package link

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrNoMaster means that the process was not started by a master.
var ErrNoMaster = errors.New("no master: " + EnvFD + " is not set; start this program as the command of scgid run or of ExecStart=")

// An End is a worker's end of its link, for a worker written in Go. Its
// methods may be used by several goroutines at a time.
//
// One goroutine at a time waits for a connection, in recvmsg(2) itself as a
// worker in C does: in the runtime's poller each connection would cost a receive
// in vain, the poller's own wait and the wake-up of a thread. The runtime knows
// of the wait, as of every blocking system call, and the thread's processor
// serves other goroutines meanwhile. The other goroutines that want a connection
// wait for their turn without a thread.
type End struct {
	receiving sync.Mutex  // held by the goroutine that receives
	room      room        // its memory
	sending   sync.Mutex  // held by one that waits for room
	closed    atomic.Bool // Close was called
	page      *Page       // nil without one; it stays mapped, as connections may outlive the link

	mu sync.RWMutex // held for reading by all who use fd
	fd int          // -1 after Close
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
	// Whoever started us may have left it non-blocking.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &End{fd: fd}, nil
}

// UsePage has connections published in the page that the master named in the
// environment, if it named one of a version that we know. The worker says so by Ready, and from then on calls
// the methods of each connection's Mark. It removes the variable and closes the
// descriptor.
func (e *End) UsePage() error {
	value, ok := os.LookupEnv(EnvPage)
	if !ok {
		return nil
	}
	os.Unsetenv(EnvPage)
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 0 {
		return fmt.Errorf("%s=%q is not a descriptor", EnvPage, value)
	}
	defer unix.Close(fd)
	page, err := MapPage(fd)
	if err != nil {
		return err
	}
	if string(page.mem[:len(pageMagic)]) != pageMagic {
		page.Close() // another version: we do without
		return nil
	}
	e.page = page
	return nil
}

// Mark returns the place of a connection in the page.
func (e *End) Mark(p Packet) Mark {
	if e.page == nil || p.Slot < 0 || p.Slot >= PageSlots {
		return Mark{}
	}
	return Mark{page: e.page, word: firstSlot + p.Slot*slotWords, id: p.ID & idMask}
}

// use lends the descriptor until unuse, which is called also after an error.
func (e *End) use() (fd int, err error) {
	e.mu.RLock()
	if e.fd < 0 {
		return -1, os.ErrClosed
	}
	return e.fd, nil
}

func (e *End) unuse() { e.mu.RUnlock() }

// Receive waits for the next connection. The caller owns its descriptor, which
// is blocking. io.EOF means: finish what you hold, then exit 0.
func (e *End) Receive() (Packet, error) {
	e.receiving.Lock()
	defer e.receiving.Unlock()
	fd, err := e.use()
	defer e.unuse()
	if err != nil {
		return Packet{}, err
	}
	p, err := e.room.take(fd, 0)
	if err == io.EOF && e.closed.Load() {
		err = os.ErrClosed
	}
	return p, err
}

// Ready tells the master that the worker takes up to slots connections at a
// time. dumpSignal names the signal, without SIG, at which it writes a stack
// dump to stderr, or is empty.
func (e *End) Ready(slots int, dumpSignal string) error {
	text := "READY=1\nSLOTS=" + strconv.Itoa(slots)
	if e.page != nil && slots <= PageSlots {
		text += "\nPAGE=1"
	}
	if dumpSignal != "" {
		text += "\nDUMPSIGNAL=" + dumpSignal
	}
	return e.send([]byte(text))
}

// Done tells the master that connection id is finished. Close its descriptor
// first: the master takes the slot for free from here on. With a page it is a
// wake-up, and left out unless the connection's Mark is Asked.
func (e *End) Done(id uint64, code int, length int64) error {
	return e.send(done(id, code, length))
}

// Cut is Done for a reply that ended early. It is always sent: the master's
// duplicate may hold up the end that the client is to see.
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
func (e *End) Leave() error { return e.shutdown(unix.SHUT_RD) }

func (e *End) shutdown(how int) error {
	fd, err := e.use()
	defer e.unuse()
	if err != nil {
		return err
	}
	return os.NewSyscallError("shutdown", unix.Shutdown(fd, how))
}

// Close closes the link. Calls that wait return first.
func (e *End) Close() error {
	if e.closed.Swap(true) {
		return os.ErrClosed
	}
	err := e.shutdown(unix.SHUT_RDWR)
	if errors.Is(err, unix.ENOTCONN) { // the master is gone
		err = nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	cerr := os.NewSyscallError("close", unix.Close(e.fd))
	e.fd = -1
	return errors.Join(err, cerr)
}

// send waits for room: a DONE must not be lost. Where there is none, one
// goroutine at a time waits in the kernel, and the others for that one.
func (e *End) send(text []byte) error {
	fd, err := e.use()
	defer e.unuse()
	if err != nil {
		return err
	}
	errno := sendNow(fd, text)
	if errno == unix.EAGAIN {
		e.sending.Lock()
		defer e.sending.Unlock()
		return os.NewSyscallError("sendto", sendWaiting(fd, text))
	}
	if errno != 0 {
		return os.NewSyscallError("sendto", errno)
	}
	return nil
}

// sendWaiting passes over signals.
func sendWaiting(fd int, text []byte) error {
	for {
		err := unix.Sendto(fd, text, unix.MSG_NOSIGNAL, nil)
		if err != unix.EINTR {
			return err
		}
	}
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
