package worker

import (
	"golang.org/x/sys/unix"
)

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
