package process

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPID is where si_pid lies in siginfo_t: behind three ints, aligned for
// the union's pointers. x/sys/unix has no name for it.
const siginfoPID = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)

// NextZombie returns the pid of a child that has ended and is not reaped yet,
// or 0. It reaps nothing (waitid(2), WNOWAIT).
func NextZombie() int {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0
		}
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), siginfoPID)))
	}
}
