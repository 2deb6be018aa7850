package master

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A handover is one that is due.
type handover struct {
	*Handover
	ops     *operations
	program identity
	failed  chan error // gets one, unless the next program goes on
}

// flushWithin is how long lines of the log may take before execve(2).
const flushWithin = 200 * time.Millisecond

// carry returns the whole state, with all descriptors that it names.
func (l *loop) carry(to *Handover, ops *operations) (*State, []int, error) {
	st := l.save()
	st.Waiting = ops.inLine()
	app, fds, err := to.Carry()
	if err != nil {
		return nil, nil, err
	}
	st.App = app
	return st, append(st.descriptors(), fds...), nil
}

// settled says what of a reload is not over. Workers whose stderr goes through
// this program would lose it.
func (l *loop) settled() error {
	if l.roll != nil {
		return errors.New("workers are still being replaced")
	}
	for _, w := range l.workers {
		if w != nil && w.piped {
			return fmt.Errorf("worker %d, the first of a generation, has not left yet", w.id)
		}
	}
	return nil
}

// handOver executes the next program at the end of a turn, as soon as nothing
// is under way outside the loop. It returns if it was not possible yet, or has
// failed.
func (l *loop) handOver() {
	h := l.handover
	if l.settled() != nil || l.inFlight > 0 {
		return // what is started then would be nobody's
	}
	// From here on nothing may come in that the state would not have.
	h.Mute()
	for _, f := range l.box.take() {
		f(l)
	}
	if l.handover == h && l.settled() == nil && l.inFlight == 0 {
		l.handover = nil
		h.failed <- l.become(h)
	}
	h.Unmute()
}

// become executes the next program and returns why it could not.
func (l *loop) become(h *handover) error {
	if l.stage != serving {
		return errStopped
	}
	if now, err := identify(h.Program); err != nil || now != h.program {
		return fmt.Errorf("the new program %s was replaced after it was tried; try again", h.Program)
	}
	st, fds, err := l.carry(h.Handover, h.ops)
	if err != nil {
		return err
	}
	state, err := st.encode()
	if err != nil {
		return err
	}
	memfd, err := seal(state)
	if err != nil {
		return err
	}
	defer unix.Close(memfd)
	old, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/proc/self/exe", Err: err}
	}
	defer unix.Close(old)
	l.groups.Settle(flushWithin) // what has begun to be killed is
	l.log.flush(flushWithin)
	err = execute(h.Program, h.Args, append(fds, memfd, old), EnvState+"="+strconv.Itoa(memfd), EnvOld+"="+strconv.Itoa(old))
	return fmt.Errorf("cannot execute the new program %s: %w", h.Program, err)
}

// execute is execve(2) with exactly these descriptors beside standard input,
// output and error, and with these variables more. It returns only if it
// failed; all is as before then.
func execute(program string, args []string, fds []int, env ...string) error {
	env = append(withoutOurs(os.Environ()), env...)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A fork in between would give its child all of them.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	kept := 0
	defer func() {
		for _, fd := range fds[:kept] {
			unix.CloseOnExec(fd)
		}
	}()
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, os.NewSyscallError("fcntl", err))
		}
		kept++
	}
	restore := keepFileLimit()
	defer restore()
	return os.NewSyscallError("execve", syscall.Exec(program, args, env))
}

// withoutOurs returns env without what tells a program that it takes over.
func withoutOurs(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == EnvState || name == EnvOld || name == EnvFailure
	})
}

// FallBack executes the program before, whose file is old, with the same state:
// this one cannot go on with it, for this reason. What came over execve(2) must
// be open still, not close-on-exec, and nothing read from it. It returns only if
// that failed too.
func FallBack(state, old int, reason string) error {
	return execute("/proc/self/fd/"+strconv.Itoa(old), os.Args, []int{state},
		EnvState+"="+strconv.Itoa(state), EnvFailure+"="+printable([]byte(reason)))
}
