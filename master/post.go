package master

import (
	"encoding/binary"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A postbox is the only way into the loop: functions, run by the loop in the
// order in which they came. This is all that may be posted:
//
//	query, do        what a control command asks for (pool_api.go), and the steps
//	                 of an operation: a reload or rollback (reload.go, canary.go),
//	                 an upgrade (upgrade.go)
//	started          a worker that was started, or not (start.go)
//	askFor, adopted  a worker that is to be forked, or has been (fork.go)
//	spawn, kill      a child that is not a worker (child.go)
//	reapOrphans      SIGCHLD came (reap.go)
//	stop, harden     Finish and Harden, for signals (stop.go)
//	releaseSeen      where the working directory leads now (generation.go)
//	unsubscribe      a reader of events has gone (stream.go)
//	fenced           signals are fenced off, for an upgrade (upgrade_exec.go)
//
// No function that is posted may wait.
type postbox struct {
	mu     sync.Mutex
	posts  []func(*loop) // guarded by mu
	closed bool          // guarded by mu
	wake   int           // an eventfd; belongs to the loop
}

func newPostbox() (*postbox, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &postbox{wake: fd}, nil
}

// post hands f to the loop; false means that the loop has ended and f will
// not be run.
func (b *postbox) post(f func(*loop)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.posts = append(b.posts, f)
	if len(b.posts) == 1 {
		unix.Write(b.wake, binary.NativeEndian.AppendUint64(nil, 1))
	}
	return true
}

// take returns what has been posted.
func (b *postbox) take() []func(*loop) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var count [8]byte
	unix.Read(b.wake, count[:])
	posts := b.posts
	b.posts = nil
	return posts
}

// close ends the postbox.
func (b *postbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	unix.Close(b.wake)
}
