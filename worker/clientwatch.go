package worker

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"
)

// A clientWatch cancels a request's context when its client has left before it
// had the reply. Web servers close as soon as they have all that was stated, and
// the handler may have work left to do then.
type clientWatch struct {
	cancel context.CancelFunc

	mu     sync.Mutex
	gone   bool // the client has left
	served bool // the client has the whole reply, or is being sent the rest
}

// leave says that the client has left.
func (w *clientWatch) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	w.update()
}

// serve says whether the client has the whole reply. The write that ends the
// reply says so before it begins, because the client may be fast, and takes it
// back when it fails.
func (w *clientWatch) serve(whole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.served = whole
	w.update()
}

func (w *clientWatch) update() {
	if w.gone && !w.served {
		w.cancel()
	}
}

// watch calls gone when the client has left: before it returns if that was so
// already. The watch ends then, or when the read deadline passes or the
// connection is closed, and closes the channel. Nobody else may read meanwhile:
// the watch holds the reading side of the connection.
func (c *Conn) watch(gone func()) (ended <-chan struct{}) {
	end := make(chan struct{})
	left := false
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { left = hungUp(int(fd)) })
	}
	if err != nil || left {
		close(end)
		if left {
			gone()
		}
		return end
	}
	go func() {
		defer close(end)
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
