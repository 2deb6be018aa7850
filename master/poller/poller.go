// Package poller is an epoll set, and the way in which the one goroutine that
// owns it waits for it: at the price of a bare epoll_wait(2) while events keep
// coming, and as any goroutine that reads when none do.
//
// It knows nothing of what is registered: each descriptor has a Tag of the
// owner's, which comes back in its events. It closes none of these descriptors.
package poller

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// holdFor is how long the owner waits in the kernel with its processor held,
// before it looks whether anything comes at all. While requests keep coming it
// never has to go through the runtime's own poller, which costs more than a
// request's other system calls together.
//
// Nobody waits for it meanwhile. The runtime asks for a processor by a signal,
// again and again until it has it, and a signal ends the wait. (With
// GODEBUG=asyncpreemptoff=1 there is none, and a collection may be held up for
// so long.) And all other goroutines have a thread that looks after them: see
// yieldPoller.
//
// A time-out of epoll_wait would do, but it sets up and takes down a timer for
// each wait, which is dear, on virtual machines above all. So a timer of our
// own ticks while the owner is awake.
const holdFor = 40 * time.Millisecond

// A Time is a moment of the owner's: the time since an origin of its choosing.
type Time = time.Duration

// A Poller is an epoll set; see epoll(7). It belongs to one goroutine.
type Poller struct {
	fd     int
	events [128]Event
	hold   bool // wait with the processor held, for a tick at most

	timer   int // a timerfd
	ticking bool
	tickAt  Time // while ticking
	news    bool // since the last tick
	resting bool // there was none, and none since
	woken   bool // from resting, and the runtime's poller not yielded yet

	// parkSet is a second epoll set, known to the runtime's poller, and holds fd
	// only while the owner is parked. Were fd itself known there, every event
	// of a busy loop would also wake a thread of the runtime.
	parkSet  *os.File
	parkConn syscall.RawConn

	found int // by the function below, which is made once
	ready func(set uintptr) bool
}

