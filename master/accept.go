package master

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Listener is a listening stream socket that the loop accepts from. It does
// not own the descriptor.
type Listener struct {
	Name string // for status output
	Addr string
	FD   int
	Unix bool

	Inherited bool // it is the service manager's, and was handed over

	// Backlog reads how many connections wait in the kernel, and its limit.
	// It may be nil. It is not called by the loop.
	Backlog func() (n, limit int, err error)
}

// A listener is one of them, with its mark.
type listener struct {
	Listener
	maybe bool // a connection may be there: set by an event, cleared by EAGAIN only
}

const (
	acceptPause = 100 * time.Millisecond // after running out of descriptors
	acceptBatch = 64                     // connections taken before the loop looks round again
)

func (l *loop) addListener(from Listener) error {
	if err := unix.SetNonblock(from.FD, true); err != nil {
		return err
	}
	if !from.Unix {
		// Accepted connections inherit it. A worker that streams writes
		// small pieces, and they shall not wait for each other.
		unix.SetsockoptInt(from.FD, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	l.listeners = append(l.listeners, &listener{Listener: from, maybe: true})
	return l.poll.ctl(unix.EPOLL_CTL_ADD, from.FD, unix.EPOLLIN|unix.EPOLLET, aboutListener, int32(len(l.listeners)-1), 0)
}

// room says whether one more connection could be served or queued. (With a
// free worker the queue is empty, unless the kernel passes nothing just now.)
// What finds no room stays in the kernel's backlog, which survives us.
func (l *loop) room() bool {
	return l.waiting.len < l.queueMax() || l.hopeless()
}

func (l *loop) queueMax() int {
	if l.set.QueueMax > 0 {
		return l.set.QueueMax
	}
	return l.set.Limits.MaxWorkers
}

// intake accepts connections while there is room for them, from the marked
// listeners in turn. It returns false when it stopped because of its batch and
// has to be called again.
func (l *loop) intake() bool {
	if l.stage != serving || l.paused || l.acceptAgain > l.now {
		return true
	}
	for range acceptBatch {
		if !l.room() {
			return true
		}
		from := l.nextMarked()
		if from == nil {
			return true
		}
		l.acceptFrom(from)
		if l.acceptAgain > 0 {
			return true
		}
	}
	return false
}

// nextMarked returns the marked listener whose turn it is, nil if none is
// marked.
func (l *loop) nextMarked() *listener {
	for range l.listeners {
		l.turn = (l.turn + 1) % len(l.listeners)
		if l.listeners[l.turn].maybe {
			return l.listeners[l.turn]
		}
	}
	return nil
}

// acceptFrom takes one connection.
func (l *loop) acceptFrom(from *listener) {
	l.foresee()
	fd, errno := accept(from.FD)
	if errno != 0 {
		l.recordStake()
	}
	switch errno {
	case 0:
		l.count.Accepted++
		l.judge(l.newConn(fd, from))
	case unix.EAGAIN:
		from.maybe = false
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		l.pauseIntake(errno)
	case unix.EINTR, unix.ECONNABORTED, unix.EPERM,
		unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN,
		unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH:
		// accept(2): errors of the new connection, not of the listener.
	default:
		l.log.err("cannot accept connections", "listener", from.Addr, "err", errno)
		from.maybe = false
	}
}

// pauseIntake keeps the marks and tries again when a descriptor is closed, or
// after a while: somebody else may have closed one.
func (l *loop) pauseIntake(errno unix.Errno) {
	l.count.Pauses++
	l.acceptAgain = l.now + acceptPause
	l.warnOnce(&l.warned.intake, "no room for a new connection, accepting goes on when one is closed; consider a higher LimitNOFILE=",
		"err", errno, "open", l.open)
}
