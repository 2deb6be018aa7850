package master

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

// AnswerGood is the line by which a program says that it can continue with a
// state. That something ends with status 0 does not say that.
const AnswerGood = "STATE=good"

const (
	tryLimit = 10 * time.Second       // for the new program to read the state and say so
	tryText  = 4 << 10                // bytes of each of its outputs that are kept
	tryTail  = 200 * time.Millisecond // for what it wrote last to arrive
)

// try runs the new program on the state as it is now, while we serve.
func (op *operation) try(to *Handover) error {
	state, err := op.currentState(to)
	if err != nil {
		return err
	}
	memfd, err := seal(state)
	if err != nil {
		return err
	}
	defer unix.Close(memfd)
	out, err := newCatch()
	if err != nil {
		return err
	}
	defer out.close()
	text, err := newCatch()
	if err != nil {
		return err
	}
	defer text.close()
	c, err := op.m.spawn(func() (int, error) { return startTry(to, memfd, out.in, text.in) })
	if err != nil {
		return fmt.Errorf("cannot run the new program %s: %w", to.Program, err)
	}
	out.begin()
	text.begin()
	exit, err := op.awaitTry(c, to)
	if err != nil {
		return err
	}
	return verdict(to, exit, out.last(), text.last())
}

// currentState is taken in the loop and written down outside.
func (op *operation) currentState(to *Handover) ([]byte, error) {
	var st *State
	err := do(op.ctx, op.m, func(l *loop) (err error) { st, _, err = l.carry(to, op.m.ops); return err })
	if err != nil {
		return nil, err
	}
	return st.encode()
}

// startTry starts the new program as the leader of a process group.
func startTry(to *Handover, state int, stdout, stderr *os.File) (int, error) {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open /dev/null", err)
	}
	defer unix.Close(null)
	pid, err := syscall.ForkExec(to.Program, append([]string{filepath.Base(to.Program)}, to.Check...), &syscall.ProcAttr{
		Env:   to.CheckEnv,
		Files: []uintptr{uintptr(null), stdout.Fd(), stderr.Fd(), uintptr(state)},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	return pid, os.NewSyscallError("execve", err)
}

// awaitTry returns how the program ended; one that takes too long is killed.
func (op *operation) awaitTry(c *child, to *Handover) (process.Exit, error) {
	limit := time.NewTimer(tryLimit)
	defer limit.Stop()
	select {
	case exit := <-c.exit:
		return exit, nil
	case <-op.m.done:
		c.kill(op.m)
		return process.Exit{}, errStopped
	case <-op.ctx.Done():
		c.kill(op.m)
		return process.Exit{}, errStopped
	case <-limit.C:
		c.kill(op.m)
		return process.Exit{}, fmt.Errorf("the new program %s did not read the state within %v", to.Program, tryLimit)
	}
}

func verdict(to *Handover, exit process.Exit, out, text string) error {
	said := strings.TrimSpace(text)
	if said != "" {
		said = ": " + said
	}
	if !exit.Clean() {
		return fmt.Errorf("the new program %s cannot take over: %s%s", to.Program, exit, said)
	}
	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) == AnswerGood {
			return nil
		}
	}
	return fmt.Errorf("the new program %s cannot take over: it did not say so%s", to.Program, said)
}

// A catch keeps the first bytes that are written to a pipe.
type catch struct {
	in, out *os.File
	kept    bytes.Buffer // of the goroutine, until done
	done    chan error
}

func newCatch() (*catch, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &catch{in: in, out: out, done: make(chan error, 1)}, nil
}

// begin reads, once the writer has its own copy of in.
func (c *catch) begin() {
	c.in.Close()
	go func() {
		_, err := io.CopyN(&c.kept, c.out, tryText)
		if err == nil {
			_, err = io.Copy(io.Discard, c.out)
		}
		c.done <- err
	}()
}

// last returns what has been written; the writer has ended, but its children
// may hold the pipe.
func (c *catch) last() string {
	c.out.SetReadDeadline(time.Now().Add(tryTail))
	<-c.done
	return printableLines(c.kept.Bytes())
}

func (c *catch) close() {
	c.in.Close()
	c.out.Close() // ends the goroutine
}

// printableLines is printable for a text of several lines.
func printableLines(b []byte) string {
	var lines []string
	for line := range bytes.Lines(b) {
		lines = append(lines, printable(bytes.TrimRight(line, "\r\n")))
	}
	return strings.Join(lines, "\n")
}

// Answer is what the new program does when it is tried: it reads the state in
// descriptor 3, has app look at what is not the master's, and says AnswerGood.
func Answer(out io.Writer, app func(*State) error) error {
	st, err := ReadState(3)
	if err != nil {
		return err
	}
	if err = st.Check(); err == nil {
		err = app(st)
	}
	if err != nil {
		return fmt.Errorf("cannot continue with the state of version %s: %w", st.Version, err)
	}
	_, err = fmt.Fprintln(out, AnswerGood)
	return err
}
