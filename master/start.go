package master

import (
	"errors"
	"strconv"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/poller"
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
func (l *loop) start() {
	l.backoff.Wanted = false
	l.startOf(l.gens.current, nil)
}

// startOf starts a worker of g; t is nil unless it is its canary.
func (l *loop) startOf(g *generation, t *canary) *worker {
	w := l.workers.add(g, l.now)
	w.canary, w.piped = t, t != nil
	l.enter(w, starting)
	l.count.Starts++
	l.makeProcess(w)
	return w
}

// exec executes the program of w.
func (l *loop) exec(w *worker) {
	l.reaper.inFlight++
	plan := *w.of // as it is now
	vars := append([]string{link.EnvFD + "=" + strconv.Itoa(process.LinkFD)}, l.vars(w)...)
	if w.Asked != "" {
		vars = append(vars, link.EnvPreload+"="+w.Asked)
	}
	journal, t := l.journal(w), w.canary
	l.host.stdio(&plan.set.Command)
	l.group(&plan.set.Command, w.ID)
	box := l.box
	go func() {
		b := plan.launch(vars, journal, t)
		if !box.post(func(l *loop) { l.started(w, b) }) {
			b.abort()
		}
	}()
}

// vars are the variables by which w knows what it is.
func (l *loop) vars(w *worker) []string {
	return []string{
		link.EnvWorker + "=" + strconv.FormatUint(w.ID, 10),
		link.EnvGeneration + "=" + strconv.Itoa(w.of.Number),
		link.EnvProtocol + "=" + strconv.Itoa(link.Protocol),
		link.EnvPool + "=" + l.host.Name,
	}
}

// journal is the name of the stream of w in the journal, "" if it has none.
func (l *loop) journal(w *worker) string {
	if !l.host.Journal || w.index >= ownStreams {
		return ""
	}
	return l.host.Name + "/w" + strconv.FormatUint(w.ID, 10)
}

// A spawned is a worker process with its link, or why there is none.
type spawned struct {
	dir       string // where it was started, or was to be
	proc      process.Process
	link, end int
	page      int // -1 without one
	shared    *link.Page
	pageErr   error // why there is none
	err       error
}

// launch starts a worker of the generation with some variables more; it waits
// for the kernel.
func (g *generation) launch(vars []string, journal string, t *canary) spawned {
	c, err := g.place()
	if err != nil {
		return spawned{err: err}
	}
	c.Env = append(c.Env[:len(c.Env):len(c.Env)], vars...)
	if t != nil {
		closeAll, err := t.tap(&c, journal)
		if err != nil {
			return spawned{dir: c.Dir, err: err}
		}
		defer closeAll()
	} else {
		c.Journal = journal
	}
	b := launch(c)
	b.dir = c.Dir
	return b
}

// launch makes the link and the page and starts the process.
func launch(c process.Command) spawned {
	ours, theirs, err := link.Pair()
	if err != nil {
		return spawned{err: err}
	}
	b := spawned{link: ours, end: theirs}
	c.Link = theirs
	if b.page, b.shared, b.pageErr = newPage(); b.pageErr == nil {
		c.Page = b.page
		c.Env = append(c.Env, link.EnvPage+"="+strconv.Itoa(process.PageFD))
	}
	if b.proc, b.err = process.Start(c); b.err != nil {
		b.close()
	}
	return b
}

// close closes what the process shares with us.
func (b spawned) close() {
	b.shared.Close()
	for _, fd := range [...]int{b.link, b.end, b.page} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// abort ends a process that nobody waits for any more.
func (b spawned) abort() {
	if b.err != nil {
		return
	}
	b.proc.KillGroup()
	b.proc.Group.Remove()
	unix.Close(b.proc.FD)
	b.close()
}

// started takes a process that has been started for w.
func (l *loop) started(w *worker, b spawned) {
	l.reaper.inFlight--
	w.Dir = raw(b.dir)
	if b.err != nil {
		if w.State == starting {
			l.startFailed(w, b.err.Error())
		}
		l.forget(w)
		return
	}
	w.proc, w.Link, w.End, w.Page, w.page = b.proc, b.link, b.end, b.page, b.shared
	if b.pageErr != nil {
		l.warnNoPage(w, b.pageErr)
	}
	if why := w.proc.Unjournaled; why != nil {
		l.warnRateLimited(warnJournal, "a worker has no stream of its own in the journal, its lines are among the master's", "worker", w.ID, "err", why)
	}
	if w.proc.Group != nil {
		w.Group = raw(w.proc.Group.Path)
	}
	if w.proc.GroupErr != nil {
		l.warnRateLimited(warnGroup, "a worker has no control group of its own", "worker", w.ID, "err", w.proc.GroupErr)
	}
	if w.Level == "" {
		l.emit(control.Event{Kind: control.EventWorkerStarted, Worker: w.ID, PID: w.proc.PID})
	}
	err := l.watchLink(w)
	if err == nil {
		err = l.watchProcess(w)
	}
	switch {
	case err != nil:
		// Without its pidfd we would not see it end.
		l.startFailed(w, err.Error())
		w.proc.KillGroup()
		l.forget(w)
	case w.State == killed:
		w.proc.KillGroup()
	case w.State == preloaded && w.Ordered:
		unix.Shutdown(w.Link, unix.SHUT_WR) // it was let go meanwhile
	}
}

// watchLink has the kernel tell of messages of w.
func (l *loop) watchLink(w *worker) error {
	err := l.poll.Add(w.Link, unix.EPOLLIN|unix.EPOLLRDHUP, poller.Tag{About: aboutLink, Index: w.index, Stamp: w.stamp()})
	w.Watched = err == nil
	return err
}

// watchProcess has the kernel tell of the end of w.
func (l *loop) watchProcess(w *worker) error {
	return l.poll.Add(w.proc.FD, unix.EPOLLIN, poller.Tag{About: aboutProcess, Index: w.index, Stamp: w.stamp()})
}

// becomeReady takes READY=1.
func (l *loop) becomeReady(w *worker, m link.Message) {
	w.Slots = max(m.Slots, 1)
	if w.Paged = m.Page && w.page != nil && w.Slots <= link.PageSlots; !w.Paged {
		w.dropPage()
	}
	w.Dump = string(m.DumpSignal)
	if cap(w.conns) < w.Slots {
		w.conns = make([]*conn, 0, w.Slots)
	}
	if !w.of.prove(w) {
		// Not its fault, and no failure.
		l.log.Info("a worker was started in another release than its generation", "worker", w.ID, "directory", string(w.Dir), "generation_in", string(w.of.Dir))
		if w.canary != nil {
			w.canary.report(errors.New("the working directory was changed to another release meanwhile; reload again"))
		}
		l.discard(w)
		return
	}
	if w.maker != nil {
		w.of.Preload.Ends = 0
	}
	l.enter(w, ready)
	l.checkGroup(w)
	l.log.Info("worker is ready", "worker", w.ID, "pid", w.proc.PID, "slots", w.Slots,
		"after", (l.now - w.Began).Round(time.Millisecond))
	l.emit(control.Event{Kind: control.EventWorkerReady, Worker: w.ID, PID: w.proc.PID})
	l.sayReady()
	if w.canary != nil {
		w.canary.report(nil)
	}
}

// startFailed counts a start that failed and puts off the next: the worker could
// not be started, or it ended, broke the protocol or closed its link before it
// had served anybody, without being told to.
func (l *loop) startFailed(w *worker, why string) {
	if w.Level != "" {
		return // not a worker
	}
	w.StartFailed = true
	l.count.StartsFailed++
	l.forkedFails(w)
	l.workerFailed(w, control.FailedStart, "could not start: "+why)
	if w.canary != nil {
		l.log.Error("worker could not start: "+why, "worker", w.ID, "pid", w.proc.PID, "generation", w.of.Number)
		w.canary.report(errors.New("worker " + strconv.FormatUint(w.ID, 10) + " could not start: " + why))
		return
	}
	if w.of != l.gens.current {
		return // of a generation that is given up
	}
	pause := l.backoff.failed(why, w.Began, l.now)
	l.emit(control.Event{Kind: control.EventStartFailing, Worker: w.ID, PID: w.proc.PID, Reason: why, Count: uint64(l.backoff.Failures)})
	l.log.Error("worker could not start: "+why, "worker", w.ID, "pid", w.proc.PID, "failures", l.backoff.Failures, "next_try_in", pause)
	l.sayReady()
	l.watchRelease(string(w.Dir))
	l.rollFails(why)
}
