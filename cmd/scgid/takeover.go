package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// takeOverWithin bounds the time until the master goes on; after it the
// program before does.
const takeOverWithin = 5 * time.Second

// takesOver says that this program was executed by another one in its place.
func takesOver() bool { return os.Getenv(master.EnvState) != "" }

// An heir is a program that takes over.
type heir struct {
	state, old int    // descriptors; old is -1 if there is no way back
	spare      []int  // more of them that are not needed later
	failure    string // why another program could not
	giving     sync.Mutex
}

// takeOver goes on where the program before has left off. Until commit nothing
// is read from a descriptor, changed or closed, so that the program before can
// go on if this one cannot.
func takeOver() error {
	signals := captureSignals()
	h, err := inheritedState()
	if err != nil {
		return err
	}
	if h.failure != "" {
		// We were executed by the number of a descriptor, and would be
		// called so by ps(1).
		_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0)
	}
	visible := keepOthersOut()
	limit := time.AfterFunc(h.within(), func() {
		say(fmt.Sprintln("scgid:", h.giveUp(fmt.Errorf("it did not go on within %v", h.within()))))
		os.Exit(exitFailed)
	})
	p, m, err := h.restore(signals)
	if err != nil {
		if p != nil {
			p.log.Flush(flushBefore)
		}
		return h.giveUp(err)
	}
	if !limit.Stop() {
		select {} // the program before is on its way
	}
	h.commit(p)
	defer p.log.Flush(flushWithin)
	defer p.close()
	p.tellVisible(visible)
	return p.run(m)
}

// inheritedState reads the environment, and removes from it what a child
// should not see.
func inheritedState() (*heir, error) {
	h := &heir{old: -1, failure: os.Getenv(master.EnvFailure)}
	var err error
	if h.state, err = strconv.Atoi(os.Getenv(master.EnvState)); err != nil || h.state < 3 {
		return nil, fmt.Errorf("%s=%q is not a descriptor", master.EnvState, os.Getenv(master.EnvState))
	}
	if text := os.Getenv(master.EnvOld); text != "" {
		if h.old, err = strconv.Atoi(text); err != nil || h.old < 3 {
			return nil, fmt.Errorf("%s=%q is not a descriptor", master.EnvOld, text)
		}
	}
	for _, name := range []string{master.EnvState, master.EnvOld, master.EnvFailure} {
		os.Unsetenv(name)
	}
	return h, nil
}

// within leaves the program before time to feed the watchdog, should it have
// to go on.
func (h *heir) within() time.Duration {
	if half := activation.WatchdogInterval(); half > 0 {
		return min(takeOverWithin, half/2)
	}
	return takeOverWithin
}

// giveUp executes the program before. It returns if that is not possible.
func (h *heir) giveUp(why error) error {
	h.giving.Lock() // for ever, if all goes well
	defer h.giving.Unlock()
	if h.old < 0 {
		return why
	}
	ignoreSignals()
	return errors.Join(why, master.FallBack(h.state, h.old, "the new program could not go on: "+why.Error()))
}

// restore makes the master and all around it.
func (h *heir) restore(signals chan os.Signal) (p *pool, m *master.Master, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	st, err := master.ReadState(h.state)
	if err != nil {
		return nil, nil, err
	}
	st.Failure = h.failure
	c, err := readCarried(st)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot go on with the state of version %s: %w", st.Version, err)
	}
	if p, err = h.take(c, signals); err != nil {
		return nil, nil, err
	}
	if m, err = master.Restore(st, p.host()); err != nil {
		return nil, nil, err
	}
	return p, m, broken()
}

// take makes the pool of what came along.
func (h *heir) take(c *carried, signals chan os.Signal) (*pool, error) {
	p := &pool{
		conf:    &config.Config{Name: c.Name, Control: c.Control, Pool: config.Pool{Listen: c.Listen, ListenMode: c.ListenMode}},
		how:     manner{adhoc: c.Adhoc, from: c.From},
		program: string(c.Program),
		access:  c.Access, log: newLog(c.Name, false), signals: signals,
	}
	p.log.inherit(c.Log)
	p.notify = p.newNotifier()
	p.groups = groupsAgain(p.log)
	for _, from := range c.Sockets {
		s, err := activation.TakeOver(from)
		if err != nil {
			return nil, err
		}
		p.sockets = append(p.sockets, s)
	}
	if c.Socket != nil {
		var err error
		if p.control, err = api.TakeOver(*c.Socket); err != nil {
			return nil, err
		}
		h.spare = append(h.spare, c.Socket.FD, c.Socket.File)
	}
	if c.Record > 0 {
		fd, err := unix.FcntlInt(uintptr(c.Record), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		if p.record, err = record.Open(fd, c.Name); err != nil {
			return nil, err
		}
		h.spare = append(h.spare, c.Record)
	}
	return p, nil
}

// commit makes this program the one that goes on: what came over execve(2) is
// close-on-exec again, and what was needed for a way back is closed.
func (h *heir) commit(p *pool) {
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		p.log.Error("cannot mark descriptors as close-on-exec", "err", err)
	}
	fds := []int{h.state}
	if h.old >= 0 {
		fds = append(fds, h.old)
	}
	for _, fd := range append(fds, h.spare...) {
		unix.Close(fd)
	}
}
