package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

// Settings are what a pool is run with. Durations and sizes have to be
// positive where nothing else is said.
type Settings struct {
	Name    string
	PID     int    // shown in Status
	Version string // shown in Status
	Build   string // shown in Status

	Effective []control.Setting // the configuration, as Config shows it
	LogLevel  *slog.LevelVar    `json:"-"` // what SetLogLevel sets; may be nil
	Journal   bool              // each worker's output is a stream of its own in the journal
	AccessLog bool              // each finished request is a line of the log

	// Reread reads the configuration again, for a reload; the notes say what of
	// it has no effect while the master lives. It may block. nil: it cannot.
	Reread func() (set Settings, notes []string, err error) `json:"-"`

	Limits control.Limits

	IdleTimeout time.Duration
	IdleExit    time.Duration // 0 is never

	Command      process.Command `json:"-"` // Link, and Stdout and Stderr where 0, are filled in
	Groups       *process.Groups `json:"-"` // where workers get control groups; may be nil
	StartTimeout time.Duration
	StopTimeout  time.Duration

	Surge       int    // workers beyond MaxWorkers during a reload; 0 is 1
	Unavailable int    // workers that may be missing during a reload
	ProbeURI    string // that a new generation has to answer, as a path or a URL; "" is none

	HeaderTimeout time.Duration
	MaxHeader     int // bytes of the netstring's payload

	QueueMax     int // 0 is Limits.MaxWorkers
	QueueTimeout time.Duration

	Watchdog time.Duration // how often Notifier.Watchdog is called; 0 is never

	Record *Record `json:"-"` // what is left to the next master in case of a crash; may be nil. It has to stay open until Run returns
}

// A Notifier is told what the service manager wants to know. Its methods must
// not block.
type Notifier interface {
	Ready(status string)
	Status(text string)
	Stopping()
	Watchdog()
	Extend(time.Duration) // so much more time, from now, for what is under way
}

// A Master runs one pool.
type Master struct {
	loop *loop
	box  *postbox
	ops  *operations
	done chan struct{}

	reread func() (Settings, []string, error)
	to     *Handover // nil: there can be no upgrade
}

// New makes a master that accepts from the listeners. It borrows their
// descriptors, which have to stay open until Run returns.
func New(set Settings, listeners []Listener, notify Notifier, log *slog.Logger) (*Master, error) {
	if err := set.Limits.Validate(); err != nil {
		return nil, err
	}
	if len(listeners) == 0 {
		return nil, errors.New("no listening socket")
	}
	hash, err := newHeadHash(nil)
	if err != nil {
		return nil, err
	}
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	box, err := newPostbox()
	if err != nil {
		poll.close()
		return nil, err
	}
	set.Command = baseCommand(set)
	if set.Groups == nil {
		set.Groups = new(process.Groups)
	}
	l := &loop{
		set: set, notify: notify, poll: poll, box: box,
		hash: hash, began: time.Now(),
		current: &generation{number: 1, set: set}, lastGeneration: 1,
		exits: map[string]uint64{}, subscribers: map[*subscriber]bool{},
		record: set.Record, configured: set.Limits, given: listeners, groups: set.Groups, grouping: set.Groups.Usable(),
		buf: make([]byte, bufferFor(set)),
	}
	m := &Master{loop: l, box: box, ops: newOperations(), done: make(chan struct{}), reread: set.Reread}
	if err := l.watchAll(listeners); err != nil {
		m.close()
		return nil, err
	}
	l.log = newLogger(log)
	return m, nil
}

// watchAll registers what is there from the beginning.
func (l *loop) watchAll(listeners []Listener) error {
	if err := l.poll.ctl(unix.EPOLL_CTL_ADD, l.box.wake, unix.EPOLLIN, aboutPost, 0, 0); err != nil {
		return err
	}
	for _, from := range listeners {
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
				m.box.post((*loop).reapStrangers)
			case <-m.done:
				return
			}
		}
	}()
	l.now = time.Since(l.began)
	if l.restored != nil {
		m.takeUpLine(l.restored.Waiting)
		l.goOn()
	} else {
		l.begin()
	}
	err := l.run()
	if err == nil {
		l.record.end()
	}
	l.record = nil // what is closed from here on is lost with us
	l.abandon()
	l.groups.Settle(time.Second)
	for s := range l.subscribers {
		s.once.Do(func() { close(s.c) })
	}
	l.log.info("stopped", "served", l.count.Served, "lost", l.count.Lost, "refused", l.count.Refused)
	l.log.close()
	return err
}

// begin is the first that a new loop does.
func (l *loop) begin() {
	l.readyAt = l.now + 10*time.Second
	if l.set.Watchdog > 0 {
		l.watchdogAt = l.now + l.set.Watchdog
	}
	l.takeUp()
	if l.set.Limits.MinWorkers == 0 {
		l.sayReady()
	}
}

// close closes what New opened.
func (m *Master) close() {
	m.box.close()
	m.loop.poll.close()
}

// Finish begins the orderly exit; Run returns when it is complete. It returns
// at once and may be called at any time.
func (m *Master) Finish() { m.box.post((*loop).stop) }

// Harden makes an exit in progress harder by one step: workers get SIGTERM and
// who waits gets 503, then SIGKILL. Without an exit in progress it is Finish.
func (m *Master) Harden() { m.box.post((*loop).harden) }

// Counters returns all counts.
func (m *Master) Counters(ctx context.Context) (Counters, error) {
	return ask(ctx, m, func(l *loop) (Counters, error) { return l.count, nil })
}
