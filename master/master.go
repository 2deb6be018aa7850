package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/poller"
	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

// Settings are what workers are started from and requests are served with: a
// configuration. A reload brings others. Durations and sizes have to be positive
// where nothing else is said.
type Settings struct {
	Effective []control.Setting // the configuration, as Config shows it
	AccessLog bool              // each finished request is a line of the log

	Limits      control.Limits
	IdleTimeout time.Duration
	IdleExit    time.Duration // 0 is never

	Command      process.Command `json:"-"` // Link, Groups, and Stdout and Stderr where 0, are filled in
	Preload      string          // no, worker or application; "" is no
	StartTimeout time.Duration
	StopTimeout  time.Duration

	Surge       int    // workers beyond MaxWorkers during a reload; 0 is 1
	Unavailable int    // workers that may be missing during a reload
	ProbeURI    string // that a new generation has to answer, as a path or a URL; "" is none

	HeaderTimeout time.Duration
	MaxHeader     int // bytes of the netstring's payload

	QueueMax     int // 0 is Limits.MaxWorkers
	QueueTimeout time.Duration
}

// maxHeader bounds the buffer that settings can have us make, in bytes.
const maxHeader = 1 << 20

// check says what of the settings could do harm.
func (set *Settings) check() error {
	switch {
	case len(set.Command.Argv) == 0:
		return errors.New("no command of workers")
	case set.MaxHeader <= 0 || set.MaxHeader > maxHeader:
		return fmt.Errorf("headers of %d bytes", set.MaxHeader)
	case min(set.StartTimeout, set.StopTimeout, set.HeaderTimeout, set.QueueTimeout) <= 0:
		return errors.New("a time limit that is not positive")
	case min(set.IdleTimeout, set.IdleExit) < 0 || min(set.QueueMax, set.Surge, set.Unavailable) < 0:
		return errors.New("a negative value")
	}
	if err := checkPreload(set.Preload); err != nil {
		return err
	}
	return set.Limits.Validate()
}

// A Master runs one pool.
type Master struct {
	loop *loop
	host *host
	box  *postbox
	ops  *operations
	done chan struct{}

	handover *Handover // nil: there can be no upgrade
	restored *State    // what another program left us; nil without one
}

// New makes a master that accepts from the host's listeners.
func New(h Host, set Settings) (*Master, error) {
	if err := set.Limits.Validate(); err != nil {
		return nil, err
	}
	hash, err := newHeadHash(nil)
	if err != nil {
		return nil, err
	}
	l := newLoop(newHost(h))
	l.conns.hash = hash
	l.gens.current = l.gens.add(set)
	l.limits.Now, l.limits.Configured = set.Limits, set.Limits
	l.workers.Grouping = l.host.Groups.Usable()
	return open(l)
}

// newLoop makes a loop with nothing in it.
func newLoop(h *host) *loop {
	l := &loop{host: h, log: h.Log, record: h.Record}
	l.count.Exits = map[string]uint64{}
	l.events.subscribers = map[*subscriber]bool{}
	return l
}

// open makes the master of a loop, with what the loop needs of the kernel.
func open(l *loop) (*Master, error) {
	if len(l.host.Listeners) == 0 {
		return nil, errors.New("no listening socket")
	}
	var err error
	if l.poll, err = poller.New(); err != nil {
		return nil, err
	}
	if l.box, err = newPostbox(); err != nil {
		l.poll.Close()
		return nil, err
	}
	l.conns.grow(l.set())
	m := &Master{loop: l, host: l.host, box: l.box, ops: newOperations(), done: make(chan struct{})}
	if err := l.watchAll(); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// watchAll registers what is there from the beginning.
func (l *loop) watchAll() error {
	if err := l.poll.Add(l.box.wake, unix.EPOLLIN, poller.Tag{About: aboutPost}); err != nil {
		return err
	}
	for _, from := range l.host.Listeners {
		if err := l.addListener(from); err != nil {
			return fmt.Errorf("cannot watch socket %q: %w", from.Name, err)
		}
	}
	return nil
}

// Run serves until Stop, or until the pool has been idle long enough. It is
// called once. The process becomes a child subreaper and reaps every child it
// has: nothing else in it may start or wait for processes meanwhile.
func (m *Master) Run() error {
	defer close(m.done)
	defer m.close()
	l := m.loop
	if err := process.BecomeSubreaper(); err != nil {
		return err
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	go func() {
		for {
			select {
			case <-children:
				m.box.post((*loop).reapOrphans)
			case <-m.done:
				return
			}
		}
	}()
	l.now = l.host.clock()
	if m.restored != nil {
		m.resumeWaiting(m.restored.Waiting)
		l.takeOver(m.restored)
		m.restored = nil
	} else {
		l.begin()
	}
	err := l.run()
	if err == nil {
		l.record.End()
	}
	l.record = nil // what is closed from here on is lost with us
	l.abandon()
	l.host.Groups.Settle(time.Second)
	for s := range l.events.subscribers {
		s.once.Do(func() { close(s.c) })
	}
	l.log.Info("stopped", "served", l.count.Served, "lost", l.count.Lost, "refused", l.count.Refused)
	return err
}

// begin is the first that a new loop does.
func (l *loop) begin() {
	l.alarms[readyDue] = l.now + readyWithin
	if l.host.Watchdog > 0 {
		l.alarms[watchdogDue] = l.now + l.host.Watchdog
	}
	l.takeUp()
	if l.limits.Now.MinWorkers == 0 {
		l.sayReady()
	}
}

// close closes what New opened.
func (m *Master) close() {
	m.box.close()
	m.loop.poll.Close()
}

// Finish begins the orderly exit; Run returns when it is complete. It returns
// at once and may be called at any time.
func (m *Master) Finish() { m.box.post((*loop).stop) }

// Harden makes an exit in progress harder by one step: workers get SIGTERM and
// what waits gets 503, then SIGKILL. Without an exit in progress it is Finish.
func (m *Master) Harden() { m.box.post((*loop).harden) }

// Counters returns all counts.
func (m *Master) Counters(ctx context.Context) (Counters, error) {
	return query(ctx, m, func(l *loop) (Counters, error) { return l.count.Counters, nil })
}
