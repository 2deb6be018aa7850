package master

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

const (
	burialCheck = 10 * time.Millisecond // between two looks at a dead worker's group
	burialLimit = 5 * time.Second       // how long a killed group may take
)

// died takes the end of a worker, told by its pidfd.
func (l *loop) died(w *worker) {
	l.hearAll(w) // it may have said DONE just before
	// While the zombie is there its number is nobody else's: end what it
	// has left behind in its groups.
	w.proc.KillGroup()
	exit, ok := w.proc.Reap()
	if !ok {
		return
	}
	l.stopHearing(w)
	l.poll.remove(w.proc.FD)
	l.noteExit(w, exit)
	l.emit(control.Event{Kind: control.EventWorkerExited, Worker: w.id, PID: w.proc.PID, Reason: exitReason(w, exit), Served: w.served})
	if w.trial != nil {
		w.trial.tell(fmt.Errorf("worker %d %s", w.id, exit))
	}
	l.enter(w, gone)
	w.goneSince = l.now
	l.takeBack(w)
	l.bury(w)
}

// noteExit counts and logs the end of w, and finds out whether it was a start
// that failed.
func (l *loop) noteExit(w *worker, exit process.Exit) {
	switch {
	case w.state == starting:
		l.exit("start failed")
		if outside(exit) && w.trial == nil {
			l.failsNoMore() // not the application's doing: try again, but no slower
		}
		why := "it " + verb(exit) + " before it was ready"
		if exit.Clean() {
			why += "; a worker says READY=1, see scgid-worker(7), and CGI programs are run by scgi-cgi"
		}
		l.startFailed(w, why)
		return
	case w.state == killed:
		l.exit("killed")
	case w.state == retiring && exit.Clean():
		l.exit("retired")
	case exit.Clean():
		l.exit("left")
	case exit.OutOfMemory:
		l.exit("oom")
	case exit.Signaled() != 0:
		l.exit(unix.SignalName(exit.Signaled()))
	default:
		l.exit("exited")
	}
	expected := w.state == retiring || w.state == leaving || w.state == killed
	if w.failed != "" || w.state == killed && w.doomed == "" {
		return // told when it said so; not needed any more
	}
	if expected && exit.Clean() {
		l.log.info("worker has left", "worker", w.id, "pid", w.proc.PID, "served", w.served)
		return
	}
	l.log.warn("worker "+exit.String(), "worker", w.id, "pid", w.proc.PID, "served", w.served, "holding", len(w.conns))
	// One that somebody killed from outside, or told to leave, would have
	// served.
	told := exit.Clean() && l.now-w.began > time.Second
	if w.served == 0 && !expected && !told && !outside(exit) {
		l.startFailed(w, "it "+verb(exit)+" before it had served anybody")
	}
}

// verb reads "exited with status 1" or "was killed by SIGSEGV".
func verb(exit process.Exit) string {
	if exit.Signaled() != 0 {
		return "was " + exit.String()
	}
	return exit.String()
}

// exitReason says in a sentence's part why w has gone.
func exitReason(w *worker, exit process.Exit) string {
	switch {
	case w.doomed != "":
		return "killed: " + w.doomed
	case w.failed != "":
		return "could not start: " + w.failed
	case w.state == retiring && exit.Clean():
		return "retired"
	}
	return exit.String()
}

// outside says that a signal was sent by somebody, and is no crash.
func outside(exit process.Exit) bool {
	signal := exit.Signaled()
	return !exit.OutOfMemory && (signal == unix.SIGKILL || signal == unix.SIGTERM)
}

// takeBack takes from the dead worker's link what it never received. Nobody
// else has seen these connections: they may be passed on at once.
func (l *loop) takeBack(w *worker) {
	for range len(w.conns) + 1 {
		id, err := link.Recall(w.end)
		if errors.Is(err, link.ErrEmpty) || errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.log.err("cannot take back connections of a dead worker", "worker", w.id, "err", err)
			return
		}
		if c := w.find(id); c != nil {
			w.release(c)
			if c.probe {
				l.drop(c)
				continue
			}
			l.count.Retried++
			l.requeue(c)
		}
	}
}

// bury decides about what the dead worker has received, once nobody of its
// group can read from it any more, and forgets the worker.
func (l *loop) bury(w *worker) {
	empty := w.proc.GroupEmpty() || len(w.conns) == 0 && w.proc.Group.Empty()
	if !empty && l.now-w.goneSince < burialLimit {
		l.burials.append(&w.timer, l.now+burialCheck)
		return
	}
	for len(w.conns) > 0 {
		c := w.conns[0]
		w.release(c)
		if c.probe {
			l.drop(c)
			continue
		}
		if empty && l.unread(c) {
			// The dead worker may have made it non-blocking, for all holders.
			unix.SetNonblock(c.fd, false)
			l.count.Retried++
			l.requeue(c)
			continue
		}
		if replied(c) {
			// Only its DONE is missing.
			l.count.Served++
			l.access(c, 0, 0)
			l.drop(c)
			continue
		}
		l.count.Lost++
		l.emit(control.Event{Kind: control.EventLost, Worker: w.id, Count: 1})
		l.log.warn("a request was lost with its worker", "worker", w.id, "request", c.id,
			"method", printable(c.method.b[:c.method.n]), "uri", printable(c.uri.b[:c.uri.n]))
		l.drop(c)
	}
	l.forget(w)
}

// unread says whether nobody has read anything of c: nothing is missing of
// what was there when its header was judged, and the whole header still lies
// in front. (A beginning would not do: the next bytes might be a body that
// looks like one.)
func (l *loop) unread(c *conn) bool {
	n, err := unix.IoctlGetInt(c.fd, unix.SIOCINQ)
	if err != nil || n < c.seen || c.size > len(l.buf) {
		return false
	}
	got, errno := receive(c.fd, l.buf[:c.size], unix.MSG_PEEK)
	return errno == 0 && got == c.size && l.hash.sum(l.buf[:c.size]) == c.hash
}

// replied says whether the dead worker had ended its reply: it shut down the
// sending side, which all holders of the connection share, and so even an empty
// send(2) fails.
func replied(c *conn) bool {
	return unix.Sendto(c.fd, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) == unix.EPIPE
}

// reapStrangers takes the exits of children that are no workers: orphans of
// workers, of which we are the subreaper. Not while a start is in flight: the
// child might be one that we have not heard of yet.
func (l *loop) reapStrangers() {
	l.strangers = true
	for l.inFlight == 0 {
		pid := process.NextZombie()
		if pid == 0 {
			l.strangers = false
			break
		}
		if w := l.workerOf(pid); w != nil {
			l.died(w)
			continue
		}
		l.endGroup(pid)
		exit, ok := process.Reap(pid)
		if !ok {
			return
		}
		if !l.childEnded(pid, exit) {
			l.count.Orphans++
		}
	}
	// Each either is forgotten or goes to the end of the list.
	for range l.burials.len {
		l.bury(l.burials.first.of)
	}
}

// workerOf returns the living worker with this pid.
func (l *loop) workerOf(pid int) *worker {
	for _, w := range l.workers {
		if w != nil && w.proc.PID == pid && w.state != gone {
			return w
		}
	}
	return nil
}
