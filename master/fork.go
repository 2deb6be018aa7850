package master

import (
	"errors"

	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// A forkRequest is what a preloaded process is given for a worker, and what is
// kept here for that worker.
type forkRequest struct {
	link, end      int // of the worker's link: ours, and its
	page           int // that it shares with us; -1 is none
	shared         *link.Page
	pageErr        error // why there is none
	stdout, stderr int
	vars           []string
	first          bool // the worker has the output that the preloaded process began with

	fork *process.Fork // the worker's
	own  *process.Fork // for the preloaded process's own output from then on; nil leaves it
	done func()        // closes what the worker has copies of
	err  error
}

// fork has w made by the preloaded process of its generation. first is for the
// worker as which that process began: its output is w's.
func (l *loop) fork(w *worker, first bool) {
	l.reaper.inFlight++
	w.maker = w.of.preload.by
	c := w.of.set.Command
	l.host.stdio(&c)
	l.group(&c, w.ID)
	r := forkRequest{page: -1, vars: l.vars(w), first: first}
	journal, own, tap := l.journal(w), "", w.canary
	if l.host.Journal {
		own = l.host.Name + "/preload"
	}
	box := l.box
	go func() {
		r.prepare(c, journal, own, tap)
		if !box.post(func(l *loop) { l.askFor(w, r) }) {
			r.abandon()
		}
	}()
}

// prepare makes what a worker of c needs; it waits for the kernel.
func (r *forkRequest) prepare(c process.Command, journal, own string, t *canary) {
	r.done = func() {}
	if r.link, r.end, r.err = link.Pair(); r.err != nil {
		return
	}
	if r.err = link.Credentials(r.link, true); r.err != nil {
		return
	}
	r.page, r.shared, r.pageErr = newPage()
	closeTap := func() {}
	switch {
	case r.first:
		r.own = process.Prepare(process.Command{Stdout: c.Stdout, Stderr: c.Stderr, Journal: own})
	case t != nil:
		if closeTap, r.err = t.tap(&c, journal); r.err != nil {
			return
		}
	default:
		c.Journal = journal
	}
	r.fork = process.Prepare(c)
	r.stdout, r.stderr = r.fork.Stdout, r.fork.Stderr
	r.vars = append(r.vars, r.fork.Vars...)
	r.done = func() {
		closeTap()
		r.fork.Close()
		if r.own != nil {
			r.own.Close()
		}
	}
}

// abandon gives everything back.
func (r *forkRequest) abandon() {
	r.done()
	if r.fork != nil {
		r.fork.Abandon()
	}
	r.shared.Close()
	for _, fd := range [...]int{r.link, r.end, r.page} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// askFor asks the preloaded process for w.
func (l *loop) askFor(w *worker, r forkRequest) {
	p := w.maker
	if r.err == nil && w.State == starting && p == w.of.preload.by {
		err := r.send(w.ID, p)
		if err == nil {
			l.asked(w, r)
			return
		}
		l.log.Warn("a preloaded process takes no more requests", "process", p.ID, "pid", p.proc.PID, "err", err)
		l.preloadFails(p.of, err.Error())
		l.letPreloadedGo(p)
	}
	r.abandon()
	l.reaper.inFlight--
	switch {
	case w.State != starting:
		l.forget(w)
	case r.err != nil:
		l.startFailed(w, r.err.Error())
		l.forget(w)
	default:
		l.makeProcess(w)
	}
}

// send sends the request to p.
func (r *forkRequest) send(id uint64, p *worker) error {
	fds := []int{r.end}
	if r.page >= 0 {
		fds = append(fds, r.page)
	}
	if r.first {
		err := link.SendFork(p.Link, id, r.vars, fds...)
		if err == nil {
			err = link.SendOutput(p.Link, r.own.Stdout, r.own.Stderr)
		}
		return err
	}
	return link.SendFork(p.Link, id, r.vars, append(fds, r.stdout, r.stderr)...)
}

// asked notes that w is being made.
func (l *loop) asked(w *worker, r forkRequest) {
	p := w.maker
	r.done()
	if r.pageErr != nil {
		l.warnNoPage(w, r.pageErr)
	}
	if r.first {
		p.piped = false
	}
	w.Link, w.End, w.Page, w.page, w.fork = r.link, r.end, r.page, r.shared, r.fork
	p.makes++
	if p.timer.list == nil {
		l.workers.forks.append(&p.timer, l.now+forkWithin)
	}
	if err := l.watchLink(w); err != nil {
		l.log.Error("cannot watch the link of a worker", "worker", w.ID, "err", err)
		l.forkAgain(w)
	}
}

// forked notes that p has made a worker, or has not.
func (l *loop) forked(p *worker) {
	p.makes--
	if p.timer.list == &l.workers.forks {
		p.timer.leave()
		if p.makes > 0 {
			l.workers.forks.append(&p.timer, l.now+forkWithin)
		}
	}
}

// unfork takes back what w has got for being forked.
func (l *loop) unfork(w *worker) {
	l.unwatchLink(w)
	if w.fork != nil {
		w.fork.Abandon()
		w.fork = nil
	}
	unix.Close(w.Link)
	unix.Close(w.End)
	w.Link, w.End = -1, -1
	w.dropPage()
	l.forked(w.maker)
	l.reaper.inFlight--
}

// forkAgain has w made once more, if it is still wanted.
func (l *loop) forkAgain(w *worker) {
	l.unfork(w)
	if w.State != starting {
		l.forget(w)
		return
	}
	l.makeProcess(w)
}

// notForked takes the word of p that it could not make the worker with this id,
// which is executed then.
func (l *loop) notForked(p *worker, id uint64, why string) {
	w := l.workers.find(id)
	if w == nil || w.maker != p || w.fork == nil {
		return
	}
	l.log.Warn("a preloaded process could not make a worker, which is executed: "+why, "worker", id, "process", p.ID, "pid", p.proc.PID)
	l.unfork(w)
	if w.State != starting {
		l.forget(w)
		return
	}
	l.exec(w)
}

// forkLate ends a preloaded process that does not do what it is asked for.
func (l *loop) forkLate() {
	l.kill(l.workers.forks.first.of, "it did not make a worker within "+forkWithin.String())
}

// startedFork takes the first message of a worker that was forked, which tells
// us its pid.
func (l *loop) startedFork(w *worker) {
	pid, err := link.ReceiveStarted(w.Link)
	if errors.Is(err, link.ErrEmpty) {
		return
	}
	if err == nil && l.workers.withPID(pid) != nil {
		err = &link.ParseError{Reason: "STARTED=1 came from another process"}
	}
	if err == nil {
		err = link.Credentials(w.Link, false)
	}
	if err != nil {
		l.log.Warn("a preloaded process did not make a worker as it should", "worker", w.ID, "process", w.maker.ID, "err", err)
		l.preloadFails(w.of, err.Error())
		l.letPreloadedGo(w.maker)
		l.forkAgain(w)
		return
	}
	l.unwatchLink(w)
	fork, box := w.fork, l.box
	w.fork = nil
	go func() {
		proc, err := fork.Adopt(pid)
		if !box.post(func(l *loop) { l.adopted(w, proc, err) }) && err == nil {
			proc.KillGroup()
			proc.Group.Remove()
			unix.Close(proc.FD)
		}
	}()
}

// adopted takes a worker that has been forked and is where it belongs, and lets
// it go on to the application. One that ended together with its maker is made
// again.
func (l *loop) adopted(w *worker, proc process.Process, err error) {
	p := w.maker
	if err == nil && p.State == gone && proc.Ended() {
		proc.Group.Remove()
		unix.Close(proc.FD) // its exit is an orphan's
		l.forkAgain(w)
		return
	}
	if err != nil {
		l.log.Warn("a worker that was forked cannot be used: "+err.Error(), "worker", w.ID, "process", p.ID)
		if p.State == preloaded {
			l.preloadFails(w.of, err.Error())
			l.letPreloadedGo(p)
		}
		l.forkAgain(w)
		return
	}
	l.forked(p)
	l.started(w, spawned{dir: string(p.Dir), proc: proc, link: w.Link, end: w.End, page: w.Page, shared: w.page})
	if w.State != starting || w.proc.PID == 0 {
		return
	}
	if err := link.SendGo(w.Link); err != nil {
		l.kill(w, err.Error())
	}
}

// diedWithMaker says that w was killed because it was not in a group of its own
// yet when its maker ended: nobody's fault.
func (w *worker) diedWithMaker(exit process.Exit) bool {
	return w.State == starting && w.maker != nil && w.maker.State == gone && exit.Signaled() == unix.SIGKILL
}
