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

// A handover is one that is due. Its operation's goroutine waits until it is
// possible, fences signals off and posts that; then the loop does it.
type handover struct {
	*Handover
	ops      *operations
	program  identity
	possible chan struct{} // gets one when nothing is in the way
	fenced   chan<- error  // of the loop: signals are fenced off; gets why it was not done
}

// errNotYet says that something has come in the way since it was possible.
var errNotYet = errors.New("not yet possible")

const (
	// flushWithin is how long lines of the log may take before execve(2): the
	// operation waits for them, and the loop only for those that came since.
	flushWithin     = 200 * time.Millisecond
	lastLinesWithin = 10 * time.Millisecond

	settleWithin = 200 * time.Millisecond // for control groups that are being killed
)

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
	if l.gens.roll != nil {
		return errors.New("workers are still being replaced")
	}
	for _, w := range l.workers.all {
		if w != nil && w.piped {
			return fmt.Errorf("worker %d, the first of a generation, has not left yet", w.ID)
		}
	}
	return nil
}

// handOver executes the next program at the end of a turn, as soon as nothing
// is under way outside the loop and signals are fenced off. It returns if that
// was not possible yet, or has failed.
func (l *loop) handOver() {
	h := l.op.handover
	possible := l.settled() == nil && l.reaper.inFlight == 0 // what is started then would be nobody's
	if h.fenced == nil {
		if possible {
			select {
			case h.possible <- struct{}{}:
			default:
			}
		}
		return
	}
	answer := h.fenced
	h.fenced = nil
	if !possible {
		answer <- errNotYet
		return
	}
	l.op.handover = nil
	answer <- l.become(h)
}

// become executes the next program and returns why it could not.
func (l *loop) become(h *handover) error {
	if l.stage != serving {
		return errStopped
	}
	if now, err := identify(h.Program); err != nil || now != h.program {
		return fmt.Errorf("the new program %s was replaced after it was tried; try again", h.Program)
	}
	l.host.Groups.Settle(settleWithin) // what has begun to be killed is
	l.host.flush(lastLinesWithin)
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
	// The program need not be readable for us, see open(2) on O_PATH.
	old, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/proc/self/exe", Err: err}
	}
	defer unix.Close(old)
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
// this one cannot continue with it, for this reason. What came over execve(2) must
// be open still, not close-on-exec, and nothing read from it. It returns only if
// that failed too.
func FallBack(state, old int, reason string) error {
	return execute("/proc/self/fd/"+strconv.Itoa(old), os.Args, []int{state},
		EnvState+"="+strconv.Itoa(state), EnvFailure+"="+printable([]byte(reason)))
}
