package poller

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollPwait is epoll_pwait(2) without what the runtime adds to a call that may
// block: the hand-over of the processor. This one means to keep it; see holdFor.
func epollPwait(fd int, events []Event, ms int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 8)
	return int(n), errno
}
