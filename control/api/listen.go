package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Listen opens the control socket with this absolute path; the caller closes
// it. Directories on the way are made, for all to pass. Everybody may connect:
// who may do what is decided after that. A socket that somebody left behind is
// replaced; one on which somebody answers, and what is not a socket, stays and
// is an error. Close removes the path if it is still this socket.
func Listen(path string) (net.Listener, error) {
	l, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the control socket %s: %w", path, err)
	}
	return l, nil
}

func listen(path string) (*listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("its path must be absolute")
	}
	dir := filepath.Dir(path)
	if err := makeDirs(dir); err != nil {
		return nil, err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := clearStale(path); err != nil {
		return nil, err
	}
	// Bound with the umask's permissions, so never too many, until the chmod.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	own := &listener{UnixListener: l, path: path}
	if own.file, err = open(path); err != nil {
		l.Close()
		return nil, err
	}
	// fchmod(2) refuses an O_PATH descriptor; its name in /proc does not. So
	// this reaches our socket, whoever else may write to the directory.
	if err := os.Chmod("/proc/self/fd/"+strconv.Itoa(int(own.file.Fd())), 0o666); err != nil {
		own.Close()
		return nil, err
	}
	return own, nil
}

// makeDirs makes dir and what leads to it, 0755 whatever the umask. Those that
// are there stay as they are.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	} else if !os.IsNotExist(err) {
		return err
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		return nil // another one was faster
	} else if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// lockDir keeps other starters out while one looks whether the socket is stale
// and makes its own: between bind and listen it looks stale. Anybody who may
// read the directory can hold this lock, so waiting for it is bounded, and
// then goes without.
func lockDir(dir string) (unlock func(), err error) {
	const patience = 2 * time.Second
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			break
		}
	}
	return func() { unix.Close(fd) }, nil
}

// clearStale removes a socket at path on which nobody answers.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return errors.New("something is there that is not a socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return errors.New("another scgid answers there")
	}
	return os.Remove(path)
}

// A listener is the control socket and the file that it is.
type listener struct {
	*net.UnixListener
	path string
	file *os.File // O_PATH: keeps the inode's number from being used again
	once sync.Once
	err  error
}

func open(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Close ends listening and removes the path, unless that is another file by
// now.
func (l *listener) Close() error {
	l.once.Do(func() {
		if l.isOwn() {
			_ = os.Remove(l.path)
		}
		l.file.Close()
		l.err = l.UnixListener.Close()
	})
	return l.err
}

func (l *listener) isOwn() bool {
	now, err := os.Lstat(l.path)
	own, err2 := l.file.Stat()
	return err == nil && err2 == nil && os.SameFile(now, own)
}
