package main

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through, as for the
// kernel; path_resolution(7).
const maxLinks = 40

// A walk opens a path beneath a directory, one component after the other, where
// openat2(2) may not be called: RestrictSUIDSGID= of systemd takes it away, as a
// filter of system calls cannot look into its argument.
//
// Going up is going back to a directory that is still open, and no name but a
// single one is ever given to the kernel, so that the walk does not leave the
// directory whatever is renamed meanwhile.
type walk struct {
	open  []int    // opened with O_PATH, each beneath the one before; the first is not ours
	parts []string // still to go
	links int
}

// walkBeneath is openat2 with RESOLVE_BENEATH. Its errors are the same; the
// caller owns the descriptor.
func walkBeneath(root int, rel string) (int, error) {
	w := &walk{open: []int{root}}
	defer func() {
		for _, fd := range w.open[1:] {
			unix.Close(fd)
		}
	}()
	if err := w.add(rel); err != nil {
		return -1, err
	}
	for len(w.parts) > 0 {
		part := w.parts[0]
		w.parts = w.parts[1:]
		if err := w.step(part); err != nil {
			return -1, err
		}
	}
	last := len(w.open) - 1
	if last == 0 {
		return unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0)
	}
	fd := w.open[last]
	w.open = w.open[:last]
	return fd, nil
}

// add puts a path in front of what is still to go.
func (w *walk) add(path string) error {
	if filepath.IsAbs(path) {
		return unix.EXDEV
	}
	w.parts = append(strings.Split(path, "/"), w.parts...)
	return nil
}

func (w *walk) step(part string) error {
	top := w.open[len(w.open)-1]
	switch part {
	case "", ".", "..": // a slash at the end wants a directory too
		if kind(top) != unix.S_IFDIR {
			return unix.ENOTDIR
		}
		if part != ".." {
			return nil
		}
		if len(w.open) == 1 {
			return unix.EXDEV
		}
		w.open = w.open[:len(w.open)-1]
		return unix.Close(top)
	}
	fd, err := unix.Openat(top, part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if kind(fd) != unix.S_IFLNK {
		w.open = append(w.open, fd)
		return nil
	}
	defer unix.Close(fd)
	return w.follow(fd)
}

// follow continues where the link leads.
func (w *walk) follow(link int) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", b)
	if err != nil {
		return err
	}
	return w.add(string(b[:n]))
}
