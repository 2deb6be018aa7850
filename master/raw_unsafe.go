package master

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls made for every request, without what x/sys/unix and the
// runtime add to them: an address nobody asked for, and the hand-over of the
// processor that a call which may block needs. None of these blocks.

// accept takes a connection from a non-blocking listener. The connection is
// close-on-exec and blocking: that is what workers want.
func accept(fd int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

// receive is recv(2) with MSG_DONTWAIT. It gives no control buffer: a client
// may attach descriptors, and the kernel drops them.
func receive(fd int, buf []byte, flags int) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])),
			uintptr(len(buf)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// closeFD closes a descriptor whose last reference may be ours; sockets of
// clients do not linger, so it does not wait.
func closeFD(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// keepFileLimit returns a function that sets the limit of open files to what it
// is now. A failed syscall.Exec leaves it at what it was when the process
// began, which may be too low for what is open; and by syscall's own call the
// runtime would forget that value, which children are to get.
func keepFileLimit() (restore func()) {
	var now unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil {
		return func() {}
	}
	return func() {
		unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	}
}
