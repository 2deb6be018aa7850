package activation

import (
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Socket is one listening stream socket. It owns its descriptor and, when it
// was opened here on a path, that path. One goroutine at a time may use it.
type Socket struct {
	name      string
	addr      string
	fd        int // -1 once closed
	unix      bool
	inherited bool
	path      string // opened here: removed by Close; "" otherwise
	file      inode  // what path was when it was bound
}

// inode tells one file from every other while it exists. A bound socket holds
// its file's inode, so the number is not used again before the socket closes.
type inode struct{ dev, ino uint64 }

// Name returns the socket's name: FileDescriptorName= for an inherited one
// ("LISTEN_FD_3" and so on when the manager gave none), Options.Name for one
// opened here. Several sockets may share a name.
func (s *Socket) Name() string { return s.name }

// Addr returns the address in a form that Open takes: "/run/x.sock", "@name",
// "127.0.0.1:4000" or "[::1]:4000". The port is the real one where 0 was asked
// for.
func (s *Socket) Addr() string { return s.addr }

// Unix reports whether the socket is of family AF_UNIX.
func (s *Socket) Unix() bool { return s.unix }

// Inherited reports whether the service manager passed the socket.
func (s *Socket) Inherited() bool { return s.inherited }

// FD lends the descriptor: it stays the Socket's and is valid until Close,
// after which FD returns -1.
func (s *Socket) FD() int { return s.fd }

// Close closes the descriptor. Before that it removes the path of a socket
// that was opened here, if the path still is this socket. A second call does
// nothing.
func (s *Socket) Close() error {
	if s.fd < 0 {
		return nil
	}
	// The path goes first: while we still listen, another starter finds us
	// alive and lets the path be, so it cannot become theirs in between.
	err := s.removePath()
	fd := s.fd
	s.fd = -1
	if e := unix.Close(fd); e != nil && err == nil {
		err = os.NewSyscallError("close", e)
	}
	return err
}

func (s *Socket) removePath() error {
	if s.path == "" {
		return nil
	}
	now, _, err := lstat(s.path)
	if err == unix.ENOENT || err == nil && now != s.file {
		return nil
	}
	if err == nil {
		err = unix.Unlink(s.path)
	}
	if err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "unlink", Path: s.path, Err: err}
	}
	return nil
}

// lstat returns which file path is, and its mode as in stat(2).
func lstat(path string) (inode, uint32, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return inode{}, 0, err
	}
	return inodeOf(&st), st.Mode, nil
}

func inodeOf(st *unix.Stat_t) inode {
	return inode{uint64(st.Dev), st.Ino}
}

// boundAddr returns fd's own address as text, and whether it is AF_UNIX.
func boundAddr(fd int) (string, bool, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", false, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrUnix:
		return sa.Name, true, nil // x/sys writes the leading NUL of an abstract name as @
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String(), false, nil
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			a = a.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
		return netip.AddrPortFrom(a, uint16(sa.Port)).String(), false, nil
	}
	return "", false, os.NewSyscallError("getsockname", unix.EAFNOSUPPORT)
}
