package master

import (
	"context"

	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

// A reaper drawer knows of processes that are not workers yet, or never.
type reaper struct {
	inFlight int                         // starts outside the loop
	pending  bool                        // a child may have to be reaped
	children map[int]chan<- process.Exit // that are not workers, by pid
}

// A child is a process of ours that is not a worker. The loop, the one reaper,
// takes its exit.
type child struct {
	pid  int
	exit chan process.Exit // gets one
}

// spawn calls start, which starts a process and returns its pid, in the
// caller's goroutine: meanwhile the loop reaps nobody that it does not know.
// The error is start's, or says that the pool has ended.
func (m *Master) spawn(start func() (pid int, err error)) (*child, error) {
	if err := do(context.Background(), m, func(l *loop) error { l.reaper.inFlight++; return nil }); err != nil {
		return nil, err
	}
	pid, err := start()
	c := &child{pid: pid, exit: make(chan process.Exit, 1)}
	known := m.box.post(func(l *loop) {
		l.reaper.inFlight--
		if err != nil {
			return
		}
		if l.reaper.children == nil {
			l.reaper.children = map[int]chan<- process.Exit{}
		}
		l.reaper.children[pid] = c.exit
	})
	if err == nil && !known {
		c.kill(m)
		err = errOver
	}
	return c, err
}

// kill ends the child and its process group, if it leads one. It may have ended
// already.
func (c *child) kill(m *Master) {
	end := func() {
		unix.Kill(c.pid, unix.SIGKILL)
		unix.Kill(-c.pid, unix.SIGKILL)
	}
	running := m.box.post(func(l *loop) {
		if l.reaper.children[c.pid] != nil { // else it is reaped: the number may be another's
			end()
		}
	})
	if !running {
		end() // nobody reaps any more
	}
}

// endGroup ends what a child has left behind, if the zombie pid was one. Its
// number is nobody else's before it is reaped.
func (l *loop) endGroup(pid int) {
	if l.reaper.children[pid] != nil {
		unix.Kill(-pid, unix.SIGKILL)
	}
}

// childEnded gives the exit of a reaped process to the goroutine that waits for it; false
// means that nobody does.
func (l *loop) childEnded(pid int, exit process.Exit) bool {
	c := l.reaper.children[pid]
	if c == nil {
		return false
	}
	delete(l.reaper.children, pid)
	c <- exit
	return true
}
