package main

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killAfter is how long a program and its children have from SIGTERM to
// SIGKILL once nobody wants their reply.
const killAfter = 2 * time.Second

// A program is one CGI program that runs, in a process group of its own.
type program struct {
	pid    int
	pidfd  int
	watch  *watcher
	token  uint64   // of pidfd in watch
	feed   int      // writing end of its standard input, -1 without a body or when stdin has it
	stdin  *os.File // the same as a file, nil until openFeed
	stdout *output
	stderr *errOutput
	exited chan struct{} // closed when it has exited; it is a zombie until reap

	mu     sync.Mutex
	reaped bool          // guarded by mu
	swept  chan struct{} // guarded by mu; not nil once end was called, closed after SIGKILL
}

// start runs sc for a request, with its standard input a pipe when there is a
// body, else /dev/null. The error is of execve(2) or of what was needed before.
//
// It uses syscall.ForkExec and not os/exec, whose goroutines, contexts and
// looking up of names cost more than a small program itself.
func (s *server) start(sc script, env []string, body bool, request uint64) (*program, error) {
	ends, err := openPipes(body, s.null)
	if err != nil {
		return nil, err
	}
	pidfd := -1
	files := []uintptr{uintptr(ends.stdin), uintptr(ends.stdout), uintptr(ends.stderr)}
	name, files, aside, err := s.executable(sc, files)
	if err != nil {
		ends.closeTheirs()
		ends.closeOurs()
		return nil, err
	}
	pid, err := syscall.ForkExec(name, sc.args, &syscall.ProcAttr{
		Dir:   sc.dir,
		Env:   env,
		Files: files,
		// Pdeathsig: the master's SIGKILL is for the worker's group, and the
		// program is not in that. prctl(2): it comes when the thread that forked
		// ends; as no goroutine here locks its thread, that is the process's end.
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd, Pdeathsig: syscall.SIGKILL},
	})
	ends.closeTheirs()
	closeAll(aside)
	if err != nil {
		ends.closeOurs()
		return nil, err
	}
	p := &program{
		pid: pid, pidfd: pidfd, watch: s.watch, feed: ends.feed,
		exited: make(chan struct{}), stdout: newOutput(ends.output),
	}
	p.stderr, err = newErrOutput(ends.errors, request, s.log, s.watch)
	if err == nil {
		err = p.watchExit()
	}
	if err != nil {
		p.abort()
		return nil, err
	}
	return p, nil
}

// abort undoes a start that failed after the fork.
func (p *program) abort() {
	p.kill(unix.SIGKILL)
	p.wait()
	p.stdout.close()
	if p.stderr != nil {
		p.stderr.end()
	}
	p.closeFeed()
}

// pipes are the descriptors between the worker and one program.
type pipes struct {
	stdin, stdout, stderr int // the program's; blocking, as programs expect
	feed, output, errors  int // the worker's other ends; feed is -1 without a body
	null                  int // stdin without a body; not ours
}

func openPipes(body bool, null int) (p pipes, err error) {
	p = pipes{stdin: null, stdout: -1, stderr: -1, feed: -1, output: -1, errors: -1, null: null}
	if body {
		p.stdin, p.feed, err = pipe()
	}
	if err == nil {
		p.output, p.stdout, err = pipe()
	}
	if err == nil {
		p.errors, p.stderr, err = pipe()
	}
	if err != nil {
		p.closeTheirs()
		p.closeOurs()
		return p, err
	}
	if body {
		unix.SetNonblock(p.feed, true) // fcntl(2) gives no error for that
	}
	return p, nil
}

func (p *pipes) closeTheirs() {
	if p.stdin != p.null {
		closeAll(p.stdin)
	}
	closeAll(p.stdout, p.stderr)
}

func (p *pipes) closeOurs() { closeAll(p.feed, p.output, p.errors) }

// closeAll closes descriptors; -1 is none.
func closeAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func pipe() (read, write int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, os.NewSyscallError("pipe2", err)
	}
	return fds[0], fds[1], nil
}

// watchExit has the watcher tell of the exit.
func (p *program) watchExit() (err error) {
	p.token, err = p.watch.add(p.pidfd, unix.EPOLLIN, p.exit)
	return err
}

// exit is called by the watcher.
func (p *program) exit() {
	close(p.exited)
	p.stdout.writerExited()
}

// exitsWithin tells whether the program exits within a few milliseconds. Most
// do so right after the end of their output, sooner than two goroutines and the
// poller could be put to sleep and woken for it.
func (p *program) exitsWithin(milliseconds int) bool {
	if !p.watch.remove(p.pidfd, p.token) {
		<-p.exited // the watcher has been told already
		return true
	}
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, milliseconds) // what EINTR cuts short is decided later
	if n != 1 && p.watchExit() == nil {
		return false
	}
	for n != 1 { // without the watcher
		n, _ = unix.Poll(fds, -1)
	}
	close(p.exited)
	return true
}

// end tells the program and its children to end: SIGTERM to the group now,
// SIGKILL after killAfter. It may be called at any time and more than once.
func (p *program) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped || p.swept != nil {
		return
	}
	swept := make(chan struct{})
	p.swept = swept
	p.kill(unix.SIGTERM)
	time.AfterFunc(killAfter, func() {
		p.kill(unix.SIGKILL)
		close(swept)
	})
}

// kill sends a signal to the group, and to a program that has left it. The program
// must not have been reaped.
func (p *program) kill(signal unix.Signal) {
	unix.Kill(-p.pid, signal)
	if group, _ := unix.Getpgid(p.pid); group != p.pid {
		unix.Kill(p.pid, signal)
	}
}

// openFeed makes a file of feed, which goroutines can wait on.
func (p *program) openFeed() *os.File {
	p.stdin, p.feed = os.NewFile(uintptr(p.feed), "stdin"), -1
	return p.stdin
}

// closeFeed closes the program's standard input, if that is open.
func (p *program) closeFeed() {
	if p.feed >= 0 {
		unix.Close(p.feed)
		p.feed = -1
	}
	if p.stdin != nil {
		p.stdin.Close()
	}
}

// reap waits until the program has exited and returns its status; ended tells
// that end was called, and then there is none.
//
// As long as children of an ended program may be alive, its zombie is kept: its
// number is the group's, and must not become somebody else's before SIGKILL was
// sent. Then reaping continues in the background; later counts it.
func (p *program) reap(later *sync.WaitGroup) (status syscall.WaitStatus, ended bool) {
	<-p.exited
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.swept == nil {
		p.reaped = true
		return p.wait(), false
	}
	later.Add(1)
	go func(swept <-chan struct{}) {
		defer later.Done()
		<-swept
		p.wait()
	}(p.swept)
	return 0, true
}

func (p *program) wait() (status syscall.WaitStatus) {
	for {
		_, err := syscall.Wait4(p.pid, &status, 0, nil)
		if err != syscall.EINTR {
			break
		}
	}
	unix.Close(p.pidfd)
	return status
}

// describeExit says how a program ended.
func describeExit(status syscall.WaitStatus) string {
	switch {
	case status.Signaled() && status.CoreDump():
		return fmt.Sprintf("was killed by signal %d (%v, core dumped)", status.Signal(), status.Signal())
	case status.Signaled():
		return fmt.Sprintf("was killed by signal %d (%v)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("exited with status %d", status.ExitStatus())
}
