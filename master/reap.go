package master

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

const (
	groupCheck = 10 * time.Millisecond // between two looks at a dead worker's group
	groupLimit = 5 * time.Second       // how long a killed group may take
)

// reap takes the end of a worker, told by its pidfd.
func (l *loop) reap(w *worker) {
	l.drainLink(w) // it may have said DONE just before
	l.collectFrom(w)
	// While the zombie is there its number is nobody else's: end what it
	// has left behind in its groups.
	w.proc.KillGroup()
	exit, ok := w.proc.Reap()
	if !ok {
		return
	}
	l.unwatchLink(w)
	l.poll.Remove(w.proc.FD)
	if w.Level != "" {
		l.preloadedEnds(w, exit)
		return
	}
	w.Ordered = w.Ordered || w.diedWithMaker(exit)
	l.takeBack(w)
	l.classifyExit(w, exit)
	l.emit(control.Event{Kind: control.EventWorkerExited, Worker: w.ID, PID: w.proc.PID, Reason: exitReason(w, exit), Served: w.Served})
	if w.canary != nil {
		w.canary.report(fmt.Errorf("worker %d %s", w.ID, exit))
	}
	l.enter(w, gone)
	w.ReapedAt = l.now
	l.awaitGroup(w)
}

// classifyExit counts and logs the end of w, and finds out whether it was a
// start that failed. What w never received has been taken back.
func (l *loop) classifyExit(w *worker, exit process.Exit) {
	l.count.exit(exitKind(w, exit))
	l.logExit(w, exit)
	l.endsUnserved(w, failedStart(w, exit))
}

// endsUnserved takes a worker that has ended, or can do nothing any more: that
// is a start that failed, unless it has served a connection or was told to go.
// If it died of its first request, and the application has served others, it
// was that request and not the start. What a canary holds is our own probe.
func (l *loop) endsUnserved(w *worker, why string) {
	l.collectFrom(w)
	if w.Served > 0 || w.Ordered || w.StartFailed || l.stage != serving {
		return
	}
	if w.canary == nil && slices.ContainsFunc(w.conns, replied) {
		l.serves(w) // only its DONE is missing
		return
	}
	w.StartFailed = true
	if w.canary == nil && len(w.conns) > 0 && w.of.Serves && l.backoff.crashed() {
		return
	}
	l.startFailed(w, why)
}

// exitKind is what counters call the end of w.
func exitKind(w *worker, exit process.Exit) string {
	switch {
	case w.State == starting:
		return "start failed"
	case w.State == killed:
		return "killed"
	case w.State == retiring && exit.Clean():
		return "retired"
	case exit.Clean():
		return "left"
	case exit.OutOfMemory:
		return "oom"
	case exit.Signaled() != 0:
		return unix.SignalName(exit.Signaled())
	}
	return "exited"
}

// logExit logs the end of w, unless that was told when it began.
func (l *loop) logExit(w *worker, exit process.Exit) {
	expected := w.going() || w.State == killed
	about := []any{"worker", w.ID, "pid", w.proc.PID, "served", w.Served}
	switch c := w.oldest(); {
	case w.State == starting: // startFailed logs it
	case w.Failed != "" || w.State == killed && w.Doomed == "":
	case expected && exit.Clean():
		l.log.Info("worker has left", about...)
	case c != nil:
		at := " at request "
		if w.Served == 0 {
			at = " at its first request, "
		}
		what := printable(c.Method.bytes()) + " " + printable(c.URI.bytes())
		l.workerFailed(w, control.FailedExit, verb(exit)+at+what)
		l.log.Warn("worker "+exit.String()+at+what, append(about, "holding", len(w.conns), "request", c.ID)...)
	default:
		l.workerFailed(w, control.FailedExit, verb(exit))
		l.log.Warn("worker "+exit.String(), append(about, "holding", len(w.conns))...)
	}
}

// failedStart says why the end of w is a start that failed.
func failedStart(w *worker, exit process.Exit) string {
	switch {
	case w.State == starting && exit.Clean():
		return "it " + verb(exit) + " before it was ready; a worker says READY=1, see scgid-worker(7), and CGI programs are run by scgi-cgi"
	case w.State == starting:
		return "it " + verb(exit) + " before it was ready"
	case len(w.conns) > 0:
		return "it " + verb(exit) + " at its first request"
	}
	return "it " + verb(exit) + " before it had served anybody"
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
	case w.Doomed != "":
		return "killed: " + w.Doomed
	case w.Failed != "":
		return "could not start: " + w.Failed
	case w.State == retiring && exit.Clean():
		return "retired"
	}
	return exit.String()
}

