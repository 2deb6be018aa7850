package link

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// receiveError keeps the errno of recvmsg(2).
func receiveError(errno unix.Errno) error {
	return os.NewSyscallError("recvmsg", errno)
}

// A Packet is what the master sent to a worker: a connection of which the
// holder owns the descriptor.
type Packet struct {
	ID     uint64
	Waited time.Duration // from accept to pass
	Slot   int           // in the worker's page, or NoSlot
	FD     int           // blocking and close-on-exec; the receiver closes it
}

// maxStray bounds the descriptors that one packet may bring before the kernel
// cuts it off (SCM_MAX_FD of unix(7) is 253).
const maxStray = 253

// Take receives one packet from fd, a worker's end of a link, with the given
// recvmsg(2) flags beside MSG_CMSG_CLOEXEC. The caller owns Packet.FD. The
// error is io.EOF at the end of file, ErrEmpty when MSG_DONTWAIT was given and
// nothing waits, a *ParseError for a packet that is not of this protocol.
//
// Whatever descriptors arrive are collected before anything is judged, and
// those that are not returned are closed: a buffer for one descriptor lets two
// through, silently.
func Take(fd, flags int) (Packet, error) {
	return new(room).take(fd, flags)
}

// take is Take with the memory of r, of which nothing is kept.
func (r *room) take(fd, flags int) (Packet, error) {
	n, oobn, rflags, err := r.recvmsg(fd, flags|unix.MSG_CMSG_CLOEXEC)
	if errors.Is(err, unix.EAGAIN) {
		return Packet{}, ErrEmpty
	}
	if err != nil {
		return Packet{}, err
	}
	fds, err := rights(r.oob[:oobn])
	if err == nil && n == 0 && len(fds) == 0 {
		return Packet{}, io.EOF
	}
	p, perr := judge(r.packet[:n], fds, rflags)
	if err = errors.Join(err, perr); err != nil {
		closeAll(fds)
		return Packet{}, err
	}
	return p, nil
}

// Recall receives one packet from fd, a worker's end of a link, in place of the
// worker, and returns the id of its connection. It never waits; the error is as
// of Take. It has no use for the descriptor, and gives no room for it, so the
// kernel drops it: a process that may open no more gets its packet all the same.
//
// It passes over GO=1, which a worker that was forked may not have received.
func Recall(fd int) (id uint64, err error) {
	var buf [MaxMessage]byte
	n, _, flags, err := recvmsg(fd, buf[:], nil, unix.MSG_DONTWAIT)
	if err == nil && bytes.Equal(buf[:n], goMessage) {
		return Recall(fd)
	}
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, ErrEmpty
	case err != nil:
		return 0, os.NewSyscallError("recvmsg", err)
	case n == 0 && flags&unix.MSG_CTRUNC == 0:
		return 0, io.EOF
	case flags&unix.MSG_TRUNC != 0:
		return 0, &ParseError{"a packet longer than the protocol allows"}
	}
	id, _, _, err = parseConn(buf[:n])
	return id, err
}

// judge makes a Packet of what arrived. It borrows the descriptors.
func judge(packet []byte, fds []int, flags int) (Packet, error) {
	if flags&unix.MSG_CTRUNC != 0 { // also at EMFILE, which recvmsg does not report
		return Packet{}, &ParseError{"a descriptor was cut off: too many came, or this process may open no more"}
	}
	if flags&unix.MSG_TRUNC != 0 {
		return Packet{}, &ParseError{"a packet longer than the protocol allows"}
	}
	if len(fds) != 1 {
		return Packet{}, &ParseError{"a packet without exactly one descriptor"}
	}
	id, waited, slot, err := parseConn(packet)
	return Packet{ID: id, Waited: waited, Slot: slot, FD: fds[0]}, err
}

// recvmsg passes over ECONNRESET. Linux reports it once, before the packets
// that are still queued, when the other end closed with packets unread: a
// master that died before it read a DONE. The next call continues.
func recvmsg(fd int, p, oob []byte, flags int) (n, oobn, rflags int, err error) {
	for {
		n, oobn, rflags, _, err = unix.Recvmsg(fd, p, oob, flags)
		if err != unix.EINTR && err != unix.ECONNRESET {
			return n, oobn, rflags, err
		}
	}
}

// rights collects every descriptor of the control data.
func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, &ParseError{"unreadable control data"}
	}
	var all []int
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err == nil {
			all = append(all, fds...)
		}
	}
	return all, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
