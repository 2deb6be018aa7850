package main

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// sockDiagByFamily is SOCK_DIAG_BY_FAMILY of linux/sock_diag.h.
const sockDiagByFamily = 20

// sockDiag dumps the sockets that req asks for, until take returns true;
// errNoListener if it never does. See sock_diag(7).
func sockDiag(req []byte, take func(msg []byte) bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	limit := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	msg := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(req))
	binary.NativeEndian.PutUint32(msg[0:], uint32(cap(msg)))
	binary.NativeEndian.PutUint16(msg[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(fd, append(msg, req...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	return readDump(fd, take)
}

// readDump reads the messages of a dump.
func readDump(fd int, take func([]byte) bool) error {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		for b := buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return errors.New("a netlink message has a wrong length")
			}
			switch body := b[unix.SizeofNlMsghdr:size]; binary.NativeEndian.Uint16(b[4:]) {
			case unix.NLMSG_DONE:
				return errNoListener
			case unix.NLMSG_ERROR:
				return netlinkError(body)
			case sockDiagByFamily:
				if take(body) {
					return nil
				}
			}
			b = b[min(align4(size), len(b)):]
		}
	}
}

func netlinkError(body []byte) error {
	if len(body) < 4 {
		return errors.New("a netlink error has a wrong length")
	}
	no := unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
	if no == unix.ENOENT {
		return errors.New("this kernel has no sock_diag for such sockets")
	}
	return os.NewSyscallError("sock_diag", no)
}

// netlinkAttrs reads attributes by type; what is malformed ends them.
func netlinkAttrs(b []byte) map[uint16][]byte {
	attrs := map[uint16][]byte{}
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		attrs[binary.NativeEndian.Uint16(b[2:])] = b[unix.SizeofRtAttr:size]
		b = b[min(align4(size), len(b)):]
	}
	return attrs
}

func align4(n int) int { return (n + 3) &^ 3 }
