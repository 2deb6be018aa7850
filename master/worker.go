package master

import (
	"fmt"
	"slices"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// A workerState is where a worker is in its life. Only enter changes it.
//
//	starting -> ready | killed | gone
//	preloaded -> killed | gone
//	ready    -> leaving | retiring | killed | gone
//	leaving  -> killed | gone
//	retiring -> killed | gone
//	killed   -> gone
type workerState uint8

const (
	starting  workerState = iota + 1 // on its way, not READY
	ready                            // takes connections
	leaving                          // takes no more, by its own will
	retiring                         // told to finish what it holds
	killed                           // SIGKILL is sent
	gone                             // dead and reaped; its group may still live
	preloaded                        // not a worker: it makes workers, see preload.go
	workerStates
)

var workerStateNames = [workerStates]string{"", "starting", "ready", "leaving", "retiring", "killed", "gone", "preloaded"}

func (s workerState) String() string { return workerStateNames[s] }

// MarshalText writes the state's name.
func (s workerState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a state.
func (s *workerState) UnmarshalText(b []byte) error {
	i := slices.Index(workerStateNames[:], string(b))
	if i <= 0 {
		return fmt.Errorf("a worker is %.40q", b)
	}
	*s = workerState(i)
	return nil
}

// A worker is a worker process and what it holds. The loop owns its
// descriptors.
type worker struct {
	workerFacts
	index  int32 // in workers.all
	of     *generation
	canary *canary         // nil unless its generation waits for what becomes of it
	piped  bool            // its stderr goes through us
	proc   process.Process // PID is 0 until it is started
	conns  []*conn
	page   *link.Page // that is Page
	asked  uint8      // to say DONE

	maker *worker       // the preloaded process that made it, or is to; nil without one
	fork  *process.Fork // what it gets when it has been forked; nil before and afterwards
	makes int           // of a preloaded process: workers that it has been asked for

	offered node[worker] // in workers.idle or partial
	timer   node[worker] // in workers.starts, stops, terms, awaiting or forks
}

// workerFacts are what the next program needs to know of a worker.
type workerFacts struct {
	ID    uint64
	State workerState
	Dir   raw // where it was started
	Group raw // the path of its control group, "" without one

	Link    int  // our end
	End     int  // our duplicate of its end: what it did not receive comes back from there
	Watched bool // our end is in the epoll set

	pageFacts

	Slots  int
	Served uint64
	Slow   bool // left a connection lying in its link

	Began    Time
	LeftAt   Time // when it stopped taking connections
	ReapedAt Time

	Ordered     bool // it was told to leave, or was ended because nobody wants it any more
	StartFailed bool // it was counted as a start that failed

	Asked     string // level at which it was asked to be a preloaded process; "" is not
	Announced bool   // it said that it will be one
	Level     string // of a preloaded process; "" for a worker

	Doomed string // it is to be killed as soon as it is started, and why
	Failed string // what it said with FAILED=
	Status string // what it said with STATUS=
	Dump   string // the signal that makes it dump its stacks

	Chat      int // messages since ChatSince
	ChatSince Time
}

// pageFacts are about the memory in which a worker says what it has finished.
type pageFacts struct {
	Page  int    // its descriptor; -1 is none
	Paged bool   // the worker uses it
	Dones uint64 // DONE=, which are fewer with it
}

// stamp tells w from a former owner of its index.
func (w *worker) stamp() int32 { return int32(w.ID) }

// A workers drawer has all worker processes.
type workers struct {
	all    []*worker // by index; nil is free
	LastID uint64
	in     [workerStates]int // workers by state

	idle     list[worker] // ready and without a connection, most recently used first
	partial  list[worker] // ready, with some connections and a free slot
	starts   list[worker] // have to be ready in time
	stops    list[worker] // have to be gone in time
	terms    list[worker] // got SIGTERM, have to be gone in time
	awaiting list[worker] // dead, their group is not empty
	forks    list[worker] // preloaded processes that have to make a worker in time

	pages pages

	Grouping bool // new ones are to have control groups

	sender   link.Sender
	receiver link.Receiver
}

// add makes a worker in no state.
func (s *workers) add(of *generation, now Time) *worker {
	s.LastID++
	w := &worker{of: of, workerFacts: workerFacts{ID: s.LastID, Link: -1, End: -1, pageFacts: pageFacts{Page: -1}, Began: now}}
	w.proc.FD = -1
	w.offered.of, w.timer.of = w, w
	i := slices.Index(s.all, nil)
	if i < 0 {
		i = len(s.all)
		s.all = append(s.all, nil)
	}
	w.index = int32(i)
	s.all[i] = w
	return w
}

// remove forgets w.
func (s *workers) remove(w *worker) {
	w.timer.leave()
	w.offered.leave()
	s.in[w.State]--
	s.all[w.index] = nil
}

// move changes the state of w, and sets what time it has for it.
func (s *workers) move(w *worker, to workerState, now Time) {
	if w.State != 0 {
		s.in[w.State]--
	}
	if w.State == ready {
		w.LeftAt = now
	}
	w.State = to
	s.in[to]++
	w.timer.leave()
	if to == starting {
		s.starts.append(&w.timer, now+w.of.set.StartTimeout)
	}
}

// relist puts w into the list from which the next connection is served, if it
// has a place.
func (s *workers) relist(w *worker, now Time) {
	switch {
	case w.State != ready || len(w.conns) >= w.Slots:
		w.offered.leave()
	case len(w.conns) > 0:
		if w.offered.list != &s.partial {
			s.partial.append(&w.offered, now)
		}
	case w.Slow:
		s.idle.append(&w.offered, now)
	default:
		s.idle.prepend(&w.offered, now)
	}
}

// alive is the number of worker processes, dead ones with a living group
// included, and preloaded processes not.
func (s *workers) alive() int {
	n := -s.in[preloaded]
	for _, of := range s.in {
		n += of
	}
	return n
}

// find returns the living worker with this id, nil without one.
func (s *workers) find(id uint64) *worker {
	return s.first(func(w *worker) bool { return w.ID == id })
}

// withPID returns the living worker with this pid, nil without one.
func (s *workers) withPID(pid int) *worker {
	return s.first(func(w *worker) bool { return w.proc.PID == pid })
}

func (s *workers) first(is func(*worker) bool) *worker {
	for _, w := range s.all {
		if w != nil && w.State != gone && is(w) {
			return w
		}
	}
	return nil
}

// latelyFor is how long a worker that finishes a request counts as one too many.
const latelyFor = 2 * time.Second

// leavingLately counts the workers that are leaving and have not been for long,
// and says when one of them will have been.
func (s *workers) leavingLately(now Time) (n int, until Time) {
	for _, w := range s.all {
		if w == nil || !w.going() && w.State != killed || now-w.LeftAt >= latelyFor {
			continue
		}
		if n++; until == 0 || w.LeftAt+latelyFor < until {
			until = w.LeftAt + latelyFor
		}
	}
	return n, until
}

// enter is the one place where a worker changes its state. It drops what the
// new state may not have.
func (l *loop) enter(w *worker, s workerState) {
	if w.State == ready {
		l.backoff.LastReady = l.now
	}
	if s != starting && s != ready && l.gens.canary == w {
		l.gens.canary = nil
	}
	l.log.Debug("worker "+s.String(), "worker", w.ID, "pid", w.proc.PID)
	l.workers.move(w, s, l.now)
	if s == killed || s == gone {
		// Its connections are with us alone again, until awaitGroup decides.
		for _, c := range w.conns {
			l.setAtRisk(c, true)
		}
	}
	l.relist(w)
	l.tried(w, s)
}

// relist puts w where it belongs after something has changed: a worker that
// serves into the list of those with a place, one that leaves and holds nothing
// any more into the list of those that have to be gone in time.
func (l *loop) relist(w *worker) {
	if w == l.gens.canary {
		w.offered.leave() // it does not serve yet
		return
	}
	l.workers.relist(w, l.now)
	if w.going() && (len(w.conns) == 0 || !w.Watched) && w.timer.list == nil {
		l.workers.stops.append(&w.timer, l.now+l.set().StopTimeout)
	}
}

// find returns the connection with this id that w holds, nil if none.
func (w *worker) find(id uint64) *conn {
	for _, c := range w.conns {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// release takes c from what w holds.
func (w *worker) release(c *conn) {
	for i := range w.conns {
		if w.conns[i] == c {
			last := len(w.conns) - 1
			w.conns[i], w.conns[last] = w.conns[last], nil
			w.conns = w.conns[:last]
			c.look.leave()
			return
		}
	}
}

// leaves notes that w takes no more connections, by its own will. It finishes
// what it holds.
func (l *loop) leaves(w *worker) {
	if w.State == preloaded {
		l.preloadedLeaves(w)
	}
	if w.State != ready {
		return
	}
	l.enter(w, leaving)
	l.endsUnserved(w, "it closed its link before it had served anybody")
}

// going says that w is to leave when it holds nothing any more. From then on
// it has its time.
func (w *worker) going() bool { return w.State == leaving || w.State == retiring }

// retire tells w to finish what it holds and to leave. Of its own accord the
// loop only retires idle workers.
func (l *loop) retire(w *worker) {
	w.Ordered = true
	l.enter(w, retiring)
	unix.Shutdown(w.Link, unix.SHUT_WR)
	l.emit(control.Event{Kind: control.EventWorkerRetired, Worker: w.ID, PID: w.proc.PID, Served: w.Served})
}

// kill ends w and all its children at once, and says why.
func (l *loop) kill(w *worker, why string) {
	if w.State == killed || w.State == gone {
		return
	}
	if w.Level != "" {
		l.log.Warn("killing a preloaded process: "+why, "process", w.ID, "pid", w.proc.PID)
		w.Doomed = why
		l.preloadFails(w.of, why)
		l.end(w)
		return
	}
	l.log.Warn("killing a worker: "+why, "worker", w.ID, "pid", w.proc.PID, "state", w.State.String())
	l.count.Killed++
	l.workerFailed(w, control.FailedExit, "was killed: "+why)
	w.Doomed = why
	l.end(w)
	l.endsUnserved(w, why)
}

// discard ends a worker that has never served anybody and is not needed.
func (l *loop) discard(w *worker) {
	l.log.Debug("a worker is not needed any more", "worker", w.ID)
	w.Ordered = true
	l.end(w)
}

// end sends SIGKILL to w and its process group. One that is still being started
// gets it then.
func (l *loop) end(w *worker) {
	l.enter(w, killed)
	if w.of.preload.by == w {
		w.of.preload.by = nil
	}
	if w.of.preload.unqueue(w) {
		l.forget(w)
		return
	}
	if w.proc.PID != 0 {
		w.proc.KillGroup()
	}
}

// forget removes the last trace of w.
func (l *loop) forget(w *worker) {
	if l.gens.canary == w {
		l.gens.canary = nil
	}
	l.tried(w, gone)
	l.workers.remove(w)
	w.dropPage()
	for _, fd := range [...]int{w.Link, w.End, w.proc.FD} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	w.proc.Group.Remove()
	l.alarms[acceptDue] = 0
}
