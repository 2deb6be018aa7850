package api

import (
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// peerCred returns the process at the other end (SO_PEERCRED, unix(7)): for a
// server the one that connected, for a client the one that listens.
func peerCred(conn *net.UnixConn) (cred *unix.Ucred, err error) {
	err = onSocket(conn, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return os.NewSyscallError("getsockopt(SO_PEERCRED)", err)
	})
	return cred, err
}

// callerOf returns the caller of a connection, with all groups.
func callerOf(conn *net.UnixConn) (who control.Caller, err error) {
	err = onSocket(conn, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return os.NewSyscallError("getsockopt(SO_PEERCRED)", err)
		}
		groups, err := peerGroups(fd)
		who = control.Caller{UID: cred.Uid, GIDs: append(groups, cred.Gid), PID: int(cred.Pid)}
		return err
	})
	return who, err
}

func onSocket(conn *net.UnixConn, do func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// peerGroups asks for the supplementary groups (SO_PEERGROUPS). Their number
// is at most NGROUPS_MAX, 65536; when they do not fit, the kernel says ERANGE
// and how many bytes it wants.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno == unix.ERANGE && int(size) > len(groups)*4 && size <= 65536*4 {
			groups = make([]uint32, size/4)
			continue
		}
		if errno != 0 {
			return nil, os.NewSyscallError("getsockopt(SO_PEERGROUPS)", errno)
		}
		return groups[:size/4], nil
	}
}
