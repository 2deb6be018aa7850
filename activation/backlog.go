package activation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Backlog returns how many connections wait in the kernel to be accepted from
// the socket, and how many may. For TCP it asks the socket (TCP_INFO of
// tcp(7): on a listener tcpi_unacked and tcpi_sacked), for a Unix socket
// sock_diag(7), as ss -xl does. It may be called from any goroutine.
func (s *Socket) Backlog() (n, limit int, err error) {
	if s.unix {
		return unixBacklog(s.fd)
	}
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockopt", err)
	}
	return int(info.Unacked), int(info.Sacked), nil
}

// From linux/unix_diag.h and linux/sock_diag.h, which x/sys/unix lacks in part.
const (
	sockDiagByFamily = 20
	showQueueLengths = 0x10 // UDIAG_SHOW_RQLEN
	queueLengths     = 4    // UNIX_DIAG_RQLEN: struct { rqueue, wqueue uint32 }
	anyCookie        = 0xffffffff
)

var errNoDiag = errors.New("the kernel did not say how long the socket's queue is")

// unixBacklog asks the kernel about the socket with fd's inode number.
func unixBacklog(fd int) (n, limit int, err error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, 0, os.NewSyscallError("fstat", err)
	}
	diag, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(diag)
	wait := unix.NsecToTimeval(int64(time.Second))
	unix.SetsockoptTimeval(diag, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	if err := unix.Sendto(diag, diagRequest(uint32(stat.Ino)), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, 0, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 4096)
	got, _, err := unix.Recvfrom(diag, buf, 0)
	if err != nil {
		return 0, 0, os.NewSyscallError("recvfrom", err)
	}
	return diagReply(buf[:got])
}

// diagRequest is a nlmsghdr and a unix_diag_req.
func diagRequest(inode uint32) []byte {
	const size = 16 + 24
	native := binary.NativeEndian
	b := native.AppendUint32(nil, size)
	b = native.AppendUint16(b, sockDiagByFamily)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST)
	b = native.AppendUint32(b, 1) // sequence
	b = native.AppendUint32(b, 0) // port
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	b = native.AppendUint32(b, ^uint32(0)) // any state
	b = native.AppendUint32(b, inode)
	b = native.AppendUint32(b, showQueueLengths)
	b = native.AppendUint32(b, anyCookie)
	return native.AppendUint32(b, anyCookie)
}

// diagReply finds the lengths in a nlmsghdr, a unix_diag_msg and attributes.
func diagReply(b []byte) (n, limit int, err error) {
	const headers = 16 + 16
	native := binary.NativeEndian
	if len(b) >= 20 && native.Uint16(b[4:]) == unix.NLMSG_ERROR {
		if errno := -int32(native.Uint32(b[16:])); errno > 0 {
			return 0, 0, fmt.Errorf("sock_diag: %w", unix.Errno(errno))
		}
	}
	if len(b) < headers || native.Uint16(b[4:]) != sockDiagByFamily {
		return 0, 0, errNoDiag
	}
	for b = b[headers:]; len(b) >= 4; {
		size, kind := int(native.Uint16(b)), native.Uint16(b[2:])
		if size < 4 || size > len(b) {
			break
		}
		if kind == queueLengths && size >= 12 {
			return int(native.Uint32(b[4:])), int(native.Uint32(b[8:])), nil
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return 0, 0, errNoDiag
}
