package main

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// executable returns the name by which sc is executed, and the descriptors that
// it gets. The caller closes aside after the fork; it may be -1.
//
// A binary is executed by the descriptor that was opened and checked, so that it
// is that file whatever its name was given to meanwhile. A script's interpreter
// opens it a second time, by the name that execve(2) was given. By descriptor
// that name is /proc/self/fd/3, and so are $0 of a shell, FindBin of Perl and
// __file__ of Python, by which many scripts find what belongs to them. So that is
// the operator's choice, --pin-scripts; else scripts are executed by their path.
func (s *server) executable(sc script, files []uintptr) (name string, all []uintptr, aside int, err error) {
	switch {
	case sc.fd < 0:
		return sc.path, files, -1, nil
	case isBinary(sc.fd):
		aside, err = above(sc.fd, int(slices.Max(files)))
		return descriptorName(max(aside, sc.fd)), files, aside, err
	case s.pin:
		return descriptorName(len(files)), append(files, uintptr(sc.fd)), -1, nil
	}
	return sc.path, files, -1, nil
}

// isBinary tells whether fd, opened with O_PATH, is in the format that the kernel
// executes by itself. What may be executed and not read is not a script, because
// its interpreter has to read it.
func isBinary(fd int) bool {
	file, err := unix.Open(descriptorName(fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err == unix.EACCES
	}
	defer unix.Close(file)
	var magic [4]byte
	n, _ := unix.Pread(file, magic[:], 0)
	return string(magic[:n]) == "\x7fELF"
}

// above returns a duplicate of fd where syscall.ForkExec would overwrite it in
// the child: it puts copies right behind top, the highest descriptor that it is
// given. Else it returns -1.
func above(fd, top int) (int, error) {
	if fd <= top {
		return -1, nil
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, top+16)
	return dup, os.NewSyscallError("fcntl", err)
}
