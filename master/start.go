package master

import (
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/pool"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// startsAtOnce bounds the starts in progress outside the loop.
const startsAtOnce = 8

// ownStreams is how many workers have a stream of their own in the journal,
// which takes 4096 from all of its machine. More share the master's.
const ownStreams = 512

// start begins to start a worker. A goroutine waits for fork and exec and
// posts what came of it.
func (l *loop) start() { l.startOf(l.current, nil) }

// startOf starts a worker of g; t is nil unless it is its trial.
func (l *loop) startOf(g *generation, t *trial) *worker {
	w := l.newWorker(g)
	w.trial, w.piped = t, t != nil
	l.inFlight++
	l.count.Starts++
	plan := *g // as it is now
	vars := []string{
		link.EnvFD + "=" + strconv.Itoa(process.LinkFD),
		link.EnvWorker + "=" + strconv.FormatUint(w.id, 10),
		link.EnvGeneration + "=" + strconv.Itoa(g.number),
		link.EnvProtocol + "=" + strconv.Itoa(link.Protocol),
		link.EnvPool + "=" + l.set.Name,
	}
	journal := ""
	if l.set.Journal && w.index < ownStreams {
		journal = l.set.Name + "/w" + strconv.FormatUint(w.id, 10)
	}
	l.group(&plan.set.Command, w.id)
	box := l.box
	go func() {
		b := plan.launch(vars, journal, t)
		if !box.post(func(l *loop) { l.started(w, b) }) {
			b.undo()
		}
	}()
	return w
}

// A birth is a worker process with its link, or why there is none.
type birth struct {
	dir       string // where it was started, or was to be
	proc      process.Process
	link, end int
	err       error
}

// launch starts a worker of the generation with some variables more; it waits
// for the kernel.
func (g *generation) launch(vars []string, journal string, t *trial) birth {
	c, err := g.place()
	if err != nil {
		return birth{err: err}
	}
	c.Env = append(c.Env[:len(c.Env):len(c.Env)], vars...)
	if t != nil {
		closeAll, err := t.tap(&c, journal)
		if err != nil {
			return birth{dir: c.Dir, err: err}
		}
		defer closeAll()
	} else {
		c.Journal = journal
	}
	b := launch(c)
	b.dir = c.Dir
	return b
}

// launch makes the link and starts the process.
func launch(c process.Command) birth {
	ours, theirs, err := link.Pair()
	if err != nil {
		return birth{err: err}
	}
	c.Link = theirs
	p, err := process.Start(c)
	if err != nil {
		unix.Close(ours)
		unix.Close(theirs)
		return birth{err: err}
	}
	return birth{proc: p, link: ours, end: theirs}
}

// undo ends a process that nobody waits for any more.
func (b birth) undo() {
	if b.err != nil {
		return
	}
	b.proc.KillGroup()
	b.proc.Group.Remove()
	unix.Close(b.proc.FD)
	unix.Close(b.link)
	unix.Close(b.end)
}

// started takes a process that has been started for w.
func (l *loop) started(w *worker, b birth) {
	l.inFlight--
	w.dir = b.dir
	if b.err != nil {
		if w.state == starting {
			l.startFailed(w, b.err.Error())
		}
		l.forget(w)
		return
	}
	w.proc, w.link, w.end = b.proc, b.link, b.end
	if why := w.proc.Unjournaled; why != nil {
		l.warnOnce(&l.warned.journal, "a worker has no stream of its own in the journal, its lines are among the master's", "worker", w.id, "err", why)
	}
	if w.proc.Group != nil {
		w.group = w.proc.Group.Path
	}
	if w.proc.GroupErr != nil {
		l.warnOnce(&l.warned.group, "a worker has no control group of its own", "worker", w.id, "err", w.proc.GroupErr)
	}
	l.emit(control.Event{Kind: control.EventWorkerStarted, Worker: w.id, PID: w.proc.PID})
	err := l.poll.ctl(unix.EPOLL_CTL_ADD, w.link, unix.EPOLLIN|unix.EPOLLRDHUP, aboutLink, w.index, int32(w.id))
	w.heard = err == nil
	if err == nil {
		err = l.poll.ctl(unix.EPOLL_CTL_ADD, w.proc.FD, unix.EPOLLIN, aboutProcess, w.index, int32(w.id))
	}
	switch {
	case err != nil:
		// Without its pidfd we would not see it end.
		l.startFailed(w, err.Error())
		w.proc.KillGroup()
		l.forget(w)
	case w.state == killed:
		w.proc.KillGroup()
	}
}

// becomeReady takes READY=1.
func (l *loop) becomeReady(w *worker, m link.Message) {
	w.slots = max(m.Slots, 1)
	w.dump = string(m.DumpSignal)
	if cap(w.conns) < w.slots {
		w.conns = make([]*conn, 0, w.slots)
	}
	if !w.of.prove(w) {
		// Not its fault, and no failure.
		l.log.info("a worker was started in another release than its generation", "worker", w.id, "directory", w.dir, "generation_in", w.of.dir)
		if w.trial != nil {
			w.trial.tell(errors.New("the working directory was changed to another release meanwhile; reload again"))
		}
		l.discard(w)
		return
	}
	if l.failures > 0 && w.trial == nil {
		l.log.info("the application starts again", "worker", w.id, "failures", l.failures)
		l.emit(control.Event{Kind: control.EventStartRecovered, Worker: w.id, Count: uint64(l.failures)})
	}
	if w.trial == nil {
		l.failuresBefore, l.failures = l.failures, 0
	}
	l.enter(w, ready)
	l.checkGroup(w)
	l.log.info("worker is ready", "worker", w.id, "pid", w.proc.PID, "slots", w.slots,
		"after", (l.now - w.began).Round(time.Millisecond))
	l.emit(control.Event{Kind: control.EventWorkerReady, Worker: w.id, PID: w.proc.PID})
	l.sayReady()
	if w.trial != nil {
		w.trial.tell(nil)
	}
}

// startFailed counts a start that failed, or a worker that crashed before it
// had served anybody, and puts off the next.
func (l *loop) startFailed(w *worker, why string) {
	if w.trial != nil {
		l.count.StartsFailed++
		l.log.err("worker could not start: "+why, "worker", w.id, "pid", w.proc.PID, "generation", w.of.number)
		w.trial.tell(errors.New("worker " + strconv.FormatUint(w.id, 10) + " could not start: " + why))
		return
	}
	if w.of != l.current {
		l.count.StartsFailed++ // of a generation that is given up
		return
	}
	if l.failures == 0 {
		l.failures, l.failuresBefore = l.failuresBefore, 0
	}
	l.failures++
	l.count.StartsFailed++
	pause := pool.BackOff(l.failures)
	l.retryAt = l.now + pause
	l.lastFailure = why
	l.emit(control.Event{Kind: control.EventStartFailing, Worker: w.id, PID: w.proc.PID, Reason: why, Count: uint64(l.failures)})
	l.log.err("worker could not start: "+why, "worker", w.id, "pid", w.proc.PID, "failures", l.failures, "next_try_in", pause)
	l.sayReady()
	l.watchRelease(w.dir)
	l.rollFails(why)
}

// failsNoMore takes back one failure before the next is counted.
func (l *loop) failsNoMore() {
	switch {
	case l.failures > 0:
		l.failures--
	case l.failuresBefore > 0:
		l.failuresBefore--
	}
}

// baseCommand is what every worker of these settings is started with.
func baseCommand(s Settings) process.Command {
	c := s.Command
	if c.Stdout == 0 {
		c.Stdout = int(os.Stdout.Fd())
	}
	if c.Stderr == 0 {
		c.Stderr = int(os.Stderr.Fd())
	}
	return c
}
