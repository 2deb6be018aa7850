package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/master"
	"github.com/scgid/scgid/master/config"
	"github.com/scgid/scgid/master/record"
)

// takeOverWithin bounds the time that a new program has to take over;
// after it the previous program continues.
const takeOverWithin = 5 * time.Second

// takesOver says that this program was executed by another one in its place.
func takesOver() bool { return os.Getenv(master.EnvState) != "" }

// A successor is this program when it takes over from the previous one, which
// executed it.
type successor struct {
	state, old   int    // descriptors; old is -1 if there is no way back
	inheritedFDs []int  // more of the previous program, which are not needed later
	failure      string // why another program could not
	giving       sync.Mutex
}

// takeOver continues where the previous program has left off. Until commit
// nothing is read from a descriptor, changed or closed, so that the previous
// program can continue if this one cannot.
func takeOver() error {
	signals := captureSignals()
	s, err := inheritedState()
	if err != nil {
		return err
	}
	limit := time.AfterFunc(s.within(), func() {
		say(fmt.Sprintln("scgid:", s.giveUp(fmt.Errorf("it did not continue within %v", s.within()))))
		os.Exit(exitFailed)
	})
	p, m, err := s.restore(signals)
	if err != nil {
		if p != nil {
			p.log.Flush(flushBefore)
		}
		return s.giveUp(err)
	}
	if !limit.Stop() {
		select {} // the previous program is being executed
	}
	s.commit(p)
	defer p.log.Flush(flushWithin)
	defer p.close()
	return p.run(m)
}

// inheritedState reads the environment, and removes from it what a child
// should not see.
func inheritedState() (*successor, error) {
	s := &successor{old: -1, failure: os.Getenv(master.EnvFailure)}
	var err error
	if s.state, err = strconv.Atoi(os.Getenv(master.EnvState)); err != nil || s.state < 3 {
		return nil, fmt.Errorf("%s=%q is not a descriptor", master.EnvState, os.Getenv(master.EnvState))
	}
	if text := os.Getenv(master.EnvOld); text != "" {
		if s.old, err = strconv.Atoi(text); err != nil || s.old < 3 {
			return nil, fmt.Errorf("%s=%q is not a descriptor", master.EnvOld, text)
		}
	}
	for _, name := range []string{master.EnvState, master.EnvOld, master.EnvFailure} {
		os.Unsetenv(name)
	}
	return s, nil
}

// within is how long this program may take. It leaves the previous program time
// to feed the watchdog, should that one have to continue.
func (s *successor) within() time.Duration {
	if half := activation.WatchdogInterval(); half > 0 {
		return min(takeOverWithin, half/2)
	}
	return takeOverWithin
}

// giveUp executes the previous program. It returns if that is not possible.
func (s *successor) giveUp(why error) error {
	s.giving.Lock() // forever, if all goes well
	defer s.giving.Unlock()
	if s.old < 0 {
		return why
	}
	ignoreSignals()
	return errors.Join(why, master.FallBack(s.state, s.old, "the new program could not continue: "+why.Error()))
}

// restore makes the master and the pool around it.
func (s *successor) restore(signals chan os.Signal) (p *pool, m *master.Master, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	st, err := master.ReadState(s.state)
	if err != nil {
		return nil, nil, err
	}
	st.Failure = s.failure
	c, err := readHandoverState(st)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot continue with the state of version %s: %w", st.Version, err)
	}
	if p, err = s.take(c, signals); err != nil {
		return nil, nil, err
	}
	if m, err = master.Restore(st, p.host()); err != nil {
		return nil, nil, err
	}
	return p, m, broken()
}

// take makes the pool from what the previous program has handed over.
func (s *successor) take(c *handoverState, signals chan os.Signal) (*pool, error) {
	p := &pool{
		conf:    &config.Config{Name: c.Name, Control: c.Control, Pool: config.Pool{Listen: c.Listen, ListenMode: c.ListenMode}},
		how:     runMode{adhoc: c.Adhoc, hangup: c.Hangup, from: c.From},
		program: string(c.Program),
		access:  c.Access, log: newLog(c.Name, false), signals: signals,
	}
	p.log.inherit(c.Log)
	p.notify = p.newNotifier()
	p.groups = groupsAgain(p.log)
	for _, from := range c.Sockets {
		socket, err := activation.TakeOver(from)
		if err != nil {
			return nil, err
		}
		p.sockets = append(p.sockets, socket)
	}
	if c.Socket != nil {
		var err error
		if p.control, err = api.TakeOver(*c.Socket); err != nil {
			return nil, err
		}
		s.inheritedFDs = append(s.inheritedFDs, c.Socket.FD, c.Socket.File)
	}
	if c.Record > 0 {
		fd, err := unix.FcntlInt(uintptr(c.Record), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		if p.record, err = record.Open(fd, c.Name); err != nil {
			return nil, err
		}
		s.inheritedFDs = append(s.inheritedFDs, c.Record)
	}
	return p, nil
}

// commit makes this program the one that continues: descriptors that came over
// execve(2) are close-on-exec again, and those for the way back are closed.
func (s *successor) commit(p *pool) {
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		p.log.Error("cannot mark descriptors as close-on-exec", "err", err)
	}
	fds := []int{s.state}
	if s.old >= 0 {
		fds = append(fds, s.old)
	}
	for _, fd := range append(fds, s.inheritedFDs...) {
		unix.Close(fd)
	}
}
