package activation

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sockDiagByFamily is SOCK_DIAG_BY_FAMILY of linux/sock_diag.h.
const sockDiagByFamily = 20

// sockDiagWait is how long the kernel may take to answer.
const sockDiagWait = time.Second

// sockDiag asks for the sockets that req describes, of which there are several
// with NLM_F_DUMP among flags, and has take look at each until it returns true.
// The error is ErrNoListener if it never does. See sock_diag(7).
func sockDiag(req []byte, flags uint16, take func(msg []byte) bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(sockDiagWait))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	msg := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(req))
	binary.NativeEndian.PutUint32(msg[0:], uint32(cap(msg)))
	binary.NativeEndian.PutUint16(msg[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|flags)
	if err := unix.Sendto(fd, append(msg, req...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	return readAnswers(fd, flags&unix.NLM_F_DUMP != 0, take)
}

// readAnswers reads the datagrams of a dump, or a single one.
func readAnswers(fd int, dump bool, take func([]byte) bool) error {
	size := 4 << 10
	if dump {
		size = 64 << 10
	}
	buf := make([]byte, size)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		done, err := eachMessage(buf[:n], take)
		switch {
		case done || err != nil:
			return err
		case !dump:
			return ErrNoListener
		}
	}
}

// eachMessage has take look at the messages of a datagram, and says whether it
// took one.
func eachMessage(b []byte, take func([]byte) bool) (bool, error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false, errors.New("a netlink message has a wrong length")
		}
		switch body := b[unix.SizeofNlMsghdr:size]; binary.NativeEndian.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			return false, ErrNoListener
		case unix.NLMSG_ERROR:
			return false, netlinkError(body)
		case sockDiagByFamily:
			if take(body) {
				return true, nil
			}
		}
		b = b[min(align4(size), len(b)):]
	}
	return false, nil
}

// netlinkError reads the errno of struct nlmsgerr, which is negative. The kernel
// says ENOENT where the module for a family is missing.
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
