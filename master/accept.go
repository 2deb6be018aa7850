package master

import (
	"errors"
	"time"

	"github.com/scgid/scgid/master/poller"
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
// there, so a connection that comes alone, as most do, needs no second accept to
// learn that it was alone. A connection that finds no room ends the watch, as it
// would be told of forever, until the backlog has been seen empty.
type listener struct {
	Listener
	pending    bool   // a connection may be there
	watched    bool   // it is in the epoll set
	broken     bool   // accept failed, and is tried again at listenDue
	burst      bool   // they come several at a time: accept until there is none
	guesses    int    // of a burst that are left out: the last was wrong
	accepted   int    // since there was none
	acceptedAt uint64 // the turn in which the last one was accepted
}

// readable takes the event that a connection is there. Right after one was
// accepted it says that there were more, or that nothing else happens than that
// they come one by one: then there is none behind it, and not the next times.
func (from *listener) readable(turn uint64) {
	from.pending = true
	switch {
	case from.burst:
	case from.acceptedAt+1 == turn && from.guesses == 0:
		from.burst = true
	default:
		from.guesses = max(from.guesses-1, 0)
		from.accepted = 0
	}
}

// tookOne notes that a connection was accepted.
func (from *listener) tookOne(turn uint64) {
	from.accepted++
	from.acceptedAt = turn
	from.pending = from.burst || !from.watched
}

// drained notes that no connection is there.
func (from *listener) drained() {
	if from.burst && from.accepted <= 1 {
		from.guesses = 64
	}
	from.burst = from.accepted > 1
	from.accepted = 0
	from.pending = false
}

// An intake drawer knows where connections are accepted, and whether.
type intake struct {
	listeners  []*listener
	lastTried  int    // the listener that was tried last
	turn       uint64 // of the loop
	Paused     bool   // by an operator
	QuietSince Time   // when the last connection was closed
}

// nextPending returns the index of the pending listener whose turn it is, -1 if
// none is pending.
func (i *intake) nextPending() int {
	for range i.listeners {
		i.lastTried = (i.lastTried + 1) % len(i.listeners)
		if i.listeners[i.lastTried].pending {
			return i.lastTried
		}
	}
	return -1
}

const (
	acceptPause = 100 * time.Millisecond // after running out of descriptors
	listenPause = time.Second            // after an error of one listener
	acceptBatch = 64                     // connections accepted before the loop looks round again
)

func (l *loop) addListener(from Listener) error {
	if err := unix.SetNonblock(from.FD, true); err != nil {
		return err
	}
	if !from.Unix {
		// Accepted connections inherit it. A worker that streams writes
		// small pieces, and they must not wait for each other.
		unix.SetsockoptInt(from.FD, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	l.intake.listeners = append(l.intake.listeners, &listener{Listener: from})
	return l.watchListener(len(l.intake.listeners) - 1)
}

// watchListener has the kernel tell of a listener.
func (l *loop) watchListener(index int) error {
	from := l.intake.listeners[index]
	if from.watched {
		return nil
	}
	if err := l.poll.Add(from.FD, unix.EPOLLIN, poller.Tag{About: aboutListener, Index: int32(index)}); err != nil {
		return err
	}
	from.watched = true
	return nil
}

// unwatchListener ends that.
func (l *loop) unwatchListener(from *listener) {
	if from.watched {
		l.poll.Remove(from.FD)
		from.watched = false
	}
}

// room says whether one more connection could be served or queued. (With a
// free worker the queue is empty, unless the kernel passes nothing just now.)
// What finds no room stays in the kernel's backlog, which survives us.
func (l *loop) room() bool {
	return l.conns.waiting.len < l.queueMax() || l.crashLooping()
}

func (l *loop) queueMax() int {
	if l.set().QueueMax > 0 {
		return l.set().QueueMax
	}
	return l.limits.Now.MaxWorkers
}

// acceptAll accepts connections while there is room for them, from the pending
// listeners in turn. It returns false when it stopped because of its batch and
// has to be called again.
func (l *loop) acceptAll() bool {
	if l.stage == serving && !l.intake.Paused && l.alarms[acceptDue] == 0 && !l.acceptSome() {
		return false
	}
	for _, from := range l.intake.listeners {
		if from.pending {
			l.unwatchListener(from) // no room for what is there
		}
	}
	return true
}

// acceptSome accepts until there is no room, no pending listener or no
// descriptor. It returns false when it stopped because of its batch.
func (l *loop) acceptSome() bool {
	for range acceptBatch {
		if !l.room() {
			return true
		}
		index := l.intake.nextPending()
		if index < 0 {
			return true
		}
		l.acceptFrom(index)
		if l.alarms[acceptDue] > 0 {
			return true
		}
	}
	return false
}

// acceptFrom accepts one connection.
func (l *loop) acceptFrom(index int) {
	from := l.intake.listeners[index]
	l.expectAccept()
	fd, errno := accept(from.FD)
	if errno != 0 {
		l.publishAtRisk()
	}
	switch errno {
	case 0:
		l.count.Accepted++
		from.tookOne(l.intake.turn)
		l.peekAndRoute(l.newConn(fd, from.Unix))
	case unix.EAGAIN:
		from.drained()
		if err := l.watchListener(index); err != nil {
			from.pending = true
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

// leaveAlone does without a listener for a while. Its error may end again, such
// as a security module's refusal (EACCES, EPERM): that comes before the kernel
// looks what is there, and what is there stays.
func (l *loop) leaveAlone(from *listener, err error) {
	l.unwatchListener(from)
	from.pending, from.broken = false, true
	if l.alarms[listenDue] == 0 {
		l.alarms[listenDue] = l.now + listenPause
	}
	l.warnRateLimited(warnListener, "cannot accept connections, trying again every "+listenPause.String(), "listener", from.Addr, "err", err)
}

// tryBroken takes the listeners that were left alone for pending again.
func (l *loop) tryBroken() {
	for _, from := range l.intake.listeners {
		if from.broken {
			from.pending, from.broken = true, false
		}
	}
}

// pauseIntake keeps the pending listeners and tries again when a descriptor is closed, or
// after a while: somebody else may have closed one.
func (l *loop) pauseIntake(err error) {
	l.count.Pauses++
	l.alarms[acceptDue] = l.now + acceptPause
	l.warnRateLimited(warnIntake, "out of file descriptors; accepting again when a connection closes"+moreRoom(err),
		"err", err, "open", l.conns.open)
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
