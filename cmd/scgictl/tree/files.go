package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// wrap gives an error the operation and the full name of what it is about.
func (t *Tree) wrap(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: t.Name(path), Err: err}
}

// open opens what is at path, after its links or, without follow, itself; the
// error is ELOOP for a link then, unless flags have O_PATH.
func (t *Tree) open(path string, flags int, follow bool) (fd int, err error) {
	p, err := t.find(path, follow)
	if err == nil {
		defer p.close()
		fd, err = openat(p.dir, p.name, flags)
	}
	if err != nil {
		return -1, t.wrap("open", path, err)
	}
	return fd, nil
}

// ErrNotRegular is the error for what is to be read and is not a regular file.
var ErrNotRegular = errors.New("not a regular file")

// file opens a regular file for reading, and nothing else: to open a device may
// do something, such as start a watchdog, and a link may lead to one.
func (t *Tree) file(path string, follow bool) (*os.File, error) {
	at, err := t.open(path, unix.O_PATH, follow)
	if err != nil {
		return nil, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, t.wrap("fstat", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, t.wrap("read", path, ErrNotRegular)
	}
	// The file that was looked at, whatever has that name now. O_NONBLOCK: it may
	// have a lease; see fcntl(2).
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(at), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT { // the file is there
		return nil, t.wrap("open", path, errors.New("/proc is not mounted"))
	}
	if err != nil {
		return nil, t.wrap("open", path, err)
	}
	return os.NewFile(uintptr(fd), t.Name(path)), nil
}

// OpenItself opens a regular file for reading. For whatever else is in its
// place, a link too, the error is ErrNotRegular. The caller closes the file.
func (t *Tree) OpenItself(path string) (*os.File, error) { return t.file(path, false) }

// ReadFile reads a regular file of at most limit bytes.
func (t *Tree) ReadFile(path string, limit int64) ([]byte, error) {
	f, err := t.file(path, true)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, t.wrap("read", path, fmt.Errorf("larger than %d bytes", limit))
	}
	return text, err
}

// ReadDir returns the names in a directory, sorted.
func (t *Tree) ReadDir(path string) ([]string, error) {
	fd, err := t.open(path, unix.O_RDONLY|unix.O_DIRECTORY, true)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), t.Name(path))
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// Exists says whether there is something at path, if only a link. What cannot
// be looked at is not there.
func (t *Tree) Exists(path string) bool {
	var st unix.Stat_t
	return t.stat(path, false, &st) == nil
}

// stat looks at what is at path; with follow not at a link that may be there.
func (t *Tree) stat(path string, follow bool, st *unix.Stat_t) error {
	p, err := t.find(path, follow)
	if err != nil {
		return err
	}
	defer p.close()
	return unix.Fstatat(p.dir, p.name, st, unix.AT_SYMLINK_NOFOLLOW)
}

// Remove removes a file, a link or an empty directory.
func (t *Tree) Remove(path string) error {
	p, err := t.find(path, false)
	if err == nil {
		defer p.close()
		err = remove(p)
	}
	if err != nil {
		return t.wrap("remove", path, err)
	}
	return nil
}

func remove(p place) error {
	err := unix.Unlinkat(p.dir, p.name, 0)
	if err == unix.EISDIR {
		err = unix.Unlinkat(p.dir, p.name, unix.AT_REMOVEDIR)
	}
	return err
}

// RemoveAll removes what is at path and, if that is a directory, all that is in
// it. It removes links, and follows none.
func (t *Tree) RemoveAll(path string) error {
	p, err := t.find(path, false)
	if err == nil {
		defer p.close()
		err = removeAll(p)
	}
	if err != nil && err != unix.ENOENT {
		return t.wrap("remove", path, err)
	}
	return nil
}

// removeAll holds one directory open for each level.
func removeAll(p place) error {
	// A process that still writes there must not keep us forever.
	const passes = 10
	err := remove(p)
	for pass := 0; err == unix.ENOTEMPTY && pass < passes; pass++ {
		if err = empty(p); err == nil {
			err = remove(p)
		}
	}
	return err
}

// empty removes what is in a directory at this moment.
func empty(p place) error {
	fd, err := openat(p.dir, p.name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), p.name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		if err := removeAll(place{fd, name}); err != nil && err != unix.ENOENT {
			return err
		}
	}
	return err
}
