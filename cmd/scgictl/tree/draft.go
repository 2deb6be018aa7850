package tree

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Draft writes files where there are none, and takes all of them back if not
// all can be written. The caller ends it with Close, after Undo if need be.
type Draft struct {
	tree *Tree
	made []place // files and directories, in the order in which they were made
	full []string
}

// Draft begins one.
func (t *Tree) Draft() *Draft { return &Draft{tree: t} }

// Close closes what Undo needs.
func (d *Draft) Close() {
	for _, p := range d.made {
		p.close()
	}
	d.made = nil
}

// Write makes a file with this text and mode, and its directories. gid -1
// leaves its group. The file is there as a whole or not at all, and never
// instead of another: the error is fs.ErrExist then.
func (d *Draft) Write(path, text string, mode os.FileMode, gid int) error {
	dir, err := d.directory(filepath.Dir(path))
	if err != nil {
		return err
	}
	p := place{dir, filepath.Base(path)}
	if err := write(p, text, mode, gid); err != nil {
		p.close()
		return d.tree.wrap("write", path, err)
	}
	d.note(p, path)
	return nil
}

func (d *Draft) note(p place, path string) {
	d.made, d.full = append(d.made, p), append(d.full, d.tree.Name(path))
}

// write fills a file with a name of its own, and then gives it the one that is
// wanted: linkat(2), unlike rename(2), replaces nothing.
func write(p place, text string, mode os.FileMode, gid int) error {
	tmp := place{p.dir, ".scgictl-" + rand.Text()}
	fd, err := unix.Openat(tmp.dir, tmp.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = remove(tmp) }()
	f := os.NewFile(uintptr(fd), tmp.name)
	defer f.Close()
	if _, err = f.WriteString(text); err == nil && gid >= 0 {
		err = f.Chown(-1, gid)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = unix.Linkat(tmp.dir, tmp.name, p.dir, p.name, 0)
	}
	return err
}

// directory opens a directory (O_PATH), and makes it and those above it where
// they are missing, for all to read whatever the umask is. The caller closes it.
func (d *Draft) directory(path string) (int, error) {
	fd, err := d.tree.open(path, unix.O_PATH|unix.O_DIRECTORY, true)
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	above, err := d.directory(filepath.Dir(path))
	if err != nil {
		return -1, err
	}
	p := place{above, filepath.Base(path)}
	if fd, err = makeDirectory(p); err != nil {
		p.close()
		if err == unix.EEXIST { // and yet it could not be opened
			err = errors.New("a directory above it is a link that leads nowhere")
		}
		return -1, d.tree.wrap("make", path, err)
	}
	d.note(p, path)
	return fd, nil
}

// makeDirectory makes a directory and opens it; mkdir(2) alone would leave the mode
// to the umask.
func makeDirectory(p place) (fd int, err error) {
	if err := unix.Mkdirat(p.dir, p.name, 0o755); err != nil {
		return -1, err
	}
	if fd, err = openat(p.dir, p.name, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
		return -1, err
	}
	if err = unix.Fchmod(fd, 0o755); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Undo removes what was made, and returns the full names of what stays.
func (d *Draft) Undo() (left []string) {
	for i := len(d.made) - 1; i >= 0; i-- {
		err := remove(d.made[i])
		// Somebody else may have put something into a directory.
		if err != nil && err != unix.ENOENT && err != unix.ENOTEMPTY {
			left = append(left, d.full[i])
		}
	}
	return left
}
