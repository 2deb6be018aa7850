package worker

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of every request, without what x/sys/unix adds to them (an
// address that nobody asked for) and, where that is safe, without what the
// runtime adds: the note that this thread may be away for long, by which another
// one may take its processor. None of these calls waits: MSG_DONTWAIT says so to
// those that could. So the processor is held only while the kernel copies, and
// a call that may copy more than maxHeld goes the runtime's way: a collection
// that stops all goroutines never waits for more than such a copy.

// maxHeld is how much may be copied with the processor held, in bytes: some ten
// microseconds' worth.
const maxHeld = 64 << 10

// receive is recv(2), with these flags and MSG_DONTWAIT. It gives no control
// buffer: a client may attach descriptors, and the kernel drops them.
func receive(fd int, p []byte, flags int) (int, unix.Errno) {
	return transfer(unix.SYS_RECVFROM, fd, p, flags|unix.MSG_DONTWAIT)
}

// transfer is recvfrom(2) or sendto(2), without an address.
func transfer(call uintptr, fd int, p []byte, flags int) (int, unix.Errno) {
	for {
		var n uintptr
		var errno unix.Errno
		if len(p) > maxHeld {
			n, _, errno = unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(flags), 0, 0)
		} else {
			n, _, errno = unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(flags), 0, 0)
		}
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// maxParts bounds the parts of one send. A reply has three.
const maxParts = 3

// send is sendmsg(2) of the first maxParts parts, none of them empty, with
// MSG_DONTWAIT, and without the signal that the end of the reader would mean.
func send(fd int, parts [][]byte) (int, unix.Errno) {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	if len(parts) == 1 {
		return transfer(unix.SYS_SENDTO, fd, parts[0], flags)
	}
	parts = parts[:min(len(parts), maxParts)]
	var iov [maxParts]unix.Iovec
	for i, p := range parts {
		iov[i].Base = &p[0]
		iov[i].SetLen(len(p))
	}
	msg := unix.Msghdr{Iov: &iov[0]}
	msg.SetIovlen(len(parts))
	for {
		n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), flags)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// shutdown is shutdown(2).
func shutdown(fd, how int) { unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0) }

// closeFD closes a connection, which does not linger and so does not wait.
func closeFD(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }
