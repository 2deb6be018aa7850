package master

import (
	"fmt"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/poller"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// A generation may have a preloaded process: one that has loaded what all its
// workers need, and makes them by fork(2). The first worker of a generation is
// asked by a variable to become that process. One that does says so when it is
// ready: it gets an entry of its own in the table, in the state preloaded, and
// the worker's process is the first that it makes. One that does not is the
// worker, and all others are executed.
//
//	exec --> PRELOAD, READY --> separate --> fork, for each worker:
//	prepare (outside) -> askFor -> STARTED -> Adopt (outside) -> adopted -> GO
//
// Levels of preloading, as configured.
const (
	preloadNo          = "no"
	preloadWorker      = "worker"      // what the program itself needs
	preloadApplication = "application" // the application, too
)

const (
	// announceWithin is how long other starts of a generation wait for what its
	// first worker is, unless it says before that it will be a preloaded process.
	announceWithin = 5 * time.Second

	// forkWithin is how long a preloaded process may take to make a worker.
	forkWithin = 5 * time.Second

	// preloadPause is the least time between the starts of two preloaded processes,
	// unless a worker is needed.
	preloadPause = time.Second

	// preloadEnds is how many preloaded processes in a row may end before a worker
	// of theirs was ready, and how many workers in a row may fail that have the
	// application from one.
	preloadEnds = 3
)

// preloadFacts are what the next program needs to know of how a generation
// preloads.
type preloadFacts struct {
	Level  string // of its next preloaded process; "" is none
	Ends   int    // of preloaded processes and attempts, since a worker was ready
	Failed int    // workers that had the application from one and could not start, in a row
}

// A preload is the preloading of a generation.
type preload struct {
	trying *worker   // was asked to become the preloaded process; nil without one
	queue  []*worker // wait for what trying is; without a process
	by     *worker   // the preloaded process; nil without one
}

// makeProcess has the process of w made.
func (l *loop) makeProcess(w *worker) {
	p := &w.of.preload
	switch {
	case p.by != nil:
		l.fork(w, false)
	case p.trying == nil:
		if w.of.Preload.Level != "" && l.stage == serving {
			p.trying, w.Asked = w, w.of.Preload.Level
			l.alarms[announceDue] = l.now + announceWithin
		}
		l.exec(w)
	case p.trying.Announced || l.now < p.trying.Began+announceWithin:
		p.queue = append(p.queue, w)
	default:
		l.exec(w)
	}
}

// flushQueue has the processes made of workers that have waited for what the
// first of their generation is.
func (l *loop) flushQueue(g *generation) {
	queue := g.preload.queue
	g.preload.queue = nil
	for _, w := range queue {
		l.makeProcess(w)
	}
}

// dropQueue forgets workers that have waited in vain: the policy decides anew.
func (l *loop) dropQueue(g *generation) {
	queue := g.preload.queue
	g.preload.queue = nil
	for _, w := range queue {
		l.forget(w)
	}
}

// unqueue takes w from those that wait, if it does.
func (p *preload) unqueue(w *worker) bool {
	for i := range p.queue {
		if p.queue[i] == w {
			p.queue = append(p.queue[:i:i], p.queue[i+1:]...)
			return true
		}
	}
	return false
}

// announceLate ends the wait for attempts that do not say what they are.
func (l *loop) announceLate() {
	for _, w := range l.workers.all {
		if w == nil || w.of.preload.trying != w || w.Announced {
			continue
		}
		if at := w.Began + announceWithin; at > l.now {
			l.alarms[announceDue] = at
			continue
		}
		l.flushQueue(w.of)
	}
}

// tried ends the attempt that w was; s is its next state, or 0 when it never had
// a process.
func (l *loop) tried(w *worker, s workerState) {
	g := w.of
	if g.preload.trying != w || s == starting || s == preloaded {
		return
	}
	g.preload.trying = nil
	if w.Level != "" {
		l.flushQueue(g)
		return
	}
	if s != ready {
		if w.Announced && w.Failed == "" && !w.Ordered {
			l.preloadFails(g, "it ended before it was ready")
		}
		l.dropQueue(g)
		return
	}
	if g.set.Preload == preloadApplication {
		l.log.Warn("the program of workers cannot preload an application: each worker is executed", "generation", g.Number)
	}
	g.Preload.Level = ""
	l.flushQueue(g)
}

// preloadFails counts a preloaded process of g that was of no use. After some
// workers are executed.
func (l *loop) preloadFails(g *generation, why string) {
	if g.Preload.Ends++; g.Preload.Ends >= preloadEnds && g.Preload.Level != "" {
		g.Preload.Level = ""
		l.log.Warn("preloaded processes keep ending, workers are executed from now on: "+why, "generation", g.Number)
	}
}

// preloadMessage takes what a process says about preloading. used is false where
// the message is a worker's.
func (l *loop) preloadMessage(w *worker, m link.Message) (used bool, err error) {
	about := m.Preload != nil || m.Refused != nil
	switch {
	case w.State != preloaded && !about && m.Worker == 0:
		return false, nil
	case w.State == preloaded && m.Failed != nil && (m.Worker != 0 || w.of.preload.trying == w):
		l.preloadedFails(w, m)
	case w.State == killed || w.Ordered:
	case !about || m.Worker != 0 || w.of.preload.trying != w:
		return true, &link.ParseError{Reason: "it was not asked to be a preloaded process, or says what is not for one"}
	default:
		return true, l.announced(w, m)
	}
	return true, nil
}

// preloadedFails takes FAILED= of w: it cannot make a worker, or is of no use.
func (l *loop) preloadedFails(w *worker, m link.Message) {
	if m.Worker != 0 {
		l.notForked(w, m.Worker, printable(m.Failed))
		return
	}
	w.Failed = printable(m.Failed)
}

// announced takes what a process says that was asked to be a preloaded one.
func (l *loop) announced(w *worker, m link.Message) error {
	switch {
	case m.Refused != nil:
		l.refusesPreload(w, printable(m.Refused))
	case string(m.Preload) != w.Asked:
		return &link.ParseError{Reason: "PRELOAD= is not the level that it was asked for"}
	case m.Ready:
		l.becomePreloaded(w)
	default:
		w.Announced = true
	}
	return nil
}

// becomePreloaded takes READY=1 of a process that makes workers: w and those that
// have waited.
func (l *loop) becomePreloaded(w *worker) {
	g, p := w.of, w
	w.dropPage() // it finishes no connections
	if w.State == starting {
		p = l.separate(w)
	}
	p.Asked = ""
	p.timer.leave()
	g.preload.trying, g.preload.by = nil, p
	l.log.Info("preloaded process is ready", "process", p.ID, "pid", p.proc.PID, "level", p.Level, "generation", g.Number,
		"after", (l.now - w.Began).Round(time.Millisecond))
	if p != w {
		l.fork(w, true)
	}
	l.flushQueue(g)
}

// preloadAgain starts a preloaded process in the place of one that has ended, so
// that it is there before a worker is needed.
func (l *loop) preloadAgain() {
	g := l.gens.current
	if g.preload.by != nil || g.preload.trying != nil || g.Preload.Level == "" || !g.Proven || l.stage != serving || l.op.handover != nil {
		return
	}
	p := l.workers.add(g, l.now)
	p.Level, p.Asked = g.Preload.Level, g.Preload.Level
	l.enter(p, preloaded)
	g.preload.trying = p
	l.workers.starts.append(&p.timer, l.now+g.set.StartTimeout)
	l.alarms[announceDue] = l.now + announceWithin
	l.exec(p)
}

// refusesPreload takes a process that was asked for more than it can be. It ends;
// w begins again, with less.
func (l *loop) refusesPreload(w *worker, why string) {
	g := w.of
	less := ""
	if w.Asked == preloadApplication {
		less = preloadWorker
	}
	l.log.Warn("the application cannot be preloaded, workers load it themselves: "+why, "generation", g.Number)
	g.Preload.Level = less
	if w.State == preloaded {
		w.Ordered = true
		l.end(w)
		l.alarms[preloadDue] = max(l.now, 1)
		return
	}
	g.preload.trying = nil
	w.dropPage()
	p := l.separate(w)
	p.Ordered = true
	l.end(p)
	l.makeProcess(w)
	l.flushQueue(g)
}

// separate gives the process of w, which is not a worker, an entry of its own.
// From then on w has none.
func (l *loop) separate(w *worker) *worker {
	p := l.workers.add(w.of, l.now)
	p.proc, w.proc = w.proc, process.Process{FD: -1}
	p.Link, p.End, w.Link, w.End = w.Link, w.End, -1, -1
	p.Dir, p.Group, w.Group = w.Dir, w.Group, ""
	p.Level, w.Asked, w.Announced = w.Asked, "", false
	p.Watched, w.Watched = w.Watched, false
	p.piped = w.piped
	// What is in the same batch of events finds w without a process.
	if p.Watched {
		l.poll.Change(p.Link, unix.EPOLLIN|unix.EPOLLRDHUP, poller.Tag{About: aboutLink, Index: p.index, Stamp: p.stamp()})
	}
	l.poll.Change(p.proc.FD, unix.EPOLLIN, poller.Tag{About: aboutProcess, Index: p.index, Stamp: p.stamp()})
	l.enter(p, preloaded)
	return p
}

// preloadedEnds notes the end of a preloaded process. What it was to make, and has
// not, is made otherwise.
func (l *loop) preloadedEnds(p *worker, exit process.Exit) {
	g := p.of
	if g.preload.by == p {
		g.preload.by = nil
	}
	switch {
	case p.Ordered:
		l.log.Debug("preloaded process has left", "process", p.ID, "pid", p.proc.PID)
	case p.Failed != "":
		l.log.Warn("preloaded process could not start again: "+p.Failed, "process", p.ID, "pid", p.proc.PID)
	default:
		l.log.Warn("preloaded process "+exit.String()+", another is started", "process", p.ID, "pid", p.proc.PID)
		if p.Doomed == "" && (p.makes > 0 || g.preload.trying == p) {
			l.preloadFails(g, "it "+verb(exit))
		}
		l.alarms[preloadDue] = max(p.Began+preloadPause, l.now, 1)
	}
	l.enter(p, gone)
	p.ReapedAt = l.now
	for _, w := range l.workers.all {
		if w != nil && w.maker == p && w.fork != nil {
			l.forkAgain(w)
		}
	}
	l.awaitGroup(p)
}

// preloadedLeaves takes a preloaded process that has closed its link: it makes no
// more workers, and its end is to come.
func (l *loop) preloadedLeaves(p *worker) {
	if p.of.preload.by == p {
		p.of.preload.by = nil
	}
	if p.timer.list == nil {
		l.workers.stops.append(&p.timer, l.now+l.set().StopTimeout)
	}
}

// letPreloadedGo tells a preloaded process that no more workers are needed of it.
func (l *loop) letPreloadedGo(p *worker) {
	if p.of.preload.by == p {
		p.of.preload.by = nil
	}
	if p.State != preloaded || p.Ordered {
		return
	}
	p.Ordered = true
	if p.of.preload.trying == p {
		p.of.preload.trying = nil
		l.flushQueue(p.of)
	}
	unix.Shutdown(p.Link, unix.SHUT_WR)
	l.workers.stops.append(&p.timer, l.now+l.set().StopTimeout)
}

// dismissPreloaded lets those go whose generation starts no more workers.
func (l *loop) dismissPreloaded() {
	n := l.workers.in[preloaded]
	if n == 0 || n == 1 && l.gens.current.preload.by != nil {
		return
	}
	for _, p := range l.workers.all {
		if p != nil && p.State == preloaded && !p.Ordered && p.of != l.gens.current && (l.gens.canary == nil || l.gens.canary.of != p.of) {
			l.letPreloadedGo(p)
		}
	}
}

// forkedFails takes a worker that was forked and could not start. The next has
// another maker: what this one has loaded may be outdated, or at fault.
func (l *loop) forkedFails(w *worker) {
	g, p := w.of, w.maker
	if p == nil {
		return
	}
	l.letPreloadedGo(p)
	if p.Level != preloadApplication {
		return
	}
	if g.Preload.Failed++; g.Preload.Failed >= preloadEnds && g.Preload.Level == preloadApplication {
		g.Preload.Level = preloadWorker
		l.log.Warn("workers with a preloaded application keep failing, from now on they load it themselves", "generation", g.Number)
	}
}

// preloadStatus is what status shows; nil without preloading.
func (l *loop) preloadStatus() *control.Preload {
	g := l.gens.current
	if g.preload.by != nil {
		return &control.Preload{Level: g.preload.by.Level, PID: g.preload.by.proc.PID}
	}
	if g.set.Preload == "" || g.set.Preload == preloadNo {
		return nil
	}
	level := g.Preload.Level
	if level == "" {
		level = preloadNo
	}
	return &control.Preload{Level: level}
}

// restore takes w from the program before.
func (p *preload) restore(w *worker) {
	switch {
	case w.Ordered:
	case w.State == preloaded && w.Asked == "":
		p.by = w
	case (w.State == starting || w.State == preloaded) && w.Asked != "":
		p.trying = w
	}
}

// checkPreload says whether it is a level.
func checkPreload(level string) error {
	switch level {
	case "", preloadNo, preloadWorker, preloadApplication:
		return nil
	}
	return fmt.Errorf("preloading %.40q", level)
}
