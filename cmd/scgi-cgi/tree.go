package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A tree is a directory beneath which programs are. It is opened once: what is
// found later is found beneath that directory, whatever becomes of its name.
type tree struct {
	fd   int    // O_PATH
	path string // as given, absolute and clean
	real string // without symbolic links

	only  string      // the one program in it that counts, "" for all
	walks atomic.Bool // openat2 may not be called here
}

// openTree opens dir, which the tree owns from then on.
func openTree(dir string) (*tree, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	real, err := descriptorPath(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &tree{fd: fd, path: path, real: real}, nil
}

// openLinked opens where links may lead: a directory, or one program.
func openLinked(path string) (*tree, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(real)
	if err != nil || info.IsDir() {
		return openTree(real)
	}
	t, err := openTree(filepath.Dir(real))
	if err == nil {
		t.only = filepath.Base(real)
	}
	return t, err
}

// beneath cuts the directory's path off the beginning of name.
func (t *tree) beneath(name string) (string, bool) {
	for _, top := range []string{t.path, t.real} {
		rest, ok := strings.CutPrefix(name, top)
		if ok && (rest == "" || rest[0] == '/' || top == "/") {
			return strings.TrimLeft(rest, "/"), true
		}
	}
	return "", false
}

// openBeneath opens rel without ever leaving the directory. A symbolic link may
// point to anything beneath the directory by a relative path; any other link,
// and so every absolute link, gives EXDEV. The caller owns the descriptor, opened
// with O_PATH.
func (t *tree) openBeneath(rel string) (int, error) {
	if rel == "" {
		rel = "."
	}
	if t.walks.Load() {
		return walkBeneath(t.fd, rel)
	}
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	// openat2(2): EAGAIN when something was renamed meanwhile.
	for try := 0; ; try++ {
		fd, err := unix.Openat2(t.fd, rel, &how)
		if err == unix.ENOSYS || err == unix.EPERM { // systemd's filters say the one, others the other
			t.walks.Store(true)
			return walkBeneath(t.fd, rel)
		}
		if err == nil || try == 16 || err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
}

// lookup opens rel beneath the root, or where its links may lead.
func (r *root) lookup(rel string) (int, error) {
	fd, err := r.openBeneath(rel)
	if err != unix.EXDEV {
		return fd, err
	}
	target, err := r.target(rel)
	switch {
	case err == unix.ENOTDIR: // there may be a PATH_INFO
		return -1, err
	case err != nil:
		return -1, unix.EXDEV
	}
	// The name only says where to look: what is opened is opened beneath a
	// directory that may be led to, without leaving that.
	for _, t := range r.links {
		if rest, ok := t.beneath(target); ok && (t.only == "" || t.only == rest) {
			return t.openBeneath(rest)
		}
	}
	return -1, unix.EXDEV
}

// target returns the path to which rel leads, all links followed.
func (r *root) target(rel string) (string, error) {
	fd, err := unix.Openat(r.fd, rel, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return descriptorPath(fd)
}

// explain says which link leads where, and what allows that.
func (r *root) explain(rel string) string {
	link := rel
	for i := 1; i < len(rel); i++ {
		if rel[i] != '/' {
			continue
		}
		fd, err := r.lookup(rel[:i])
		if err == unix.EXDEV {
			link = rel[:i]
			break
		}
		closeAll(fd)
	}
	target, err := r.target(link)
	if err != nil {
		return fmt.Sprintf("%s is a link out of %s, to %s: %v", show(link), r.path, show(r.text(link)), err)
	}
	return fmt.Sprintf("%s is a link out of %s, to %s; --follow-links-to %s allows that", show(link), r.path, show(target), target)
}

// text returns what a link says.
func (r *root) text(link string) string {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(r.fd, link, b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// descriptorPath returns the path that fd was opened at, links resolved.
func descriptorPath(fd int) (string, error) { return os.Readlink(descriptorName(fd)) }

// descriptorName is a name of what fd is of, whatever becomes of its path.
func descriptorName(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
