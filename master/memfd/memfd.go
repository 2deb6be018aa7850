// Package memfd makes files in memory that are sealed: a process that
// gets the descriptor, and asks for the seals, knows what cannot change any more.
//
// A file belongs to the caller of New, which closes the descriptor. The package
// keeps nothing, and it does not say what is in a file.
package memfd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Seals are what can be taken from a file for good, see fcntl(2).
type Seals int

const (
	// Fixed is a file of constant size that can be written and mapped: what is
	// cut off from a mapped file kills a process that touches it, by SIGBUS.
	Fixed Seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	// Constant is a file that cannot be changed.
	Constant Seals = Fixed | unix.F_SEAL_WRITE
	// Journal is a Constant file as journald trusts it: systemd 252 wants no
	// other seal, not even the one against execution.
	Journal Seals = Constant | noOther

	noOther Seals = 1 << 30 // ours, not the kernel's
)

// New returns the descriptor of a file in memory with this content and these
// seals. It is close-on-exec, at offset 0, and the caller's. name is what
// /proc/PID/fd shows of the file, no more.
func New(name string, content []byte, seals Seals) (fd int, err error) {
	fd, err = create(name, seals&noOther != 0)
	if err != nil {
		return -1, err
	}
	if err = write(fd, content); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, int(seals&^noOther))
		err = os.NewSyscallError("fcntl", err)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	return fd, nil
}

// create makes an empty file that can be sealed. It is not for execution:
// Linux 6.1 cannot be told so, and a newer one may be set to insist on being
// told (vm.memfd_noexec), in which case mayExec has no effect.
func create(name string, mayExec bool) (fd int, err error) {
	tries := []int{unix.MFD_NOEXEC_SEAL, 0}
	if mayExec {
		tries = []int{unix.MFD_EXEC, 0, unix.MFD_NOEXEC_SEAL}
	}
	for _, flag := range tries {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flag)
		if err != unix.EINVAL && err != unix.EACCES {
			break
		}
	}
	return fd, os.NewSyscallError("memfd_create", err)
}

// write does not move the offset.
func write(fd int, content []byte) error {
	for done := 0; done < len(content); {
		n, err := unix.Pwrite(fd, content[done:], int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("pwrite", err)
		}
		done += n
	}
	return nil
}

// Check returns an error unless fd, which it borrows, is a file with at least
// these seals. size is the file's size in bytes.
func Check(fd int, seals Seals) (size int64, err error) {
	has, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err == unix.EINVAL {
		return 0, fmt.Errorf("it is not a file in memory: %w", os.NewSyscallError("fcntl", err))
	}
	if err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	if seals &^= noOther; Seals(has)&seals != seals {
		return 0, fmt.Errorf("it is not sealed (seals %#x)", has)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	return st.Size, nil
}
