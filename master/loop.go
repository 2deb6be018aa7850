package master

import (
	"log/slog"
	"time"

	"github.com/scgid/scgid/master/poller"
	"github.com/scgid/scgid/master/record"
)

// A stage is how far the master is on its way out. It only grows.
type stage uint8

const (
	serving  stage = iota
	draining       // takes no more, finishes what it has
	pressing       // past its time: workers get SIGTERM, what waits gets 503
	killing        // past that: SIGKILL
)

// A loop is the master's state, all of it, in drawers: one for each concern, in
// a file of its own. It belongs to the goroutine that runs it.
type loop struct {
	host   *host
	log    *slog.Logger
	poll   *poller.Poller
	box    *postbox
	record *record.Record // what a crash leaves to the next master; may be nil
	now    Time
	stage  stage
	count  counts

	intake  intake      // listeners, and whether connections are taken
	conns   conns       // accepted connections
	workers workers     // worker processes
	reaper  reaper      // other children, and starts that are under way
	backoff backoff     // starts that failed
	gens    generations // what workers are started from
	limits  limits      // sizes of the pool, as configured and as set at run time
	alerts  alerts      // what has been told once, and is not told again yet
	manager manager     // what the service manager was told
	events  events      // readers of the event stream
	op      ops         // reload, rollback or upgrade
	alarms  alarmTable  // moments at which something is due
}

// run is the loop. What happens in a turn happens in this order.
func (l *loop) run() error {
	more := true
	for {
		timeout := time.Duration(0)
		if !more && !l.askBeforeWait() {
			timeout = l.timeout()
		}
		events, err := l.poll.Wait(l.now, timeout)
		if err != nil {
			return err
		}
		l.now = l.host.clock()
		l.count.advance(l.now)
		l.intake.turn++
		l.workers.pages.unaskAwake()
		l.collect()
		for i := range events {
			l.handle(&events[i])
		}
		l.expire()
		l.feed()
		more = !l.acceptAll()
		l.decide()
		l.dismissPreloaded()
		if l.gens.roll != nil {
			l.watchRoll()
		}
		l.watchState()
		l.keepRecord()
		if l.op.handover != nil {
			l.handOver()
		}
		if l.stage != serving && l.windUp() {
			return nil
		}
	}
}

// What an event of the poller is about.
const (
	aboutPost = iota + 1
	aboutListener
	aboutConn
	aboutLink
	aboutProcess
)

// handle is all that can come from outside.
func (l *loop) handle(e *poller.Event) {
	switch index := e.Index(); e.About() {
	case aboutPost:
		for _, f := range l.box.take() {
			f(l)
		}
	case aboutListener:
		l.intake.listeners[index].readable(l.intake.turn)
	case aboutConn:
		if c := l.conns.all[index]; c.stamp == e.Stamp() {
			l.connEvent(c, e.Ready())
		}
	case aboutLink:
		if w := l.workers.all[index]; w != nil && w.stamp() == e.Stamp() && w.Watched {
			l.linkEvent(w, e.Ready())
		}
	case aboutProcess:
		if w := l.workers.all[index]; w != nil && w.stamp() == e.Stamp() && w.State != gone && w.started() {
			l.reap(w)
		}
	}
}

func (l *loop) connEvent(c *conn, events uint32) {
	switch c.State {
	case parked:
		if c.watch == watchedOnce {
			c.watch = watchedNoMore
		}
		l.headEvent(c, events)
	case ending:
		l.drain(c)
	}
}
