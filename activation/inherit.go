package activation

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// firstFD is SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstFD = 3

// maxInherited bounds LISTEN_FDS: systemd's own default limit for open files
// in a service is of this size.
const maxInherited = 1024

// Inherited takes the descriptors that the service manager passed to this
// process (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES) and returns them as sockets,
// in the order in which they came; the caller owns them. It removes these
// variables from the environment, so a second call finds nothing.
//
// Entries of the descriptor store, called StateName or something that begins
// with it, or "stored", are returned as they are, also owned by the caller:
// nothing is known of them but the name. Anything else that is not a listening
// stream socket is an error that says what arrived; all descriptors are closed
// then.
func Inherited() (sockets []*Socket, stored []*os.File, err error) {
	defer unsetListen()
	if err := checkCount(); err != nil {
		return nil, nil, err
	}
	files := activation.Files(true)
	for i, f := range files {
		if isStored(f.Name()) {
			stored = append(stored, f)
			continue
		}
		// Copies go above all that was passed: one below, where the manager
		// promised more than it passed, would be taken for the missing entry.
		s, err := adopt(f, firstFD+len(files))
		f.Close()
		if err != nil {
			closeSockets(sockets)
			closeFiles(stored)
			closeFiles(files[i+1:])
			return nil, nil, fmt.Errorf("cannot inherit socket %q: fd %d %w", f.Name(), firstFD+i, err)
		}
		sockets = append(sockets, s)
	}
	return sockets, stored, nil
}

// unsetListen does what Files does, for the error too, and for the variable
// that go-systemd does not know: LISTEN_PIDFDID came with systemd 262.
func unsetListen() {
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(v)
	}
}

// checkCount refuses a LISTEN_FDS that makes no sense.
func checkCount() error {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil // meant for another process: go-systemd finds nothing
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > maxInherited {
		return fmt.Errorf("cannot inherit sockets: LISTEN_FDS=%q is not a number from 0 to %d",
			os.Getenv("LISTEN_FDS"), maxInherited)
	}
	return nil
}

func isStored(name string) bool {
	return strings.HasPrefix(name, StateName) || name == storeDefault
}

// adopt makes a Socket of a copy of f's descriptor, numbered lowest or higher.
// It borrows f.
func adopt(f *os.File, lowest int) (*Socket, error) {
	fd, err := dup(f, lowest)
	if err != nil {
		return nil, err
	}
	s := &Socket{name: f.Name(), fd: fd, inherited: true}
	err = checkListening(fd)
	if err == nil {
		// systemd passes it blocking, and resets it at every start.
		err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
	}
	if err == nil {
		s.addr, s.unix, err = boundAddr(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

// dup copies f's descriptor, close-on-exec. Not by f.Fd(), which clears
// O_NONBLOCK for every holder of the socket.
func dup(f *os.File, lowest int) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, errno := -1, error(nil)
	err = raw.Control(func(old uintptr) {
		fd, errno = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, lowest)
	})
	if err == nil {
		err = errno
	}
	if err == unix.EBADF {
		return -1, errors.New("is not open")
	}
	return fd, os.NewSyscallError("fcntl", err)
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func closeSockets(sockets []*Socket) {
	for _, s := range sockets {
		s.Close()
	}
}
