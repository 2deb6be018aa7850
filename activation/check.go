package activation

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// checkListening returns nil if fd is a listening stream socket of a family
// that can be served, else an error that begins with "is" and says what it is.
func checkListening(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("is %s", fileKind(st.Mode))
	}
	domain, typ, listening, err := socketKind(fd)
	switch {
	case err != nil:
		return err
	case !served(domain):
		return fmt.Errorf("is %s", familyKind(domain))
	case typ != unix.SOCK_STREAM:
		return fmt.Errorf("is %s", typeKind(typ))
	case !listening:
		return notListening(fd)
	}
	return nil
}

func served(domain int) bool {
	return domain == unix.AF_UNIX || domain == unix.AF_INET || domain == unix.AF_INET6
}

func socketKind(fd int) (domain, typ int, listening bool, err error) {
	ask := func(opt int) int {
		v, e := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
		if e != nil && err == nil {
			err = os.NewSyscallError("getsockopt", e)
		}
		return v
	}
	domain, typ, listening = ask(unix.SO_DOMAIN), ask(unix.SO_TYPE), ask(unix.SO_ACCEPTCONN) != 0
	return domain, typ, listening, err
}

func notListening(fd int) error {
	if _, err := unix.Getpeername(fd); err == nil {
		return errors.New("is a connected stream socket: the socket unit says Accept=yes; remove that line")
	}
	return errors.New("is a stream socket that does not listen")
}

// fileKind names what a mode of stat(2) stands for, with its article.
func fileKind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a regular file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a pipe"
	case unix.S_IFCHR:
		return "a character device"
	case unix.S_IFBLK:
		return "a block device"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "not a socket" // epoll, eventfd and their like have no type
}

func typeKind(typ int) string {
	switch typ {
	case unix.SOCK_DGRAM:
		return "a datagram socket"
	case unix.SOCK_SEQPACKET:
		return "a sequential-packet socket"
	case unix.SOCK_RAW:
		return "a raw socket"
	}
	return fmt.Sprintf("a socket of type %d", typ)
}

func familyKind(domain int) string {
	switch domain {
	case unix.AF_NETLINK:
		return "a netlink socket"
	case unix.AF_VSOCK:
		return "a vsock socket"
	}
	return fmt.Sprintf("a socket of address family %d", domain)
}
