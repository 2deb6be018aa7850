// Package tree reads, writes and removes the files of a system that lies below
// a directory, such as an image that is being built, and never leaves that
// directory: what the system's own processes would find at a path is found,
// and nothing else. An absolute link leads to the tree's own place of that
// name, and ".." at the top stays there. Whoever may write to the tree may have
// made its links, and may exchange them while we run.
//
// The caller owns a Tree and closes it. The directory itself, and those above
// it, are the caller's choice: they are opened once, by Open, and not guarded.
// The package does not judge whose a file is.
package tree

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Tree is a directory as a system of its own. Paths are absolute, as that
// system's processes have them.
type Tree struct {
	dir string // as in messages
	top int    // O_PATH
}

// Open opens the directory dir as a tree; "/" is this system itself.
func Open(dir string) (*Tree, error) {
	top, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Tree{dir: dir, top: top}, nil
}

// Close closes the tree's only descriptor.
func (t *Tree) Close() { unix.Close(t.top) }

// Name is what a path of the tree is called on this system.
func (t *Tree) Name(path string) string { return filepath.Join(t.dir, path) }

// maxLinks is how many links a path may have, as for the kernel; see
// path_resolution(7).
const maxLinks = 40

// A place is a name in a directory.
type place struct {
	dir  int // O_PATH; whoever has the place closes it
	name string
}

func (p place) close() { unix.Close(p.dir) }

// find walks to path and returns where it is. It follows the links on the way,
// and a last one if follow is set. The name need not exist.
//
// openat2(2) with RESOLVE_IN_ROOT does the same, but some kernels and containers
// refuse that call, and a second way that only those take would hardly ever be
// tried. So there is one: each step opens one name and follows no link, and ".."
// is the directory that the walk came through. That is held open: where it is
// moved meanwhile, ".." does not lead out.
func (t *Tree) find(path string, follow bool) (place, error) {
	w, err := t.walk()
	if err != nil {
		return place{}, err
	}
	last := "."
	for rest := words(path); len(rest) > 0; {
		name, more := rest[0], rest[1:]
		rest = more
		if name == ".." {
			w.back(max(len(w.way)-1, 1))
			continue
		}
		if len(more) > 0 {
			err := w.enter(name)
			if err == nil {
				continue
			}
			if err != unix.ENOTDIR {
				w.back(0)
				return place{}, err
			}
		} else if !follow {
			last = name
			break
		}
		link, err := w.readlink(name)
		switch {
		case err == nil:
			rest = append(words(link), more...)
		case len(more) == 0 && err != unix.ELOOP:
			last = name // no link: it is for the caller to open
		default:
			w.back(0)
			return place{}, err
		}
	}
	return place{w.take(), last}, nil
}

// words are the names in a path.
func words(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

// A walk is on its way through a tree.
type walk struct {
	way   []int // descriptors of the directories from the top to where it is
	links int   // that it has followed
}

func (t *Tree) walk() (*walk, error) {
	top, err := unix.FcntlInt(uintptr(t.top), unix.F_DUPFD_CLOEXEC, 0)
	return &walk{way: []int{top}}, os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
}

func (w *walk) here() int { return w.way[len(w.way)-1] }

// enter goes into a directory. The error is ENOTDIR for a link.
func (w *walk) enter(name string) error {
	fd, err := openat(w.here(), name, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		w.way = append(w.way, fd)
	}
	return err
}

// readlink reads a link and, if that begins at the top, goes there. The error is
// ENOTDIR for what is not a link.
func (w *walk) readlink(name string) (string, error) {
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(w.here(), name, text)
	switch {
	case err == unix.EINVAL:
		return "", unix.ENOTDIR
	case err != nil:
		return "", err
	}
	if w.links++; w.links > maxLinks {
		return "", unix.ELOOP
	}
	if n > 0 && text[0] == '/' {
		w.back(1)
	}
	return string(text[:n]), nil
}

// back leaves n directories of the way.
func (w *walk) back(n int) {
	for _, fd := range w.way[n:] {
		unix.Close(fd)
	}
	w.way = w.way[:n]
}

// take ends the walk and releases the directory where it is.
func (w *walk) take() int {
	fd := w.here()
	w.way = w.way[:len(w.way)-1]
	w.back(0)
	return fd
}

// openat opens one name and follows no link. It does not wait for the other end
// of a pipe, and makes no terminal ours.
func openat(dir int, name string, flags int) (int, error) {
	const always = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	for {
		fd, err := unix.Openat(dir, name, flags|always, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
