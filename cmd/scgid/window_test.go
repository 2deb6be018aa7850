package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// beSpy has a worker of ours try all the time to get hold of its master. Its
// value is a directory: there it writes what it got, and how often it has tried.
const (
	beSpy   = "TEST_BE_SPY"
	noTrace = "TEST_NO_TRACE"
)

// spy is an application that attacks its own master, as the same user. It does
// not trace a master that can be read: that stops it for good.
func spy(dir string) {
	master := os.Getppid()
	tries := spyTries(master)
	if os.Getenv(noTrace) != "" {
		delete(tries, "ptrace")
	}
	note := func(name, text string) { _ = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644) }
	for i := 1; ; i++ {
		for what, try := range tries {
			if err := try(); err == nil {
				note("got-"+what, fmt.Sprint("in round ", i))
			}
		}
		if i%100 == 0 {
			note("rounds", strconv.Itoa(i))
		}
	}
}

var errNothing = errors.New("opened, with nothing in it")

// textAt is where a Go program that is not position-independent begins.
const textAt = 0x400000

func spyTries(master int) map[string]func() error {
	proc := fmt.Sprint("/proc/", master)
	// Opening is not enough: while another thread than the first executes, the
	// first is a zombie for a moment, whose files can be opened and are empty.
	open := func(name string, flags int, at int64) func() error {
		return func() error {
			fd, err := unix.Open(proc+"/"+name, flags|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if n, err := unix.Pread(fd, make([]byte, 16), at); n == 0 || err != nil {
				return errNothing
			}
			return nil
		}
	}
	return map[string]func() error{
		"mem-read":  open("mem", unix.O_RDONLY, textAt),
		"mem-write": open("mem", unix.O_RDWR, textAt),
		"maps":      open("maps", unix.O_RDONLY, 0),
		"environ":   open("environ", unix.O_RDONLY, 0),
		"fd": func() error {
			names, err := os.ReadDir(proc + "/fd")
			if err == nil && len(names) == 0 {
				err = errNothing
			}
			return err
		},
		"fd-open": func() error {
			fd, err := unix.Open(proc+"/fd/0", unix.O_PATH|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		},
		"pidfd_getfd": func() error {
			pidfd, err := unix.PidfdOpen(master, 0)
			if err != nil {
				return err
			}
			defer unix.Close(pidfd)
			fd, err := unix.PidfdGetfd(pidfd, 0, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		},
		"ptrace": func() error {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			const seize = 0x4206 // PTRACE_SEIZE: unlike PTRACE_ATTACH it does not stop
			_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, seize, uintptr(master), 0, 0, 0, 0)
			if errno == 0 {
				_, _, _ = unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(master), 0, 0, 0, 0)
				return nil
			}
			return errno
		},
	}
}

// A spied is a pool whose application is a spy, run by a user without rights.
type spied struct {
	t       *testing.T
	dir     string
	program string
	mode    os.FileMode
	c       *api.Client
}

// startSpied runs a program that is installed with this mode.
func startSpied(t *testing.T, mode os.FileMode, env string) *spied {
	const user = 1
	dir := ownDir(t, user)
	bin := ownDir(t, 0)
	s := &spied{t: t, dir: dir, program: filepath.Join(bin, "scgid"), mode: mode, c: api.NewClient(dir + "/c")}
	s.install("one")
	cmd := exec.Command(s.program, "run", "--name", "test", "--listen", dir+"/s", "--set", "Control.Socket="+dir+"/c", "--set", "Worker.Nice=5",
		"--set", "Worker.Environment="+beWorker+"="+dir+"/journal "+beSpy+"="+dir+" "+env, "--", forAll(t, bin, self(t)))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	cmd.Dir = "/"
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		defer time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() }).Stop()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("%v\n%s", err, log)
		}
	})
	return s
}

func (s *spied) install(name string) {
	s.t.Helper()
	data, err := os.ReadFile(scgidBuild(s.t, name))
	if err == nil {
		err = os.WriteFile(s.program+".new", data, 0o700)
	}
	if err == nil {
		err = os.Chmod(s.program+".new", s.mode)
	}
	if err == nil {
		err = os.Rename(s.program+".new", s.program)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *spied) until(what string, cond func() bool) {
	s.t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cond() {
			return
		}
	}
	s.t.Fatalf("never: %s", what)
}

func (s *spied) version() string {
	st, _ := s.c.Status(s.t.Context())
	return st.Version
}

// rounds is how often the spy has tried everything.
func (s *spied) rounds() int {
	b, _ := os.ReadFile(filepath.Join(s.dir, "rounds"))
	n, _ := strconv.Atoi(string(b))
	return n
}

// got is what the spy got since it was asked last.
func (s *spied) got() (all []string) {
	names, _ := filepath.Glob(s.dir + "/got-*")
	for _, name := range names {
		text, _ := os.ReadFile(name)
		all = append(all, filepath.Base(name)+" "+string(text))
		os.Remove(name)
	}
	return all
}

// spyThrough has the program upgraded n times while the spy tries.
func (s *spied) spyThrough(n int) {
	s.until("the spy is at work", func() bool { return s.rounds() > 0 })
	for i := range n {
		name := []string{"two", "one"}[i%2]
		s.install(name)
		_ = s.c.Call(s.t.Context(), "upgrade", nil, nil) // the connection is cut
		s.until("upgraded", func() bool { return s.version() == name })
	}
	st, err := s.c.Status(s.t.Context())
	if err != nil || st.Operation.State != control.OpDone {
		s.t.Errorf("%+v, %v", st.Operation, err)
	}
	from := s.rounds()
	s.until("the spy has tried on", func() bool { return s.rounds() > from+200 })
}

// The installed program is not readable by its users: the kernel keeps a process
// that executes it from other processes of its user in every moment.
func TestAnApplicationGetsNothingOfItsMasterThroughUpgrades(t *testing.T) {
	s := startSpied(t, 0o711, "")
	s.spyThrough(5 * soak())
	if got := s.got(); len(got) > 0 {
		t.Errorf("the application got hold of its master: %s", strings.Join(got, ", "))
	}
}

// A program that can be read, as one in a checkout, is open from execve(2) until
// the first act of main, as scgid(8) says, and closed from then on.
func TestAReadableProgramIsClosedToItsApplicationFromItsFirstActOn(t *testing.T) {
	s := startSpied(t, 0o755, noTrace+"=1")
	s.spyThrough(2)
	t.Logf("got in the moments of execve: %v", s.got())
	from := s.rounds()
	s.until("the spy has tried on", func() bool { return s.rounds() > from+500 })
	if got := s.got(); len(got) > 0 {
		t.Errorf("the application got hold of its master at rest: %s", strings.Join(got, ", "))
	}
}