// takeBack takes from the dead worker's link what it never received. Nobody
// else has seen these connections: they may be passed on at once.
func (l *loop) takeBack(w *worker) {
	for range len(w.conns) + 1 {
		id, err := link.Recall(w.End)
		if errors.Is(err, link.ErrEmpty) || errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.log.Error("cannot take back connections of a dead worker", "worker", w.ID, "err", err)
			return
		}
		if c := w.find(id); c != nil {
			w.release(c)
			if c.Probe {
				l.drop(c)
				continue
			}
			l.count.Retried++
			l.requeue(c)
		}
	}
}

// awaitGroup decides about what the dead worker has received, once nobody of its
// group can read from it any more, and forgets the worker.
func (l *loop) awaitGroup(w *worker) {
	empty := w.proc.GroupEmpty() || len(w.conns) == 0 && w.proc.Group.Empty()
	if !empty && l.now-w.ReapedAt < groupLimit {
		l.workers.awaiting.append(&w.timer, l.now+groupCheck)
		return
	}
	l.collectFrom(w)
	for len(w.conns) > 0 {
		c := w.conns[0]
		w.release(c)
		l.conclude(c, empty)
	}
	l.forget(w)
}

// conclude decides about a connection that its dead worker has received; alone
// says that nobody else can have it.
func (l *loop) conclude(c *conn, alone bool) {
	switch {
	case c.Probe:
		l.drop(c)
	case alone && l.unread(c):
		// The dead worker may have made it non-blocking, for all holders.
		unix.SetNonblock(c.FD, false)
		l.count.Retried++
		l.requeue(c)
	case replied(c):
		// Only its DONE is missing.
		l.count.Served++
		l.access(c, link.Message{}, l.now)
		l.drop(c)
	default:
		l.lose(c, alone)
	}
}

// lose ends a request that its worker has read and not answered. It is not
// executed again. The client gets a reply of ours if it has nothing of another.
func (l *loop) lose(c *conn, alone bool) {
	w := c.worker
	l.count.Lost++
	l.alerts.failed(control.FailedLost, w.ID, fmt.Sprintf("a request was lost with worker %d: %s %s", w.ID, printable(c.Method.bytes()), printable(c.URI.bytes())), l.now)
	l.emit(control.Event{Kind: control.EventLost, Worker: w.ID, Count: 1})
	l.log.Warn("a request was lost with its worker", "worker", w.ID, "request", c.ID,
		"method", printable(c.Method.b[:c.Method.n]), "uri", printable(c.URI.b[:c.URI.n]))
	if !alone || c.begun() {
		l.drop(c)
		return
	}
	c.check.leave()
	c.worker = nil
	l.answer(c, 500)
}

// unread says whether nobody has read anything of c: nothing is missing of
// what was there when its header was looked at, and the whole header still lies
// in front. (A beginning would not do: the next bytes might be a body that
// looks like one.)
func (l *loop) unread(c *conn) bool {
	n, err := unix.IoctlGetInt(c.FD, unix.SIOCINQ)
	if err != nil || n < c.Seen || c.Size > len(l.conns.buf) {
		return false
	}
	got, errno := receive(c.FD, l.conns.buf[:c.Size], unix.MSG_PEEK)
	return errno == 0 && got == c.Size && l.conns.hash.sum(l.conns.buf[:c.Size]) == c.Hash
}

// replied says whether the dead worker had ended its reply: it shut down the
// sending side, which all holders of the connection share, and so even an empty
// send(2) fails.
func replied(c *conn) bool {
	return unix.Sendto(c.FD, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) == unix.EPIPE
}

// reapOrphans takes the exits of children that are not workers: orphans of
// workers, of which we are the subreaper. Not while a start is in flight: the
// child might be one that we do not know yet.
func (l *loop) reapOrphans() {
	l.reaper.pending = true
	for l.reaper.inFlight == 0 {
		pid := process.NextZombie()
		if pid == 0 {
			l.reaper.pending = false
			break
		}
		if w := l.workers.withPID(pid); w != nil {
			l.reap(w)
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
	for range l.workers.awaiting.len {
		l.awaitGroup(l.workers.awaiting.first.of)
	}
}
