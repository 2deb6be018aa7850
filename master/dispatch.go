package master

import (
	"errors"
	"time"

	"github.com/scgid/scgid/control"
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
)

// hand gives a whole request to a worker, or lets it wait for one.
func (l *loop) hand(c *conn) {
	if l.conns.waiting.len == 0 && l.pass(c) {
		return
	}
	if l.crashLooping() {
		l.refuse(c, notStarted)
		return
	}
	c.State = waiting
	l.conns.waiting.append(&c.place, c.Whole+l.set().QueueTimeout)
}

// crashLooping says that several starts in a row have failed, and that no worker
// is there that could serve or is on its way. Requests are refused at once then:
// nobody should hang for an application that does not start.
func (l *loop) crashLooping() bool {
	return l.backoff.inARow(l.now) >= failFastAfter && l.workers.in[ready]+l.workers.in[starting] == 0
}

// feed passes on what waits, as far as workers have places.
func (l *loop) feed() {
	for l.crashLooping() && l.conns.waiting.first != nil {
		l.refuse(l.conns.waiting.first.of, notStarted)
	}
	for l.conns.waiting.first != nil && l.alarms[passDue] == 0 && (l.workers.idle.len > 0 || l.workers.partial.len > 0) {
		c := l.conns.waiting.first.of
		if l.now-c.Accepted > patience && departed(c) {
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
	if !c.Unix {
		return false
	}
	fds := [1]unix.PollFd{{Fd: int32(c.FD), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n == 1 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// pass sends c to a worker. It returns false if none has a place.
func (l *loop) pass(c *conn) bool {
	for l.alarms[passDue] == 0 {
		w := l.choose()
		if w == nil && l.collect() {
			w = l.choose()
		}
		if w == nil {
			return false
		}
		slot := w.freeSlot()
		err := l.workers.sender.SendConn(w.Link, c.ID, l.now-c.Accepted, slot, c.FD)
		switch {
		case err == nil:
			l.passed(c, w, slot)
			return true
		case errors.Is(err, link.ErrLeaving):
			l.leaves(w)
		case errors.Is(err, link.ErrBusy):
			l.alarms[passDue] = l.now + busyPause
			l.warnRateLimited(warnInFlight, "the kernel passes no more descriptors for this user at the moment, trying again", "err", err)
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
// of those with several slots. nil means that none has a place, or that enough
// have work.
func (l *loop) choose() *worker {
	if n := l.workers.idle.first; n != nil && !l.holds(n.of) {
		return n.of
	}
	var best *worker
	for n := l.workers.partial.first; n != nil; n = n.next {
		if best == nil || len(n.of.conns) < len(best.conns) {
			best = n.of
		}
	}
	return best
}

// passed notes that w has c from here on. We keep our descriptor.
func (l *loop) passed(c *conn, w *worker, slot int) {
	c.place.leave()
	c.State, c.worker, c.Slot, c.PassedAt = passed, w, slot, l.now
	l.setAtRisk(c, false)
	l.count.Queued.Add(l.now - c.Accepted)
	w.conns = append(w.conns, c)
	l.workers.pages.follow(c)
	l.conns.unconfirmed.append(&c.check, l.now+receiveWithin)
	l.relist(w)
	l.tookRoom()
}

// finish ends a connection of which its worker said that it has finished it at
// this moment, and what it replied as far as it said that too.
func (l *loop) finish(c *conn, m link.Message, ended Time) {
	w := c.worker
	w.release(c)
	w.Served++
	w.Slow = false
	if c.Probe {
		l.drop(c)
		l.relist(w)
		return
	}
	l.count.code(m.Code)
	l.count.cut(m.Cut)
	l.count.Service.Add(ended - c.PassedAt)
	l.count.Served++
	l.serves(w)
	l.access(c, m, ended)
	l.drop(c)
	l.relist(w)
}

// serves notes that w has served a connection. That makes good for the starts
// that have failed, if w shows that a start of today succeeds: a worker that
// served before them says nothing about that, and one of another generation even
// less.
func (l *loop) serves(w *worker) {
	w.of.Serves = true
	w.of.Preload.Failed = 0
	if w.of != l.gens.current {
		return
	}
	l.backoff.Crashes = 0
	if w.Served > 1 && w.Began <= l.backoff.FailedAt {
		return
	}
	if l.gens.roll != nil {
		l.gens.roll.failures = 0
	}
	if n := l.backoff.served(); n > 0 {
		l.log.Info("the application starts again", "worker", w.ID, "failures", n)
		l.emit(control.Event{Kind: control.EventStartRecovered, Worker: w.ID, Count: uint64(n)})
	}
}

// confirmDue is when to look after the connection that was passed first and may
// not have been received, while another worker is idle; else 0.
func (l *loop) confirmDue() Time {
	if l.conns.unconfirmed.first == nil || !l.othersIdle() {
		return 0
	}
	return l.conns.unconfirmed.next()
}

func (l *loop) confirmOne() { l.confirm(l.conns.unconfirmed.first.of) }

// confirm looks after a connection that was passed a while ago, now that
// another worker is idle: if it still lies in the link it is taken back.
func (l *loop) confirm(c *conn) {
	w := c.worker
	c.check.leave()
	l.expectAccept()
	defer l.publishAtRisk()
	id, err := link.Recall(w.End)
	if err != nil {
		return // received: nothing lies there
	}
	w.Slow = true
	if back := w.find(id); back != nil {
		l.count.TakenBack++
		w.release(back)
		l.requeue(back)
	}
	l.relist(w)
}

// othersIdle says whether a connection taken back would find a better worker.
func (l *loop) othersIdle() bool { return l.workers.idle.first != nil && !l.workers.idle.first.of.Slow }

// requeue lets c wait again, before all that came later.
func (l *loop) requeue(c *conn) {
	c.check.leave()
	c.worker = nil
	c.State = waiting
	l.setAtRisk(c, true)
	l.conns.waiting.insert(&c.place, c.Whole+l.set().QueueTimeout)
}
