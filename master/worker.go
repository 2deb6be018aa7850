package master

import (
	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

// A workerState is where a worker is in its life. Only enter changes it.
//
//	starting -> ready | killed | gone
//	ready    -> leaving | retiring | killed | gone
//	leaving  -> killed | gone
//	retiring -> killed | gone
//	killed   -> gone
type workerState uint8

const (
	starting workerState = iota + 1 // on its way, not READY
	ready                           // takes connections
	leaving                         // takes no more, by its own will
	retiring                        // told to finish what it holds
	killed                          // SIGKILL is sent
	gone                            // dead and reaped; its group may still live
	workerStates
)

func (s workerState) String() string {
	return [...]string{"", "starting", "ready", "leaving", "retiring", "killed", "gone"}[s]
}

// A worker is a worker process and what it holds. The loop owns its
// descriptors.
type worker struct {
	id    uint64
	index int32 // in loop.workers
	state workerState

	of    *generation
	dir   string // where it was started
	trial *trial // nil unless its generation waits for what becomes of it
	piped bool   // its stderr goes through us

	group string          // the path of its control group, "" without one
	proc  process.Process // PID is 0 until it is started
	link  int             // our end
	end   int             // our duplicate of its end: what it did not receive comes back from there
	heard bool            // our end is in the epoll set

	slots  int
	conns  []*conn
	served uint64
	slow   bool // left a connection lying in its link

	began  Time
	doomed string // it is to be killed as soon as it is started, and why
	failed string // what it said with FAILED=
	status string // what it said with STATUS=
	dump   string // the signal that makes it dump its stacks

	chat      int // messages since chatSince
	chatSince Time
	goneSince Time
	left      Time // when it stopped taking connections

	offered node[worker] // in loop.idle or partial
	timer   node[worker] // in loop.starts, stops, terms or burials
}

// newWorker makes a worker that is being started.
func (l *loop) newWorker(of *generation) *worker {
	l.lastWorker++
	w := &worker{id: l.lastWorker, of: of, link: -1, end: -1, began: l.now}
	w.proc.FD = -1
	w.offered.of, w.timer.of = w, w
	for i := range l.workers {
		if l.workers[i] == nil {
			w.index = int32(i)
			l.workers[i] = w
			l.enter(w, starting)
			return w
		}
	}
	w.index = int32(len(l.workers))
	l.workers = append(l.workers, w)
	l.enter(w, starting)
	return w
}

// enter is the one place where a worker changes its state. It drops what the
// new state may not have.
func (l *loop) enter(w *worker, s workerState) {
	if w.state != 0 {
		l.in[w.state]--
	}
	if w.state == ready {
		l.lastReady, w.left = l.now, l.now
	}
	if s != starting && s != ready && l.held == w {
		l.held = nil
	}
	l.log.debug("worker "+s.String(), "worker", w.id, "pid", w.proc.PID)
	w.state = s
	l.in[s]++
	w.timer.leave()
	if s == killed || s == gone {
		// Its connections are with us alone again, until bury decides.
		for _, c := range w.conns {
			l.stake(c, true)
		}
	}
	if s == starting {
		l.starts.append(&w.timer, l.now+w.of.set.StartTimeout)
	}
	l.offer(w)
}

// offer puts w into the list from which the next connection is served, if it
// has a place.
func (l *loop) offer(w *worker) {
	switch {
	case w.going() && (len(w.conns) == 0 || !w.heard) && w.timer.list == nil:
		w.offered.leave()
		l.stops.append(&w.timer, l.now+l.set.StopTimeout)
	case w.state != ready || w == l.held || len(w.conns) >= w.slots:
		w.offered.leave()
	case len(w.conns) > 0:
		if w.offered.list != &l.partial {
			l.partial.append(&w.offered, l.now)
		}
	case w.slow:
		l.idle.append(&w.offered, l.now)
	default:
		l.idle.prepend(&w.offered, l.now)
	}
}

// find returns the connection with this id that w holds, nil if none.
func (w *worker) find(id uint64) *conn {
	for _, c := range w.conns {
		if c.id == id {
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
			return
		}
	}
}

// leaves notes that w takes no more connections, by its own will. It finishes
// what it holds.
func (l *loop) leaves(w *worker) {
	if w.state == ready {
		l.enter(w, leaving)
	}
}

// going says that w is to leave when it holds nothing any more. From then on
// it has its time.
func (w *worker) going() bool { return w.state == leaving || w.state == retiring }

// retire tells w to finish what it holds and to leave. Of its own accord the
// loop only retires idle workers.
func (l *loop) retire(w *worker) {
	l.enter(w, retiring)
	unix.Shutdown(w.link, unix.SHUT_WR)
	l.emit(control.Event{Kind: control.EventWorkerRetired, Worker: w.id, PID: w.proc.PID, Served: w.served})
}

// kill ends w and all its children at once, and says why.
func (l *loop) kill(w *worker, why string) {
	if w.state == killed || w.state == gone {
		return
	}
	l.log.warn("killing a worker: "+why, "worker", w.id, "pid", w.proc.PID, "state", w.state.String())
	l.count.Killed++
	w.doomed = why
	l.enter(w, killed)
	if w.proc.PID != 0 {
		w.proc.KillGroup()
	}
}

// forget removes the last trace of w.
func (l *loop) forget(w *worker) {
	w.timer.leave()
	w.offered.leave()
	if l.held == w {
		l.held = nil
	}
	l.in[w.state]--
	for _, fd := range [...]int{w.link, w.end, w.proc.FD} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	w.proc.Group.Remove()
	l.workers[w.index] = nil
	l.acceptAgain = 0
}
