package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Fork is what a process needs that another one makes for us by fork(2),
// instead of Start: a control group and output of its own. Everything else it
// has from its maker, which Start made from the same Command.
type Fork struct {
	Stdout, Stderr int      // of the new process; borrowed from the Fork until Close
	Vars           []string // variables that belong to these

	Unjournaled error // as in Process

	closeStream func()
	group       *Group
	groupErr    error
	entry       int // cgroup.procs; -1 without a group
}

// Prepare makes what a process of c needs. Like Start it may take a while. The
// caller calls Adopt or Abandon.
func Prepare(c Command) *Fork {
	f := &Fork{entry: -1}
	if c.Groups != nil {
		f.group, f.entry, f.groupErr = c.Groups.groupFor(c)
	}
	with, closeStream, err := c.withStream()
	f.Stdout, f.Stderr, f.closeStream, f.Unjournaled = with.Stdout, with.Stderr, closeStream, err
	f.Vars = with.Env[len(c.Env):]
	return f
}

// Close closes the output, of which the process has a copy by then.
func (f *Fork) Close() { f.closeStream() }

// Abandon gives back what there is for a process that will not be.
func (f *Fork) Abandon() {
	if f.entry >= 0 {
		unix.Close(f.entry)
		f.entry = -1
	}
	f.group.Remove()
}

// Adopt makes the process with this pid, which was forked for us, what Start
// would have made of it: it leads a process group of its own and is in its control
// group. It has to be a child of ours by now, see BecomeSubreaper. Like
// Start it waits for the kernel. The caller owns Process.FD and Process.Group.
// After an error the Fork is abandoned.
func (f *Fork) Adopt(pid int) (Process, error) {
	fd, err := pidfdOfChild(pid)
	if err == nil {
		if err = os.NewSyscallError("setpgid", unix.Setpgid(pid, pid)); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		f.Abandon()
		return Process{}, fmt.Errorf("cannot adopt process %d: %w", pid, err)
	}
	p := Process{PID: pid, FD: fd, Unjournaled: f.Unjournaled, Group: f.group, GroupErr: f.groupErr}
	if f.entry >= 0 {
		if _, err := unix.Write(f.entry, strconv.AppendInt(nil, int64(pid), 10)); err != nil {
			p.GroupErr = os.NewSyscallError("write cgroup.procs", err)
			p.Group = nil
			f.group.Remove()
		}
		unix.Close(f.entry)
		f.entry = -1
	}
	return p, nil
}

// errNotOurs is about a process whose parent is another one.
var errNotOurs = errors.New("it is not a child of ours")

// pidfdOfChild opens a child. As long as it is not reaped its number is nobody
// else's.
func pidfdOfChild(pid int) (fd int, err error) {
	if fd, err = unix.PidfdOpen(pid, 0); err != nil {
		return -1, os.NewSyscallError("pidfd_open", err)
	}
	for {
		err = unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		if err == unix.ECHILD {
			return -1, errNotOurs
		}
		return -1, os.NewSyscallError("waitid", err)
	}
	return fd, nil
}
