package worker

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// LocalAddr implements net.Conn. Few ask for it, so each call asks the kernel.
func (s *socket) LocalAddr() net.Addr {
	local, _ := s.addrs()
	return local
}

// RemoteAddr implements net.Conn.
func (s *socket) RemoteAddr() net.Addr {
	_, remote := s.addrs()
	return remote
}

// addrs has package net make the addresses, from a duplicate of the descriptor.
func (s *socket) addrs() (local, remote net.Addr) {
	none := &net.UnixAddr{Net: "unix"}
	if s.use() != nil {
		return none, none
	}
	defer s.unuse()
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return none, none
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return none, none
	}
	defer c.Close()
	return c.LocalAddr(), c.RemoteAddr()
}

// readError is what Read returns beside n.
func (s *socket) readError(n int, errno unix.Errno, err error) error {
	if err = joinErrno("recvfrom", errno, err); err != nil {
		return s.failed("read", err)
	}
	if n == 0 {
		return io.EOF
	}
	return nil
}

// joinErrno returns the error of a wait, else that of the system call.
func joinErrno(call string, errno unix.Errno, err error) error {
	if err == nil && errno != 0 {
		err = os.NewSyscallError(call, errno)
	}
	return err
}

// failed makes err one of a net.Conn.
func (s *socket) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "scgid", Err: err}
}

// SyscallConn implements syscall.Conn. The descriptor does not block.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	return rawSocket{s}, s.setNonblock()
}

// A rawSocket is the syscall.RawConn of a socket: it too gives the descriptor to
// the poller only when there is something to wait for.
type rawSocket struct{ s *socket }

// Control implements syscall.RawConn.
func (r rawSocket) Control(f func(fd uintptr)) error {
	if err := r.s.use(); err != nil {
		return err
	}
	defer r.s.unuse()
	f(uintptr(r.s.fd))
	return nil
}

// Read implements syscall.RawConn.
func (r rawSocket) Read(f func(fd uintptr) bool) error { return r.try(reading, f) }

// Write implements syscall.RawConn.
func (r rawSocket) Write(f func(fd uintptr) bool) error { return r.try(writing, f) }

func (r rawSocket) try(what int, f func(fd uintptr) bool) error {
	if err := r.s.begin(what); err != nil {
		return err
	}
	defer r.s.unuse()
	if f(uintptr(r.s.fd)) {
		return nil
	}
	return r.s.await(what, f)
}

var (
	_ net.Conn        = (*socket)(nil)
	_ syscall.Conn    = (*socket)(nil)
	_ syscall.RawConn = rawSocket{}
)
