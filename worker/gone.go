package worker

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"
)

// A leaving cancels a request's context when its client has left before it had
// the reply. Web servers close as soon as they have all that was stated, and
// the handler may have work left to do then.
type leaving struct {
	cancel context.CancelFunc

	mu     sync.Mutex
	gone   bool // the client has left
	served bool // it has the whole reply, or is being sent the rest
}

// leave says that the client has left.
func (l *leaving) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	l.judge()
}

// serve says whether the client has the whole reply. The write that ends the
// reply says so before it begins, because the client may be fast, and takes it
// back when it fails.
func (l *leaving) serve(whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = whole
	l.judge()
}

func (l *leaving) judge() {
	if l.gone && !l.served {
		l.cancel()
	}
}

// watch calls gone when the client has left, and ends then or when the read
// deadline passes or the connection is closed. Nobody else may read meanwhile:
// it holds the reading side of the connection. The channel is closed at its
// end.
func (c *Conn) watch(gone func()) (ended <-chan struct{}) {
	end := make(chan struct{})
	raw, err := c.SyscallConn()
	if err != nil {
		close(end)
		return end
	}
	go func() {
		defer close(end)
		left := false
		raw.Read(func(fd uintptr) bool {
			left = hungUp(int(fd))
			return left
		})
		if left {
			gone()
		}
	}()
	return end
}

// hungUp tells whether the client has left for certain: on a Unix socket when
// it closed, on TCP when it reset. POLLRDHUP alone is a half-close, after
// which the client may well read our reply.
func hungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}
