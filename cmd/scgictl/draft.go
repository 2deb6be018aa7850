package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// A draft writes files where there are none, and takes all of them back if not
// all can be written.
type draft struct {
	made []string // files and directories, in the order in which they were made
}

// write makes a file with this text and mode, and its directories. gid -1
// leaves its group. The file is there as a whole or not at all, and never
// instead of another.
func (d *draft) write(path, text string, mode os.FileMode, gid int) error {
	if err := d.makeDir(filepath.Dir(path)); err != nil {
		return cannotWrite(path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".scgictl-*")
	if err != nil {
		return cannotWrite(path, err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err = tmp.WriteString(text); err == nil && gid >= 0 {
		err = tmp.Chown(-1, gid)
	}
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err == nil {
		// Unlike rename(2) it replaces nothing.
		err = os.Link(tmp.Name(), path)
	}
	if err != nil {
		return cannotWrite(path, err)
	}
	d.made = append(d.made, path)
	return nil
}

// makeDir makes a directory and those above it, for all to read whatever the
// umask is.
func (d *draft) makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	d.made = append(d.made, dir)
	return os.Chmod(dir, 0o755)
}

// undo removes what was made, and returns what stays.
func (d *draft) undo() (left []string) {
	for i := len(d.made) - 1; i >= 0; i-- {
		err := os.Remove(d.made[i])
		// Somebody else may have put something into a directory.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			left = append(left, d.made[i])
		}
	}
	d.made = nil
	return left
}

// cannotWrite is the error of a file that cannot be written.
func cannotWrite(path string, err error) error {
	text := fmt.Sprintf("cannot write %s: %v", path, bare(err))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return control.Errorf(control.CodeDenied, "%s", text)
	case errors.Is(err, fs.ErrExist):
		return control.Errorf(control.CodeFailed, "%s", text).WithHint("somebody else made it just now")
	}
	return errors.New(text)
}

// bare is an error without the name of a temporary file.
func bare(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
