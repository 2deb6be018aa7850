package master

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// holdFor is how long the loop waits in the kernel with its processor held,
// before it looks whether anything comes at all. While requests keep coming it
// never has to go through the runtime's own poller, which costs more than a
// request's other system calls together.
//
// Nobody waits for it meanwhile. The runtime asks for a processor by a signal,
// again and again until it has it, and a signal ends the wait. (With
// GODEBUG=asyncpreemptoff=1 there is none, and a collection may be held up for
// so long.) And all other goroutines have a thread that looks after them: see
// handBack.
//
// A time-out of epoll_wait would do, but it sets up and takes down a timer for
// each wait, which is dear, on virtual machines above all. So a timer of our
// own ticks while the loop is awake.
const holdFor = 40 * time.Millisecond

// A poller is the loop's epoll set, and its two ways of waiting for it.
type poller struct {
	fd     int
	events [128]unix.EpollEvent
	hold   bool // wait with the processor held, for a tick at most

	timer   int // a timerfd
	ticking bool
	tickAt  Time // while ticking
	news    bool // since the last tick
	resting bool // there was none, and none since
	woken   bool // from resting, and not handed back yet

	// bell is a second epoll set, known to the runtime's poller, and holds fd
	// only while the loop is parked. Were fd itself known there, every event
	// of a busy loop would also wake a thread of the runtime.
	bell *os.File
	ring syscall.RawConn

	found int // by the function below, which is made once
	look  func(bell uintptr) bool
}

func newPoller() (*poller, error) {
	p := &poller{fd: -1, timer: -1}
	// With one processor nobody else could run while we hold it.
	p.hold = runtime.GOMAXPROCS(0) > 1
	p.look = func(uintptr) bool {
		p.found = p.ask(0)
		return p.found != 0
	}
	if err := p.open(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) open() (err error) {
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	bell, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	// An epoll descriptor is itself pollable; os.NewFile gives it to the
	// runtime's poller if it does not block.
	err = unix.SetNonblock(bell, true)
	p.bell = os.NewFile(uintptr(bell), "bell")
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if p.ring, err = p.bell.SyscallConn(); err != nil {
		return err
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	return p.ctl(unix.EPOLL_CTL_ADD, p.timer, unix.EPOLLIN|unix.EPOLLET, aboutTick, 0, 0)
}

func (p *poller) close() {
	for _, fd := range [...]int{p.fd, p.timer} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if p.bell != nil {
		p.bell.Close()
	}
}

// wait returns what has happened, after the time-out at the latest; it may come
// back with nothing before that. A negative time-out is none.
func (p *poller) wait(now Time, timeout time.Duration) ([]unix.EpollEvent, error) {
	if timeout == 0 {
		return p.events[:max(0, p.ask(0))], nil
	}
	if p.resting || !p.hold {
		events, err := p.park(timeout)
		p.resting = len(events) == 0
		p.woken = !p.resting
		return events, err
	}
	p.handBack()
	if err := p.tick(now, timeout); err != nil {
		return nil, err
	}
	n := p.ask(-1)
	if n == 1 && p.events[0].Fd == aboutTick<<aboutShift {
		p.ticked()
		return nil, nil
	}
	if n > 0 {
		p.news = true
	}
	return p.events[:max(0, n)], nil
}

// handBack gives the runtime's poller to another thread. The one in which we
// hold the processor is the one that waited there until we were woken; the
// runtime finds another only when a goroutine gives way, and until then sockets
// and timers of all goroutines would stand still. It is done when we have
// nothing else to do, not before the request that woke us.
func (p *poller) handBack() {
	if p.woken {
		p.woken = false
		runtime.Gosched()
	}
}

// tick has the timer fire once, after the time-out or holdFor, unless it will
// before that. One that repeats would have to be read each time: timerfd does
// not go on before. So the event is an edge, and ticked is told of it.
func (p *poller) tick(now Time, timeout time.Duration) error {
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
func (p *poller) ticked() {
	p.resting = !p.news
	p.ticking, p.news = false, false
}

// park waits in the runtime's poller, as any goroutine that reads.
func (p *poller) park(timeout time.Duration) ([]unix.EpollEvent, error) {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	if err := p.bell.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	if err := p.hang(unix.EPOLL_CTL_ADD); err != nil {
		return nil, err
	}
	p.found = 0
	err := p.ring.Read(p.look)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return p.events[:max(0, p.found)], errors.Join(err, p.hang(unix.EPOLL_CTL_DEL))
}

// hang puts the loop's epoll set on the bell, or takes it off.
func (p *poller) hang(op int) (err error) {
	cerr := p.ring.Control(func(bell uintptr) {
		err = os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(bell), op, p.fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
	})
	return errors.Join(cerr, err)
}

// ask is epoll_pwait. A signal, with which the runtime asks for the processor,
// makes it return -1: we go round once and come back.
func (p *poller) ask(ms int) int {
	n, errno := epollPwait(p.fd, p.events[:], ms)
	if errno != 0 {
		return -1
	}
	return n
}

// What an event is about; the high bits of its data, beside an index.
const (
	aboutTick = iota
	aboutPost
	aboutListener
	aboutConn
	aboutLink
	aboutProcess
	aboutShift = 28
	indexMask  = 1<<aboutShift - 1
)

// ctl adds or changes a registration. stamp comes back in the event and tells
// a present owner of the index from a former one.
func (p *poller) ctl(op, fd int, events uint32, about int, index, stamp int32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(about<<aboutShift) | index, Pad: stamp}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &e))
}

func (p *poller) remove(fd int) { unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }
