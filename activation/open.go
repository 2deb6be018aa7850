package activation

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What a zero Options stands for.
const (
	DefaultName                = "scgi"
	DefaultMode    os.FileMode = 0o660
	DefaultBacklog             = 4096
)

// Options say how Open opens a socket.
type Options struct {
	Name    string      // the Socket's name; "" is DefaultName
	Mode    os.FileMode // permissions of a path, whatever the umask; 0 is DefaultMode
	Backlog int         // as of listen(2); 0 or less is DefaultBacklog; the kernel bounds it by net.core.somaxconn

	lockWait time.Duration // for another starter in the same directory; 0 is the constant
}

func (o Options) filled() (Options, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Mode == 0 {
		o.Mode = DefaultMode
	}
	if o.Backlog <= 0 {
		o.Backlog = DefaultBacklog
	}
	if o.lockWait == 0 {
		o.lockWait = lockWait
	}
	if o.Mode&^os.ModePerm != 0 {
		return o, fmt.Errorf("mode %v is more than permissions", o.Mode)
	}
	return o, nil
}

// Open opens a listening socket; the caller owns it. addr is one of
//
//	/path  unix:/path            a Unix socket; the path is absolute
//	@name  unix:@name            an abstract Unix socket
//	127.0.0.1:4000  [::1]:4000   TCP; port 0 lets the kernel choose
//	localhost:4000               TCP; the name's first address, and only that
//	tcp:host:port                any of the TCP forms
//
// [::]:4000 takes IPv6 only. An address without a host is refused.
//
// A path that a dead server left behind is replaced. A path on which a server
// answers, or that is not a socket, is an error and stays. No client can connect
// before the path has exactly the permissions of Options.Mode.
func Open(addr string, o Options) (*Socket, error) {
	s, err := open(addr, o)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	return s, nil
}

// OpenAll opens several addresses, all of them or none. The sockets are named
// Options.Name, then Options.Name-2, -3 and so on.
func OpenAll(addrs []string, o Options) ([]*Socket, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	var sockets []*Socket
	for i, addr := range addrs {
		each := o
		if i > 0 {
			each.Name = o.Name + "-" + strconv.Itoa(i+1)
		}
		s, err := Open(addr, each)
		if err != nil {
			closeSockets(sockets)
			return nil, err
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

func open(addr string, o Options) (*Socket, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	a, err := parseAddress(addr)
	if err != nil {
		return nil, err
	}
	sa, family, err := a.sockaddr()
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &Socket{name: o.Name, fd: fd, unix: family == unix.AF_UNIX}
	if a.path() {
		err = s.listenPath(a.name, o)
	} else {
		err = s.listen(sa, family, o.Backlog)
	}
	if err == nil {
		s.addr, _, err = boundAddr(fd)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// listen is for addresses without a file: TCP and abstract names.
func (s *Socket) listen(sa unix.Sockaddr, family, backlog int) error {
	if family != unix.AF_UNIX {
		// Connections of the server before us may linger in TIME_WAIT.
		if err := s.set(unix.SOL_SOCKET, unix.SO_REUSEADDR); err != nil {
			return err
		}
	}
	if family == unix.AF_INET6 {
		// An address means itself, not its IPv4 namesake as well.
		if err := s.set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err != nil {
			return err
		}
	}
	call, err := "bind", unix.Bind(s.fd, sa)
	if err == nil {
		call, err = "listen", unix.Listen(s.fd, backlog)
	}
	if err == unix.EADDRINUSE {
		return inUse(call, sa)
	}
	return os.NewSyscallError(call, err)
}

func (s *Socket) set(level, opt int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(s.fd, level, opt, 1))
}

// inUse says, for an address that is taken, by whom.
func inUse(call string, sa unix.Sockaddr) error {
	err := os.NewSyscallError(call, unix.EADDRINUSE)
	if ua, ok := sa.(*unix.SockaddrUnix); ok {
		if live := answers(ua.Name); live != nil {
			return live
		}
		return err // its server left between our two looks
	}
	if answersTCP(sa) {
		return fmt.Errorf("%w: another server answers on it", err)
	}
	return fmt.Errorf("%w: another socket holds it", err)
}

// answers returns nil if no server answers on the Unix name, EADDRINUSE with
// what is known of the server if one does, and another error if that cannot be
// told.
func answers(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	switch err = unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err {
	case nil:
		return answeredBy(fd)
	case unix.ECONNREFUSED, unix.ENOENT:
		return nil
	case unix.EAGAIN: // its backlog is full
		return fmt.Errorf("%w: another server answers on it", unix.EADDRINUSE)
	case unix.EPROTOTYPE:
		return fmt.Errorf("%w: another program uses it as a socket that is not a stream", unix.EADDRINUSE)
	}
	return fmt.Errorf("cannot tell whether a server answers on it: %w", os.NewSyscallError("connect", err))
}

// answeredBy names the process that listens at the other end of fd.
func answeredBy(fd int) error {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || peer.Pid == 0 { // 0: of another PID namespace
		return fmt.Errorf("%w: another server answers on it", unix.EADDRINUSE)
	}
	return fmt.Errorf("%w: another server (pid %d) answers on it", unix.EADDRINUSE, peer.Pid)
}

func answersTCP(sa unix.Sockaddr) bool {
	ta := new(net.TCPAddr)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		ta.IP, ta.Port = sa.Addr[:], sa.Port
	case *unix.SockaddrInet6:
		ta.IP, ta.Port = sa.Addr[:], sa.Port
		if sa.ZoneId != 0 {
			ta.Zone = strconv.FormatUint(uint64(sa.ZoneId), 10)
		}
	}
	c, err := net.DialTimeout("tcp", ta.String(), time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
