package api

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// A Peer is the process that listens on a control socket, as the kernel says
// (SO_PEERCRED, unix(7)), and the files by which it was reached.
type Peer struct {
	PID    int
	UID    uint32
	Socket File
	Dir    File // the directory that holds the socket
}

// A File says which file one is, whatever path leads to it.
type File struct {
	Dev, Ino uint64
	Owner    uint32 // uid
}

func (f File) is(other File) bool { return f.Dev == other.Dev && f.Ino == other.Ino }

// Pool returns the name of the pool below root, a directory such as SystemRoot,
// that the socket belongs to: it is in that pool's directory, or is its control
// socket by another name. An empty name means that the socket belongs to none of them.
func (p Peer) Pool(root string) (name string, err error) {
	entries, err := os.ReadDir(root)
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if f, err := fileAt(unix.AT_FDCWD, dir, 0); err == nil && f.is(p.Dir) {
			return e.Name(), nil // whatever socket somebody has put there
		}
		if f, err := fileAt(unix.AT_FDCWD, filepath.Join(dir, SocketName), unix.AT_SYMLINK_NOFOLLOW); err == nil && f.is(p.Socket) {
			name = e.Name()
		}
	}
	return name, nil
}

// fileAt is fstatat(2).
func fileAt(dirfd int, path string, flags int) (File, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, path, &st, flags); err != nil {
		return File{}, os.NewSyscallError("fstatat", err)
	}
	return File{Dev: st.Dev, Ino: st.Ino, Owner: st.Uid}, nil
}

// Peer connects, sends nothing, and returns the process that listens.
func (c *Client) Peer(ctx context.Context) (Peer, error) {
	conn, peer, err := c.dial(ctx)
	if err != nil {
		return Peer{}, c.explain(ctx, err)
	}
	conn.Close()
	return peer, nil
}

// What is at the path is something else.
var (
	errNotSocket = errors.New("not a socket")
	errLink      = errors.New("a link")
)

// dial connects to the socket at the path, and follows no link there: the
// directory belongs to the pool's user, and an application that had one to the
// socket of another pool would have root steer that. The directory and the
// socket are opened first, so that the peer is described by the files that were
// used, even if they are exchanged meanwhile.
func (c *Client) dial(ctx context.Context) (*net.UnixConn, Peer, error) {
	// filepath.Dir would clean the path, but to the kernel "link/.." is not ".".
	dir, base := filepath.Split(c.socket)
	if dir == "" {
		dir = "."
	}
	if base == "" { // the path of a directory
		base = "."
	}
	dirfd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, Peer{}, &os.PathError{Op: "open", Path: c.socket, Err: err}
	}
	defer unix.Close(dirfd)
	fd, err := unix.Openat(dirfd, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, Peer{}, &os.PathError{Op: "open", Path: c.socket, Err: err}
	}
	defer unix.Close(fd)
	peer, err := describe(dirfd, fd)
	if err != nil {
		return nil, Peer{}, err
	}
	conn, err := connect(ctx, "/proc/self/fd/"+strconv.Itoa(fd))
	if errors.Is(err, unix.ENOENT) { // the socket is there
		return nil, Peer{}, control.Errorf(control.CodeFailed, "cannot connect to %s: /proc is not mounted", c.socket)
	}
	if err != nil {
		return nil, Peer{}, err
	}
	cred, err := peerCred(conn)
	if err != nil {
		conn.Close()
		return nil, Peer{}, control.AsError(err)
	}
	peer.PID, peer.UID = int(cred.Pid), cred.Uid
	return conn, peer, nil
}

// describe returns the peer behind a directory and a socket in it, as far as
// the files tell. It borrows both descriptors.
func describe(dirfd, fd int) (p Peer, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return p, os.NewSyscallError("fstat", err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
	case unix.S_IFLNK:
		return p, errLink
	default:
		return p, errNotSocket
	}
	p.Socket = File{Dev: st.Dev, Ino: st.Ino, Owner: st.Uid}
	p.Dir, err = fileAt(dirfd, "", unix.AT_EMPTY_PATH)
	return p, err
}

// connect connects to the socket at path. connect(2) on a Unix socket whose
// backlog is full says EAGAIN at once; that passes.
func connect(ctx context.Context, path string) (*net.UnixConn, error) {
	const patience = 2 * time.Second
	began, pause := time.Now(), 5*time.Millisecond
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		if !errors.Is(err, unix.EAGAIN) || time.Since(began) > patience {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, 100*time.Millisecond)
		}
	}
}

// UnitPool returns the pool whose systemd unit the peer is a process of, by its
// control group (cgroups(7)), or an empty name. The pool's applications are
// processes of that unit, too; those of a user's own units are not.
func (p Peer) UnitPool() string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/cgroup")
	if err != nil {
		return ""
	}
	return unitPool(string(text))
}

// unitPool reads /proc/PID/cgroup. The first service in the path is the one of
// the system; what is below it may have any name.
func unitPool(text string) string {
	for line := range strings.Lines(text) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		for part := range strings.SplitSeq(path, "/") {
			if unit, ok := strings.CutSuffix(part, ".service"); ok {
				name, ours := strings.CutPrefix(unit, "scgid@")
				if !ours {
					return ""
				}
				return name
			}
		}
	}
	return ""
}
