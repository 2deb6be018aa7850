package master

import (
	"errors"
	"time"

	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

const (
	// receiveWithin is how long a passed connection may lie in a link before
	// it is taken back for an idle worker.
	receiveWithin = 50 * time.Millisecond

	// busyPause is the pause after the kernel had no room for one more
	// descriptor in flight.
	busyPause = 10 * time.Millisecond

	// patience is how long a client is taken to be there without a look: the
	// look is a system call for each request of a busy pool.
	patience = 20 * time.Millisecond

	// hopelessAfter is how long an application that fails to start is given
	// before requests are refused that find the queue full.
	hopelessAfter = 5 * time.Second
)

// hand gives a whole request to a worker, or lets it wait for one.
func (l *loop) hand(c *conn) {
	if l.waiting.len == 0 && l.pass(c) {
		return
	}
	if l.hopeless() {
		l.refuse(c, notStarted)
		return
	}
	c.state = waiting
	l.waiting.append(&c.place, c.whole+l.set.QueueTimeout)
}

// hopeless says that the application does not start, for a while now, and
// enough requests wait for it already. More are refused at once instead of
// being left to fill the backlog.
func (l *loop) hopeless() bool {
	return l.hopelessIn() == 0
}

// hopelessIn is how long it still is until that, negative if it will not come
// by time alone.
func (l *loop) hopelessIn() time.Duration {
	if l.failures < 3 || l.in[ready] > 0 || l.waiting.len < l.queueMax() {
		return -1
	}
	return max(l.lastReady+hopelessAfter-l.now, 0)
}

// feed passes on what waits, as far as workers have places.
func (l *loop) feed() {
	for l.waiting.first != nil && l.busyUntil <= l.now && (l.idle.len > 0 || l.partial.len > 0) {
		c := l.waiting.first.of
		if l.now-c.accepted > patience && departed(c) {
			l.count.ClientGone++
			l.drop(c)
			continue
		}
		if !l.pass(c) {
			return
		}
	}
}

// departed says whether the client of a connection that has waited is certainly
// not there any more. On TCP a half-close looks the same as a full one, and
// the request is whole: so there nobody is.
func departed(c *conn) bool {
	if !c.unix {
		return false
	}
	fds := [1]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n == 1 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// pass sends c to a worker. It returns false if none has a place.
func (l *loop) pass(c *conn) bool {
	for l.busyUntil <= l.now {
		w := l.choose()
		if w == nil {
			return false
		}
		err := l.sender.SendConn(w.link, c.id, l.now-c.accepted, c.fd)
		switch {
		case err == nil:
			l.passed(c, w)
			return true
		case errors.Is(err, link.ErrLeaving):
			l.leaves(w)
		case errors.Is(err, link.ErrBusy):
			l.busyUntil = l.now + busyPause
			l.warnOnce(&l.warned.busy, "the kernel passes no more descriptors for this user at the moment, trying again", "err", err)
		case errors.Is(err, link.ErrFull):
			l.kill(w, "it does not receive: its link is full")
		default:
			l.kill(w, err.Error())
		}
	}
	return false
}

// choose returns the worker for the next connection: the most recently used of
// the idle ones, so that few stay hot and the rest can go; then the least busy
// of those with several slots. nil means that none has a place.
func (l *loop) choose() *worker {
	if l.idle.first != nil {
		return l.idle.first.of
	}
	var best *worker
	for n := l.partial.first; n != nil; n = n.next {
		if best == nil || len(n.of.conns) < len(best.conns) {
			best = n.of
		}
	}
	return best
}

// passed notes that w has c from here on. We keep our descriptor.
func (l *loop) passed(c *conn, w *worker) {
	c.place.leave()
	c.state, c.worker, c.passedAt = passed, w, l.now
	l.stake(c, false)
	c.tries++
	l.queued.Add(l.now - c.accepted)
	w.conns = append(w.conns, c)
	l.unconfirmed.append(&c.check, l.now+receiveWithin)
	l.offer(w)
}

// finish ends a connection of which its worker said DONE, and what it replied
// as far as it said that too.
func (l *loop) finish(c *conn, code int, bytes int64) {
	w := c.worker
	w.release(c)
	w.served++
	w.slow = false
	if c.probe {
		l.drop(c)
		l.offer(w)
		return
	}
	l.service.Add(l.now - c.passedAt)
	l.count.Served++
	if w.served == 1 {
		l.failuresBefore = 0 // one that was started does work: the next failure is the first
	}
	l.access(c, code, bytes)
	l.drop(c)
	l.offer(w)
}

// confirm looks after a connection that was passed a while ago, now that
// another worker is idle: if it still lies in the link it is taken back.
func (l *loop) confirm(c *conn) {
	w := c.worker
	c.check.leave()
	l.foresee()
	defer l.recordStake()
	id, err := link.Recall(w.end)
	if err != nil {
		return // received: nothing lies there
	}
	w.slow = true
	if back := w.find(id); back != nil {
		l.count.TakenBack++
		w.release(back)
		l.requeue(back)
	}
	l.offer(w)
}

// othersIdle says whether a connection taken back would find a better worker.
func (l *loop) othersIdle() bool { return l.idle.first != nil && !l.idle.first.of.slow }

// requeue lets c wait again, before all that came later.
func (l *loop) requeue(c *conn) {
	c.check.leave()
	c.worker = nil
	c.state = waiting
	l.stake(c, true)
	l.waiting.insert(&c.place, c.whole+l.set.QueueTimeout)
}
