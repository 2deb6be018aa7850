package activation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait bounds how long a starter waits for another one in the same
// directory. Anybody who may read the directory can hold its lock, and must not
// keep us from starting: after that time we do without the lock.
const lockWait = 5 * time.Second

// listenPath binds s to path and listens on it.
//
// All of this happens under the directory's lock. Between bind and listen the
// path refuses connections as a stale socket does, so another starter could take
// it for stale and remove it.
func (s *Socket) listenPath(path string, o Options) error {
	unlock, err := lockDir(filepath.Dir(path), o.lockWait)
	if err != nil {
		return err
	}
	defer unlock()
	if err := clearStale(path); err != nil {
		return err
	}
	err = s.bindPath(path, o.Mode)
	if err == nil {
		// From here on, and not before, a client can connect.
		err = os.NewSyscallError("listen", unix.Listen(s.fd, o.Backlog))
	}
	if err != nil {
		s.removePath() // while no other starter can take it for stale
		s.path = ""
	}
	return err
}

// lockDir locks dir against other starters and returns how to unlock it. The
// lock is flock(2) on the directory itself: it leaves no file behind, and ends
// with its holder. Without it after wait there is nothing to unlock, and no error.
func lockDir(dir string, wait time.Duration) (unlock func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, fmt.Errorf("directory %s does not exist", dir)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			break // the lock is ours, or this file system has none
		}
	}
	return func() { unix.Close(fd) }, nil
}

// clearStale makes path free where that does no harm: it removes a socket on
// which no server answers, and nothing else.
func clearStale(path string) error {
	_, mode, err := lstat(path)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("it exists and is %s", fileKind(mode))
	}
	if live := answers(path); live != nil {
		return live
	}
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot remove the stale socket: %w", err)
	}
	return nil
}

// bindPath binds s to path, which gets exactly the permissions of mode.
func (s *Socket) bindPath(path string, mode os.FileMode) error {
	// Linux gives the new file the permissions of the socket's own inode,
	// less the umask: never looser than mode, without touching the umask,
	// which belongs to the whole process.
	if err := unix.Fchmod(s.fd, uint32(mode)); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	if err := unix.Bind(s.fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return s.own(path, mode)
}

// own remembers which file path is, for Close, and gives back the permissions
// that the umask took.
func (s *Socket) own(path string, mode os.FileMode) error {
	file, now, err := lstat(path)
	if err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if now&unix.S_IFMT != unix.S_IFSOCK {
		return errReplaced
	}
	s.path, s.file = path, file
	if os.FileMode(now)&os.ModePerm == mode {
		return nil
	}
	return chmodFile(path, file, mode)
}

var errReplaced = errors.New("another process replaced the socket while it was made")

// chmodFile sets the permissions of path if it is file, and of nothing else:
// the directory may be one that others write to.
func chmodFile(path string, file inode, mode os.FileMode) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if inodeOf(&st) != file {
		return errReplaced
	}
	// fchmod(2) refuses an O_PATH descriptor; its name in /proc does not.
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), uint32(mode)); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}
