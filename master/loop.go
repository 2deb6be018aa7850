package master

import (
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/pool"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// A stage is how far the master is on its way out. It only grows.
type stage uint8

const (
	serving  stage = iota
	draining       // takes no more, finishes what it has
	pressing       // past its time: workers get SIGTERM, who waits gets 503
	killing        // past that: SIGKILL
)

// A loop is the master's state, all of it, and belongs to the goroutine that
// runs it.
type loop struct {
	set        Settings
	notify     Notifier
	log        *logger
	poll       *poller
	box        *postbox
	hash       *headHash
	began      time.Time
	firstBegan time.Time // by the wall clock, when another program began; else zero
	now        Time
	stage      stage

	listeners   []*listener
	lastTried   int    // the listener that was tried last
	turn        uint64 // of the loop
	acceptAgain Time   // intake is paused until then; 0 is not paused
	listenAt    Time   // broken listeners are tried again; 0 is none

	conns       []*conn // by index; also those in freeConns
	freeConns   []*conn
	lastConn    uint64
	open        int // connections that are not closed
	atStake     int // of these, those that a crash of ours would lose
	parked      list[conn]
	waiting     list[conn]
	ending      list[conn]
	unconfirmed list[conn]

	workers    []*worker // by index; nil is free
	lastWorker uint64
	in         [workerStates]int // workers by state
	idle       list[worker]      // ready and without a connection, most recently used first
	partial    list[worker]      // ready, with some connections and a free slot
	starts     list[worker]      // have to be ready in time
	stops      list[worker]      // have to be gone in time
	terms      list[worker]      // got SIGTERM, have to be gone in time
	burials    list[worker]      // dead, their group is not empty
	groups     *process.Groups   // where control groups are made, and their ends waited for
	grouping   bool              // workers are to have them
	inFlight   int               // starts outside the loop
	strangers  bool              // a child may have to be reaped

	failures, failuresBefore int // starts that failed in a row; and before the last one that has served nobody yet
	retryAt                  Time
	lastReady                Time // when a worker was last ready, before now
	ramp                     pool.Ramp
	decideAt                 Time // 0 is none
	quietSince               Time
	busyUntil                Time // the kernel passes nothing before

	stopAt     Time // the present stage ends
	readyAt    Time // READY=1 is sent by then at the latest; 0 once it is sent
	statusAt   Time // the next STATUS= may be sent
	statusLast statusKey
	watchdogAt Time // 0 is none
	warned     struct{ intake, listener, busy, saturated, journal, group Time }

	current        *generation // serves
	previous       *generation // served before, and had been ready; nil without one
	held           *worker     // a trial, which does not serve yet; nil without one
	lastGeneration int
	roll           *roll  // nil while no worker is to be replaced
	lookAt         Time   // look where the directory leads then; 0 is never
	tried          string // where it led when a start failed

	record     *Record        // may be nil
	configured control.Limits // without what was set at run time
	scaled     control.Change // what was
	given      []Listener
	paused     bool
	resumeAt   Time // a pause ends; 0 is never

	subscribers    map[*subscriber]bool
	lastEvent      uint64
	stateLast      string
	saturatedSince Time // 0 is not
	relievedAt     Time // 0 is not relieved yet
	refusedTold    uint64
	refusedAt      Time // the next event about refused requests may be sent
	lastFailure    string

	operation       control.Operation // in progress, or the last one; ID 0 is none
	lastOperation   uint64
	cancelOperation func()                      // nil without one in progress
	children        map[int]chan<- process.Exit // that are no workers, by pid
	restored        *State                      // what another program left us, until the loop begins
	handover        *handover                   // to the next program; nil until it is due

	queued, service control.Histogram

	count    Counters
	exits    map[string]uint64
	sender   link.Sender
	receiver link.Receiver
	buf      []byte // of the largest header; nothing in it outlives a turn
}

// run is the loop. What happens in a turn happens in this order.
func (l *loop) run() error {
	more := true
	for {
		timeout := time.Duration(0)
		if !more {
			timeout = l.timeout()
		}
		events, err := l.poll.wait(l.now, timeout)
		if err != nil {
			return err
		}
		l.now = time.Since(l.began)
		l.turn++
		for i := range events {
			l.handle(&events[i])
		}
		l.expire()
		l.feed()
		more = !l.intake()
		l.decide()
		if l.roll != nil {
			l.watchRoll()
		}
		l.watchState()
		l.keepRecord()
		if l.handover != nil {
			l.handOver()
		}
		if l.stage != serving && l.windUp() {
			return nil
		}
	}
}

// handle is all that can come from outside.
func (l *loop) handle(e *unix.EpollEvent) {
	index := int(e.Fd & indexMask)
	switch e.Fd >> aboutShift {
	case aboutTick:
		l.poll.ticked()
	case aboutPost:
		for _, f := range l.box.take() {
			f(l)
		}
	case aboutListener:
		l.listeners[index].rings(l.turn)
	case aboutConn:
		if c := l.conns[index]; c.stamp == e.Pad {
			l.connEvent(c, e.Events)
		}
	case aboutLink:
		if w := l.workers[index]; w != nil && int32(w.id) == e.Pad && w.heard {
			l.linkEvent(w, e.Events)
		}
	case aboutProcess:
		if w := l.workers[index]; w != nil && int32(w.id) == e.Pad && w.state != gone {
			l.died(w)
		}
	}
}

func (l *loop) connEvent(c *conn, events uint32) {
	switch c.state {
	case parked:
		if c.watch == watchedOnce {
			c.watch = watchedNoMore
		}
		l.headEvent(c, events)
	case ending:
		l.drain(c)
	}
}

// decide asks the policy what to do and does it.
func (l *loop) decide() {
	if l.handover != nil && l.settled() == nil {
		l.decideAt = 0 // the next program decides
		return
	}
	for {
		s := pool.Decide(l.view(), l.limits(), l.now)
		l.ramp, l.decideAt = s.Ramp, s.Wake
		for range min(s.Start, startsAtOnce-l.inFlight) {
			l.start()
		}
		switch {
		case s.Exit:
			l.leaveIdle()
			return
		case s.Retire:
			l.retireOne()
		default:
			return
		}
	}
}

// retireOne retires the worker that is missed least: one that is outdated, an
// idle one, the least recently used, or else the youngest of the busy ones.
func (l *loop) retireOne() {
	if l.roll != nil {
		if w := l.nextOutdated(); w != nil {
			l.retire(w)
			return
		}
	}
	if l.idle.last != nil {
		l.retire(l.idle.last.of)
		return
	}
	var youngest *worker
	for _, w := range l.workers {
		if w != nil && w.state == ready && w != l.held && (youngest == nil || w.id > youngest.id) {
			youngest = w
		}
	}
	if youngest != nil {
		l.retire(youngest)
	}
}

// view is what the policy is shown.
func (l *loop) view() pool.View {
	v := pool.View{
		Starting: l.coming(),
		Idle:     l.idle.len,
		Busy:     l.busy(),
		Leaving:  l.in[leaving] + l.in[retiring] + l.in[killed],

		Waiting:    l.waiting.len,
		Parked:     l.parked.len + l.ending.len,
		QuietSince: l.quietSince,

		Failures: l.failures,
		RetryAt:  l.retryAt,
		Ramp:     l.ramp,
	}
	if l.idle.last != nil {
		v.OldestIdle = l.idle.last.at
	}
	if l.roll != nil {
		v.Outdated, v.Floor = l.outdatedReady(), l.roll.floor
		v.Lately, v.LatelyUntil = l.leavingLately()
	}
	return v
}

// busy is the number of workers that serve and hold a connection.
func (l *loop) busy() int { return l.serving() - l.idle.len }

// serving is the number of workers that are ready, without a trial.
func (l *loop) serving() int {
	if l.held != nil && l.held.state == ready {
		return l.in[ready] - 1
	}
	return l.in[ready]
}

// coming is the number of workers on their way, without a trial.
func (l *loop) coming() int {
	if l.held != nil && l.held.state == starting {
		return l.in[starting] - 1
	}
	return l.in[starting]
}

// limits are the operator's; a pool on its way out keeps nobody without work.
func (l *loop) limits() pool.Limits {
	s := &l.set
	if l.stage != serving {
		return pool.Limits{Max: s.Limits.MaxWorkers, MaxIdle: s.Limits.MaxWorkers}
	}
	return pool.Limits{
		Min: s.Limits.MinWorkers, Max: s.Limits.MaxWorkers,
		MinIdle: s.Limits.MinIdle, MaxIdle: s.Limits.MaxIdle,
		IdleTimeout: s.IdleTimeout, IdleExit: l.idleExit(),
		Surge: max(s.Surge, 1), Unavailable: s.Unavailable,
	}
}

// idleExit is off while somebody steers or watches.
func (l *loop) idleExit() time.Duration {
	if l.paused || l.cancelOperation != nil || l.roll != nil {
		return 0
	}
	for s := range l.subscribers {
		if s.person {
			return 0
		}
	}
	return l.set.IdleExit
}
