package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// The environment of a program that takes over; see Handover.
const (
	EnvState   = "SCGID_STATE_FD"         // the state, a sealed memfd
	EnvOld     = "SCGID_STATE_PROGRAM_FD" // the program before, to go back to
	EnvFailure = "SCGID_STATE_FAILURE"    // we are the program before; why the other one could not continue
)

// A Handover says how the process executes another program, or a newer one, in
// the master's place. The new program gets the environment of now and
// EnvState; it passes what it reads there to Restore.
type Handover struct {
	Program string   // absolute path
	Args    []string // its whole command line

	// Carry describes what the new program needs besides the master's own
	// state, and lends the descriptors that it names. It is called in the
	// loop and must not block.
	Carry func() (app json.RawMessage, fds []int, err error)

	// Fence ends the delivery of signals that would otherwise end the next
	// program in its first moments, and returns when those that came before
	// have been acted upon; Unfence takes it back. Neither is called in the
	// loop.
	Fence, Unfence func()

	// Check is the command line, less the program, with which the new program
	// is tried: it reads a state from descriptor 3, says AnswerGood on its
	// standard output and ends with status 0, or says why not on standard
	// error and ends otherwise. CheckEnv is its environment.
	Check    []string
	CheckEnv []string

	Refuse string // why this pool cannot be upgraded; "" if it can
}

// SetHandover makes Upgrade possible. Call it before Run.
func (m *Master) SetHandover(h Handover) { m.handover = &h }

// executeWithin bounds how long the last step may have to wait for starts of
// workers that are under way, beside the time that those may have to leave that
// a reload has replaced.
const executeWithin = 10 * time.Second

// Upgrade has the process execute its program again, as it is on the disk by
// now, with all that the master knows. Nobody notices: the process, its
// workers and all connections stay. It returns only if that failed; this
// program continues then. A caller that is still there when it succeeds loses the
// connection to the control socket.
func (m *Master) Upgrade(ctx context.Context) (control.Operation, error) {
	return m.operate(ctx, control.OpUpgrade, (*operation).upgrade)
}

func (op *operation) upgrade() error {
	to := op.m.handover
	switch {
	case to == nil:
		return control.Errorf(control.CodeState, "this pool cannot be upgraded: it does not know its own program")
	case to.Refuse != "":
		return control.Errorf(control.CodeState, "this pool cannot be upgraded: %s", to.Refuse)
	}
	program, err := identify(to.Program)
	if err != nil {
		return fmt.Errorf("cannot find the new program: %w", err)
	}
	if err := op.step(func(o *control.Operation) { o.Step = "trying the new program on the state" }); err != nil {
		return err
	}
	if err := op.try(to); err != nil {
		return err
	}
	if err := op.step(func(o *control.Operation) { o.Step = "executing the new program" }); err != nil {
		return err
	}
	h := &handover{Handover: to, ops: op.m.ops, program: program, possible: make(chan struct{}, 1)}
	return op.execute(h)
}

// execute has the loop do it as soon as no start is under way, and returns why
// it did not.
func (op *operation) execute(h *handover) error {
	within := executeWithin
	// Not op.ctx: a handover that nobody waits for would stay.
	err := do(context.Background(), op.m, func(l *loop) error {
		l.op.handover = h
		if l.settled() != nil {
			within += l.set().StopTimeout
		}
		return nil
	})
	if err != nil {
		return err
	}
	limit := time.NewTimer(within)
	defer limit.Stop()
	for {
		select {
		case <-h.possible:
			if err := op.tryExecute(h); !errors.Is(err, errNotYet) {
				return err
			}
			continue
		case <-op.m.done:
			return errStopped
		case <-op.ctx.Done():
		case <-limit.C:
		}
		return do(context.Background(), op.m, func(l *loop) error {
			l.op.handover = nil
			if err := l.settled(); err != nil {
				return fmt.Errorf("it is not over within %v: %w; try again", within, err)
			}
			return fmt.Errorf("a worker is still being started after %v; try again", within)
		})
	}
}

// tryExecute fences signals off and has the loop execute the next program. All
// that signals before the fence have posted is done before that. A signal behind
// the fence is lost: so nothing that may take long is done there.
func (op *operation) tryExecute(h *handover) error {
	op.m.host.flush(flushWithin)
	h.Fence()
	defer h.Unfence()
	failed := make(chan error, 1)
	if !op.m.box.post(func(*loop) { h.fenced = failed }) {
		return errStopped
	}
	select {
	case err := <-failed:
		return err
	case <-op.m.done:
		return errStopped
	}
}

// An identity tells the file of a program from what replaced it.
type identity struct {
	dev, ino uint64
	size     int64
	changed  unix.Timespec
}

func identify(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return identity{uint64(st.Dev), st.Ino, st.Size, st.Mtim}, nil
}
