package master

import (
	"errors"
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

// A listener is one of them. The kernel tells of it as long as a connection is
// there, so one that comes alone, as most do, needs no second accept to learn
// that it was alone. What finds no room ends that, as it would be told of for
// ever, until the backlog has been seen empty.
type listener struct {
	Listener
	maybe  bool   // a connection may be there
	heard  bool   // it is in the epoll set
	broken bool   // accept failed, and is tried again at listenAt
	crowd  bool   // they come several at a time: accept until there is none
	taken  int    // since there was none
	tookAt uint64 // the turn in which the last one was taken
}

// rings takes the event that a connection is there. Right after one was taken
// it says that there were more.
func (from *listener) rings(turn uint64) {
	from.maybe = true
	switch {
	case from.tookAt+1 == turn:
		from.crowd = true
	case !from.crowd:
		from.taken = 0
	}
}

// took notes that one was accepted.
func (from *listener) took(turn uint64) {
	from.taken++
	from.tookAt = turn
	from.maybe = from.crowd || !from.heard
}

// empty notes that none is there.
func (from *listener) empty() {
	from.crowd = from.taken > 1
	from.taken = 0
	from.maybe = false
}

const (
	acceptPause = 100 * time.Millisecond // after running out of descriptors
	listenPause = time.Second            // after an error of one listener
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
	l.listeners = append(l.listeners, &listener{Listener: from})
	return l.hearListener(len(l.listeners) - 1)
}

// hearListener has the kernel tell of a listener.
func (l *loop) hearListener(index int) error {
	from := l.listeners[index]
	if from.heard {
		return nil
	}
	if err := l.poll.ctl(unix.EPOLL_CTL_ADD, from.FD, unix.EPOLLIN, aboutListener, int32(index), 0); err != nil {
		return err
	}
	from.heard = true
	return nil
}

// mute ends that.
func (l *loop) mute(from *listener) {
	if from.heard {
		l.poll.remove(from.FD)
		from.heard = false
	}
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
	if l.stage == serving && !l.paused && l.acceptAgain <= l.now && !l.take() {
		return false
	}
	for _, from := range l.listeners {
		if from.maybe {
			l.mute(from) // no room for what is there
		}
	}
	return true
}

// take accepts until there is no room, no marked listener or no descriptor. It
// returns false when it stopped because of its batch.
func (l *loop) take() bool {
	for range acceptBatch {
		if !l.room() {
			return true
		}
		index := l.nextMarked()
		if index < 0 {
			return true
		}
		l.acceptFrom(index)
		if l.acceptAgain > 0 {
			return true
		}
	}
	return false
}

// nextMarked returns the index of the marked listener whose turn it is, -1 if
// none is marked.
func (l *loop) nextMarked() int {
	for range l.listeners {
		l.lastTried = (l.lastTried + 1) % len(l.listeners)
		if l.listeners[l.lastTried].maybe {
			return l.lastTried
		}
	}
	return -1
}

// acceptFrom takes one connection.
func (l *loop) acceptFrom(index int) {
	from := l.listeners[index]
	l.foresee()
	fd, errno := accept(from.FD)
	if errno != 0 {
		l.recordStake()
	}
	switch errno {
	case 0:
		l.count.Accepted++
		from.took(l.turn)
		l.judge(l.newConn(fd, from))
	case unix.EAGAIN:
		from.empty()
		if err := l.hearListener(index); err != nil {
			from.maybe = true
			l.pauseIntake(err)
		}
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		l.pauseIntake(errno)
	case unix.EINTR, unix.ECONNABORTED,
		unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN,
		unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH:
		// accept(2): errors of the new connection, not of the listener.
	default:
		l.leaveAlone(from, errno)
	}
}

// leaveAlone does without a listener for a while. Its error may be somebody's
// who takes it back, such as a security module's: those refuse (EACCES, EPERM)
// before they look what is there, and what is there stays.
func (l *loop) leaveAlone(from *listener, err error) {
	l.mute(from)
	from.maybe, from.broken = false, true
	if l.listenAt == 0 {
		l.listenAt = l.now + listenPause
	}
	l.warnOnce(&l.warned.listener, "cannot accept connections, trying again every "+listenPause.String(), "listener", from.Addr, "err", err)
}

// tryBroken marks the listeners that were left alone.
func (l *loop) tryBroken() {
	l.listenAt = 0
	for _, from := range l.listeners {
		if from.broken {
			from.maybe, from.broken = true, false
		}
	}
}

// pauseIntake keeps the marks and tries again when a descriptor is closed, or
// after a while: somebody else may have closed one.
func (l *loop) pauseIntake(err error) {
	l.count.Pauses++
	l.acceptAgain = l.now + acceptPause
	l.warnOnce(&l.warned.intake, "no room for a new connection, accepting goes on when one is closed"+moreRoom(err),
		"err", err, "open", l.open)
}

// moreRoom is what to do about it.
func moreRoom(err error) string {
	switch {
	case errors.Is(err, unix.EMFILE):
		return "; consider a higher LimitNOFILE="
	case errors.Is(err, unix.ENFILE):
		return "; all descriptors of the system are in use, see the sysctl fs.file-max"
	case errors.Is(err, unix.ENOSPC):
		return "; this user watches too much, see the sysctl fs.epoll.max_user_watches"
	}
	return ""
}
