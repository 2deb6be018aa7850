package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An interrupted is a scgictl that is about to be.
type interrupted struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *bufio.Reader
}

// begin starts scgictl. The test's end, or that of its patience, ends it.
func begin(t *testing.T, stdin, stdout *os.File, attr *syscall.SysProcAttr, args ...string) *interrupted {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("scgictl", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = stdin, stdout, w, attr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	kill := time.AfterFunc(30*time.Second, func() {
		t.Error("it continues in spite of all")
		cmd.Process.Kill()
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		kill.Stop()
		r.Close()
	})
	return &interrupted{t, cmd, bufio.NewReader(r)}
}

// ends wants it to end with status 1 and these words.
func (i *interrupted) ends(want string) {
	i.t.Helper()
	said, err := io.ReadAll(i.stderr)
	if err != nil {
		i.t.Fatal(err)
	}
	if i.cmd.Wait(); i.cmd.ProcessState.ExitCode() != exitFailed || !strings.HasSuffix(string(said), want) {
		i.t.Errorf("%v, it says %q, want %q", i.cmd.ProcessState, said, want)
	}
}

// Ctrl-C is what a terminal makes of a byte.
func TestAnInterruptEndsAQuestionAndNothingIsDone(t *testing.T) {
	root := t.TempDir()
	kept := filepath.Join(root, "var/lib/scgid/wiki")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, ask := range [][]string{
		{"remove", "wiki", "--root", root, "--purge"},
		{"kill", "--socket", root + "/none", "1"},
	} {
		for name, interrupt := range map[string]func(*interrupted, *os.File) error{
			"Ctrl-C":  func(_ *interrupted, master *os.File) error { _, err := master.WriteString("\x03"); return err },
			"SIGTERM": func(i *interrupted, _ *os.File) error { return i.cmd.Process.Signal(unix.SIGTERM) },
		} {
			t.Run(ask[0]+"-"+name, func(t *testing.T) {
				master, tty := terminal(t, 80)
				i := begin(t, tty, nil, &syscall.SysProcAttr{Setsid: true, Setctty: true}, ask...)
				if asked, err := i.stderr.ReadString(']'); err != nil || !strings.HasSuffix(asked, "? [y/N]") {
					t.Fatalf("it asks %q, %v", asked, err)
				}
				if err := interrupt(i, master); err != nil {
					t.Fatal(err)
				}
				i.ends(" \nscgictl: interrupted, nothing was done\n")
				if _, err := os.Stat(kept); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// The data of a request come from a pipe that stays open: the standard input,
// and one with a name, which nobody may have opened for writing yet.
func TestAnInterruptEndsReadingTheData(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	named := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(named, 0o600); err != nil {
		t.Fatal(err)
	}
	for data, reads := range map[string]func() bool{
		"@-": func() bool { n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ); return err == nil && n == 0 },
		"@" + named: func() bool {
			fd, err := unix.Open(named, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // fails without a reader
			if err == nil {
				t.Cleanup(func() { unix.Close(fd) })
			}
			return err == nil
		},
	} {
		if _, err := w.WriteString("a=b"); err != nil {
			t.Fatal(err)
		}
		i := begin(t, r, nil, nil, "request", "/none", "-d", data, "/")
		eventually(t, "it reads "+data, reads)
		if err := i.cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
		i.ends("scgictl: interrupted, nothing was sent\n")
	}
}

// Whoever reads what it prints may have stopped doing so: a write does not end
// with the first signal.
func TestASecondSignalEndsItInAnyCase(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	room, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	i := begin(t, nil, w, nil, "completion", "bash")
	w.Close()
	eventually(t, "the pipe is full", func() bool {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		return err == nil && n == room
	})
	go func() { // one that follows too soon is the first one still
		for i.cmd.Process.Signal(unix.SIGINT) == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	err = i.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGINT {
		t.Errorf("it ends with %v", err)
	}
}

// eventually polls for what another process does and cannot tell us.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