// New makes an empty set. The caller closes it.
func New() (*Poller, error) {
	p := &Poller{fd: -1, timer: -1}
	// With one processor nobody else could run while we hold it.
	p.hold = runtime.GOMAXPROCS(0) > 1
	p.ready = func(uintptr) bool {
		p.found = p.ask(0)
		return p.found != 0
	}
	if err := p.open(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Poller) open() (err error) {
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	parkSet, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	// An epoll descriptor is itself pollable; os.NewFile gives it to the
	// runtime's poller if it does not block.
	err = unix.SetNonblock(parkSet, true)
	p.parkSet = os.NewFile(uintptr(parkSet), "epoll")
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if p.parkConn, err = p.parkSet.SyscallConn(); err != nil {
		return err
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	return p.Add(p.timer, unix.EPOLLIN|unix.EPOLLET, Tag{About: aboutTick})
}

// Close closes the set.
func (p *Poller) Close() {
	for _, fd := range [...]int{p.fd, p.timer} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if p.parkSet != nil {
		p.parkSet.Close()
	}
}

// Wait returns what has happened, after timeout at the latest; it may return
// nothing before that. A negative timeout is none. The events are valid until
// the next call.
func (p *Poller) Wait(now Time, timeout time.Duration) ([]Event, error) {
	if timeout == 0 {
		return p.withoutTick(p.ask(0)), nil
	}
	if p.resting || !p.hold {
		n, err := p.park(timeout)
		p.resting = n == 0
		p.woken = !p.resting
		return p.withoutTick(n), err
	}
	p.yieldPoller()
	if err := p.tick(now, timeout); err != nil {
		return nil, err
	}
	events := p.withoutTick(p.ask(-1))
	if len(events) > 0 {
		p.news = true
	}
	return events, nil
}

// withoutTick returns the first n events, less that of the timer.
func (p *Poller) withoutTick(n int) []Event {
	events := p.events[:max(0, n)]
	for i := range events {
		if events[i].About() == aboutTick {
			p.news = p.news || n > 1
			p.ticked()
			last := len(events) - 1
			events[i] = events[last]
			return events[:last]
		}
	}
	return events
}

// yieldPoller gives the runtime's poller to another thread. The one in which we
// hold the processor is the one that waited there until we were woken; the
// runtime finds another only when a goroutine gives way, and until then sockets
// and timers of all goroutines would stand still. It is done when we have
// nothing else to do, not before the request that woke us.
func (p *Poller) yieldPoller() {
	if p.woken {
		p.woken = false
		runtime.Gosched()
	}
}

// tick has the timer fire once, after the time-out or holdFor, unless it will
// before that. One that repeats would have to be read each time: timerfd does
// not continue before. So the event is an edge, and ticked is told of it.
func (p *Poller) tick(now Time, timeout time.Duration) error {
	if timeout < 0 || timeout > holdFor {
		if p.ticking {
			return nil
		}
		timeout = holdFor
	}
	if p.ticking && p.tickAt <= now+timeout {
		return nil
	}
	p.ticking, p.tickAt = true, now+timeout
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(p.timer, 0,
		&unix.ItimerSpec{Value: unix.NsecToTimespec(int64(timeout))}, nil))
}

// ticked takes the event of the timer.
func (p *Poller) ticked() {
	p.resting = !p.news
	p.ticking, p.news = false, false
}

// park waits in the runtime's poller, as any goroutine that reads, and returns
// the number of events.
func (p *Poller) park(timeout time.Duration) (int, error) {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	if err := p.parkSet.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	if err := p.setParked(unix.EPOLL_CTL_ADD); err != nil {
		return 0, err
	}
	p.found = 0
	err := p.parkConn.Read(p.ready)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return max(0, p.found), errors.Join(err, p.setParked(unix.EPOLL_CTL_DEL))
}

// setParked puts the epoll set into the set known to the runtime, or takes it off.
func (p *Poller) setParked(op int) (err error) {
	cerr := p.parkConn.Control(func(set uintptr) {
		err = os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(set), op, p.fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
	})
	return errors.Join(cerr, err)
}

// ask is epoll_pwait. A signal, with which the runtime asks for the processor,
// makes it return -1: the owner goes round once and comes back.
func (p *Poller) ask(ms int) int {
	n, errno := epollPwait(p.fd, p.events[:], ms)
	if errno != 0 {
		return -1
	}
	return n
}

// A Tag is what the owner of a Poller knows a descriptor by.
type Tag struct {
	About int   // what it is, from 1 to 7
	Index int32 // which of these, below 1 << 28
	Stamp int32 // tells a present owner of the index from a former one
}

const (
	aboutTick  = 0 // the Poller's own timer
	aboutShift = 28
	indexMask  = 1<<aboutShift - 1
)

// An Event is what has happened to one descriptor.
type Event unix.EpollEvent

// About is that of the descriptor's Tag.
func (e *Event) About() int { return int(uint32(e.Fd) >> aboutShift) }

// Index is that of the descriptor's Tag.
func (e *Event) Index() int { return int(e.Fd & indexMask) }

// Stamp is that of the descriptor's Tag.
func (e *Event) Stamp() int32 { return e.Pad }

// Ready are the events, see epoll_ctl(2): EPOLLIN and others.
func (e *Event) Ready() uint32 { return e.Events }

// Add registers fd, which it borrows, for these events.
func (p *Poller) Add(fd int, events uint32, tag Tag) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, events, tag)
}

// Change changes the registration of fd.
func (p *Poller) Change(fd int, events uint32, tag Tag) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, events, tag)
}

func (p *Poller) control(op, fd int, events uint32, tag Tag) error {
	e := unix.EpollEvent{Events: events, Fd: int32(tag.About<<aboutShift) | tag.Index, Pad: tag.Stamp}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &e))
}

// Remove ends the registration of fd; without one it does nothing.
func (p *Poller) Remove(fd int) { unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }
