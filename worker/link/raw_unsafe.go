package link

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// x/sys/unix allocates for a socket address on each recvmsg and prepares a
// copy of the control data on each sendmsg. These calls are made for every
// request, so they are written out here; nothing else in the package is unsafe.

// oobSize is CMSG_SPACE of one descriptor.
const oobSize = (unix.SizeofCmsghdr+7)&^7 + 8

// A Sender holds the buffers of SendConn. The zero value is ready. It is not
// for use by two goroutines at a time.
type Sender struct {
	text [64]byte
	oob  [oobSize]byte
	iov  unix.Iovec
	msg  unix.Msghdr
}

// SendConn gives the worker behind fd, the master's end of its link, a copy of
// the connection conn, with a slot of the worker's page or NoSlot. It borrows both descriptors: the caller still closes
// them, whatever the error. It never blocks. ErrFull, ErrLeaving and ErrBusy
// mean what they say; any other error names the system call.
func (s *Sender) SendConn(fd int, id uint64, waited time.Duration, slot, conn int) error {
	text := appendConn(s.text[:0], id, waited, slot)
	s.iov.Base = &text[0]
	s.iov.SetLen(len(text))

	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.oob[0]))
	h.Level = unix.SOL_SOCKET
	h.Type = unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4))
	*(*int32)(unsafe.Pointer(&s.oob[unix.CmsgLen(0)])) = int32(conn)

	s.msg = unix.Msghdr{Iov: &s.iov, Control: &s.oob[0]}
	s.msg.Iovlen = 1
	s.msg.SetControllen(len(s.oob))
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&s.msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno != unix.EINTR {
			return sendError(errno)
		}
	}
}

// A Receiver holds the buffers of Receive. The zero value is ready. It is not
// for use by two goroutines at a time.
type Receiver struct {
	buf [MaxMessage]byte
	iov unix.Iovec
	msg unix.Msghdr
}

// Receive takes one packet of the worker from fd, the master's end of its
// link. The packet is valid until the next call. It never blocks: without a
// packet the error is ErrEmpty. Descriptors that a worker sends are dropped by
// the kernel, because no buffer is offered for them, and make the packet a
// violation like one that is too long. An empty packet without an error is
// either an empty packet or the end of file: seqpacket sockets do not tell
// them apart.
func (r *Receiver) Receive(fd int) ([]byte, error) {
	r.iov.Base = &r.buf[0]
	r.iov.SetLen(len(r.buf))
	r.msg = unix.Msghdr{Iov: &r.iov}
	r.msg.Iovlen = 1
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&r.msg)), unix.MSG_DONTWAIT)
		switch {
		case errno == unix.EINTR, errno == unix.ECONNRESET: // as in recvmsg
			continue
		case errno == unix.EAGAIN:
			return nil, ErrEmpty
		case errno != 0:
			return nil, receiveError(errno)
		case r.msg.Flags&unix.MSG_CTRUNC != 0:
			return nil, &ParseError{"it sent descriptors or credentials"}
		case r.msg.Flags&unix.MSG_TRUNC != 0:
			return nil, &ParseError{"a packet longer than the protocol allows"}
		}
		return r.buf[:n], nil
	}
}

// A room is the memory for one packet of the master: what Take needs.
type room struct {
	packet [MaxMessage]byte
	oob    [maxStray*4 + unix.SizeofCmsghdr + 4]byte
	iov    unix.Iovec
	msg    unix.Msghdr
}

// recvmsg is recvmsg(2) with the errors of the function of that name. It may
// wait, so the runtime is told.
func (r *room) recvmsg(fd, flags int) (n, oobn, rflags int, err error) {
	r.iov.Base = &r.packet[0]
	r.iov.SetLen(len(r.packet))
	for {
		r.msg = unix.Msghdr{Iov: &r.iov, Control: &r.oob[0]}
		r.msg.SetIovlen(1)
		r.msg.SetControllen(len(r.oob))
		n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msg)), uintptr(flags))
		switch errno {
		case 0:
			return int(n), int(r.msg.Controllen), int(r.msg.Flags), nil
		case unix.EINTR, unix.ECONNRESET: // as in recvmsg
		default:
			return 0, 0, 0, receiveError(errno)
		}
	}
}

// sendNow sends text and never waits, so it may hold the processor.
func sendNow(fd int, text []byte) unix.Errno {
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&text[0])),
			uintptr(len(text)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}
