// Package process starts, watches, limits and signals worker processes.
//
// It keeps no list of them: package master owns each Process it was given, and
// is the only one that reaps. It knows nothing of links or requests, and does
// not use os/exec, whose own waiting would compete with the one reaper.
package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unset leaves a limit as the master has it.
const Unset = -1 << 31

// A Command is what one worker runs, and within which limits. All descriptors
// are borrowed.
type Command struct {
	Argv []string // Argv[0] is the path of the program
	Dir  string   // working directory; "" is the master's
	Env  []string // the whole environment

	Stdout, Stderr int
	Journal        string // SYSLOG_IDENTIFIER of a stream in the journal to be both of them, see JournalStream; "" is none
	journalAt      string // the journal's socket; "" is the machine's
	Link           int    // becomes LinkFD in the worker
	Page           int    // becomes PageFD in the worker; 0 is none

	NOFILE         int // RLIMIT_NOFILE, soft and hard; see setrlimit(2)
	Nice           int // see setpriority(2)
	OOMScoreAdjust int // see proc_pid_oom_score_adj(5)

	Groups    *Groups // where the worker gets a control group of its own; nil is none
	GroupName string
	MemoryMax uint64 // of that group, in bytes; 0 means no limit
	TasksMax  uint64 // of that group, processes and threads; 0 means no limit
}

// LinkFD and PageFD are the numbers under which a worker finds its link and its
// page.
const (
	LinkFD = 3
	PageFD = 4
)

// A Process is a started worker, the leader of a process group of its own.
type Process struct {
	PID int
	FD  int // its pidfd, close-on-exec; the holder closes it

	Unjournaled error // why there was no stream for Command.Journal, so that it has Stdout and Stderr

	Group    *Group // its control group, nil is none; the holder calls Remove
	GroupErr error  // why there is none although there should be
}

// Start runs c in a process group of its own and returns when the kernel has
// taken the program, which then still has to set its limits and to execute
// the worker: see Trampoline. It waits for the kernel and may take a while
// (control group, fork, exec): call it outside the loop. The caller owns
// Process.FD and Process.Group. A control group that cannot be made is not an
// error: see Process.GroupErr.
func Start(c Command) (p Process, err error) {
	entry := -1
	if c.Groups != nil {
		p.Group, entry, p.GroupErr = c.Groups.groupFor(c)
	}
	if entry >= 0 {
		defer unix.Close(entry)
	}
	c, closeStream, unjournaled := c.withStream()
	defer closeStream()
	p.Unjournaled = unjournaled
	if p.PID, p.FD, err = fork(c, entry); err != nil {
		p.Group.Remove()
		return Process{}, err
	}
	return p, nil
}

// fork starts the trampoline, which enters the control group with the
// cgroup.procs entry if that is not negative.
func fork(c Command, entry int) (pid, pidfd int, err error) {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, -1, os.NewSyscallError("open /dev/null", err)
	}
	defer unix.Close(null)
	page := ^uintptr(0) // closed
	if c.Page > 0 {
		page = uintptr(c.Page)
	}
	files := []uintptr{uintptr(null), uintptr(c.Stdout), uintptr(c.Stderr), uintptr(c.Link), page}
	if entry >= 0 {
		files = append(files, uintptr(entry)) // becomes entryFD
	}
	pidfd = -1
	pid, err = syscall.ForkExec("/proc/self/exe", trampolineArgs(c, entry >= 0), &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   c.Env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
	})
	if err != nil {
		return 0, -1, startError(c, err)
	}
	if pidfd < 0 {
		if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
			unix.Kill(-pid, unix.SIGKILL)
			return 0, -1, os.NewSyscallError("pidfd_open", err)
		}
	}
	return pid, pidfd, nil
}

// startError names the part of the command that the kernel refused.
func startError(c Command, err error) error {
	if c.Dir != "" && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EACCES)) {
		return fmt.Errorf("cannot enter the working directory %s: %w", c.Dir, err)
	}
	return os.NewSyscallError("fork", err)
}

// Signal sends sig to the process alone.
func (p Process) Signal(sig unix.Signal) error {
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(p.FD, sig, nil, 0))
}

// Ended says whether the process has ended, reaped or not.
func (p Process) Ended() bool {
	fds := []unix.PollFd{{Fd: int32(p.FD), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n == 1
}

// KillGroup sends SIGKILL to every process of the process group, and begins to
// do so in the control group. Call it only before the leader is reaped: as long
// as its zombie holds the number, no other process can get it. One call is enough:
// a fork in progress fails with the signal pending.
func (p Process) KillGroup() error {
	err := unix.Kill(-p.PID, unix.SIGKILL)
	p.Group.Kill()
	return os.NewSyscallError("kill", err)
}

// GroupEmpty says whether the last process of the process group and of the
// control group has gone, reaped leader included.
func (p Process) GroupEmpty() bool {
	return unix.Kill(-p.PID, 0) == unix.ESRCH && p.Group.Empty()
}

// An Exit is how a process ended.
type Exit struct {
	Status syscall.WaitStatus

	OutOfMemory bool   // the kernel killed it, or a process of its group, for want of memory
	MemoryMax   uint64 // its own limit, in bytes, if that was reached; else 0
}

// Reap takes the exit of the process if it has ended. Only the loop calls it.
func (p Process) Reap() (Exit, bool) {
	e, ok := Reap(p.PID)
	if ok && e.Signaled() == unix.SIGKILL {
		e.OutOfMemory, e.MemoryMax = p.Group.OutOfMemory()
	}
	return e, ok
}

// Reap takes the exit of the process with this pid if it has ended. Only the
// loop calls it, for its own children.
func Reap(pid int) (Exit, bool) {
	var ws unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		return Exit{Status: syscall.WaitStatus(ws)}, err == nil && got == pid
	}
}

// Signaled says which signal ended the process, 0 if none did.
func (e Exit) Signaled() unix.Signal {
	if e.Status.Signaled() {
		return e.Status.Signal()
	}
	return 0
}

// Clean says that the process returned 0.
func (e Exit) Clean() bool { return e.Status.Exited() && e.Status.ExitStatus() == 0 }

// String reads "exited with status 1" or "killed by SIGSEGV (core dumped)".
func (e Exit) String() string {
	switch {
	case e.OutOfMemory && e.MemoryMax > 0:
		return "killed by the kernel: out of memory (MemoryMax=" + sizeText(e.MemoryMax) + ")"
	case e.OutOfMemory:
		return "killed by the kernel: out of memory"
	case e.Status.Exited():
		return "exited with status " + strconv.Itoa(e.Status.ExitStatus())
	case e.Status.CoreDump():
		return "killed by " + unix.SignalName(e.Status.Signal()) + " (core dumped)"
	case e.Status.Signaled():
		return "killed by " + unix.SignalName(e.Status.Signal())
	}
	return fmt.Sprintf("ended with wait status %#x", int(e.Status))
}

// sizeText writes bytes as a configuration does.
func sizeText(n uint64) string {
	for i, unit := range []string{"G", "M", "K"} {
		if shift := 10 * (3 - i); n%(1<<shift) == 0 {
			return strconv.FormatUint(n>>shift, 10) + unit
		}
	}
	return strconv.FormatUint(n, 10)
}

// BecomeSubreaper makes the calling process the parent of every descendant
// whose own parent dies; see PR_SET_CHILD_SUBREAPER(2const).
func BecomeSubreaper() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}
