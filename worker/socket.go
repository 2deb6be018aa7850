package worker

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/worker/link"
)

// A socket is a passed connection as a net.Conn. Nearly every request has come
// before its connection is passed, and nearly every reply has room in the
// socket's buffer. So each call first does what can be done without waiting, and
// only a call that has to wait makes the descriptor non-blocking and gives it
// to the runtime's poller, for the rest of the connection. What net.FileConn
// does at once costs eleven system calls more.
//
// Deadlines are those of net.Conn. Until there is a file they are no more than
// two times, which are compared when a call begins.
type socket struct {
	fd   int       // owned; the number is valid while users > 0 or !closed
	mark link.Mark // says that a reply has begun

	mu          sync.Mutex // guards what follows; not held while anybody waits
	users       int        // calls in progress that use fd
	closed      bool       // the last user closes fd
	nonblocking bool
	by          [2]time.Time    // deadlines
	file        *os.File        // owns fd instead; nil until a call has to wait
	raw         syscall.RawConn // of file
}

// What a call does, as an index of its deadline.
const (
	reading = 0
	writing = 1
)

// newSocket takes fd, a connected stream socket.
func newSocket(fd int, mark link.Mark) *socket { return &socket{fd: fd, mark: mark} }

// use begins a call. Without an error the caller calls unuse at the end: until
// then the number is not given to another descriptor.
func (s *socket) use() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.users++
	return nil
}

// begin is use, within the deadline of what the call does.
func (s *socket) begin(what int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case isPast(s.by[what]):
		return os.ErrDeadlineExceeded
	}
	s.users++
	return nil
}

func (s *socket) unuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.closed && s.users == 0 {
		s.release()
	}
}

// release closes the descriptor. The caller holds mu.
func (s *socket) release() {
	if s.file != nil {
		s.file.Close()
	} else {
		closeFD(s.fd)
	}
}

// Close implements net.Conn: calls that wait end with net.ErrClosed.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return s.failed("close", net.ErrClosed)
	case s.users == 0:
		s.release()
	case s.file != nil:
		s.file.SetDeadline(time.Unix(1, 0))
	}
	s.closed = true
	return nil
}

// poller is what a call waits with.
func (s *socket) poller() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, net.ErrClosed
	case s.raw != nil:
		return s.raw, nil
	}
	if err := s.setNonblock(); err != nil {
		return nil, err
	}
	s.file = os.NewFile(uintptr(s.fd), "connection") // which takes it
	var err error
	for what, set := range [2]func(time.Time) error{s.file.SetReadDeadline, s.file.SetWriteDeadline} {
		if err == nil && !s.by[what].IsZero() {
			err = set(s.by[what])
		}
	}
	if err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	return s.raw, err
}

// setNonblock is for the poller, and for calls that know no MSG_DONTWAIT. The
// master's duplicate does not block from then on either; it does not care. The
// caller holds mu.
func (s *socket) setNonblock() error {
	if s.nonblocking {
		return nil
	}
	if err := unix.SetNonblock(s.fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	s.nonblocking = true
	return nil
}

// await calls try until that returns true, each time that the descriptor has
// become ready for what the call does. The caller is a user.
func (s *socket) await(what int, try func(fd uintptr) bool) error {
	raw, err := s.poller()
	if err != nil {
		return err
	}
	wait := raw.Read
	if what == writing {
		wait = raw.Write
	}
	err = wait(try)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.closed {
		return net.ErrClosed
	}
	return err
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.begin(reading); err != nil {
		return 0, s.failed("read", err)
	}
	defer s.unuse()
	n, errno := receive(s.fd, p, 0)
	if errno == unix.EAGAIN {
		n, errno, err = s.awaitRead(p)
	}
	return n, s.readError(n, errno, err)
}

func (s *socket) awaitRead(p []byte) (n int, errno unix.Errno, err error) {
	err = s.await(reading, func(fd uintptr) bool {
		n, errno = receive(int(fd), p, 0)
		return errno != unix.EAGAIN
	})
	return n, errno, err
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.writeAll([][]byte{p})
	return int(n), err
}

// writeAll writes the parts, none of which is empty, one after the other: in one
// system call if there is room for them. It uses up the slice.
func (s *socket) writeAll(parts [][]byte) (total int64, err error) {
	if err := s.begin(writing); err != nil {
		return 0, s.failed("write", err)
	}
	defer s.unuse()
	s.mark.Begin()
	for len(parts) > 0 {
		n, errno := send(s.fd, parts)
		if errno == unix.EAGAIN {
			n, errno, err = s.awaitWrite(parts)
		}
		if err = joinErrno("sendmsg", errno, err); err != nil {
			return total, s.failed("write", err)
		}
		total += int64(n)
		parts = consume(parts, n)
	}
	return total, nil
}

func (s *socket) awaitWrite(parts [][]byte) (n int, errno unix.Errno, err error) {
	err = s.await(writing, func(fd uintptr) bool {
		n, errno = send(int(fd), parts)
		return errno != unix.EAGAIN
	})
	return n, errno, err
}

// consume takes the first n bytes from parts.
func consume(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if n > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// shutdown is shutdown(2). That the client was faster (ENOTCONN) is not an error
// that anyone could act upon.
func (s *socket) shutdown(how int) {
	if s.use() == nil {
		defer s.unuse()
		shutdown(s.fd, how)
	}
}

// hasPending tells whether there is anything to be received.
func (s *socket) hasPending() bool {
	if s.use() != nil {
		return false
	}
	defer s.unuse()
	var b [1]byte
	n, _ := receive(s.fd, b[:], unix.MSG_PEEK)
	return n > 0
}

// SetDeadline implements net.Conn.
func (s *socket) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *socket) SetReadDeadline(t time.Time) error { return s.setDeadline(reading, t) }

// SetWriteDeadline implements net.Conn.
func (s *socket) SetWriteDeadline(t time.Time) error { return s.setDeadline(writing, t) }

func (s *socket) setDeadline(what int, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.failed("set", net.ErrClosed)
	}
	s.by[what] = t
	switch {
	case s.file == nil:
		return nil
	case what == reading:
		return s.file.SetReadDeadline(t)
	}
	return s.file.SetWriteDeadline(t)
}

// closeResets has the last close of the connection reset it, as SO_LINGER with
// no time does; see socket(7). It returns false where there is no such thing: on
// a Unix socket.
func (s *socket) closeResets() bool {
	if s.use() != nil {
		return false
	}
	defer s.unuse()
	domain, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain == unix.AF_UNIX {
		return false
	}
	return unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) == nil
}
