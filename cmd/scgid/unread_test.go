package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control/api"
	"golang.org/x/sys/unix"
)

// An unread is a server whose log nobody reads: its stderr is a full pipe, and
// its journal, if it has one, takes no entries.
type unread struct {
	*server
	c       *api.Client
	stderr  *os.File // where it could be read
	journal *fakeJournal
}

func startUnread(t *testing.T, journal bool, flags ...string) *unread {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "control.sock")
	u := &unread{
		server: &server{t: t, addr: filepath.Join(dir, "s"), journal: filepath.Join(dir, "journal"), log: &logBuffer{}, exited: make(chan error, 1)},
		c:      api.NewClient(socket),
	}
	var stderr *os.File
	u.stderr, stderr = fullPipe(t)
	args := append([]string{"run", "--name", "test", "--listen", u.addr, "--set", "Control.Socket=" + socket,
		"--set", "Worker.Environment=" + beWorker + "=" + u.server.journal}, flags...)
	args = append(args, "--", self(t))
	cmd := exec.Command(self(t), args...)
	cmd.Env = append(os.Environ(), beScgid+"=1")
	if journal {
		cmd = u.withJournal(cmd, stderr)
	}
	cmd.Stderr = stderr
	u.startCommand(cmd)
	u.until("it serves", func() bool { st, err := u.c.Status(t.Context()); return err == nil && st.Workers.Idle > 0 })
	return u
}

// withJournal has the command see a journal of the test's, in a mount namespace
// of its own.
func (u *unread) withJournal(cmd *exec.Cmd, stderr *os.File) *exec.Cmd {
	t := u.t
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	run, err := os.MkdirTemp("", "run") // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	u.journal = newFakeJournalAt(t, filepath.Join(run, "systemd/journal/socket"))
	var st unix.Stat_t
	if err := unix.Fstat(int(stderr.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	within := exec.Command(need(t, "unshare"), append([]string{"-m", "sh", "-c", `mount --bind "$0" /run && exec "$@"`, run, cmd.Path}, cmd.Args[1:]...)...)
	within.Env = append(cmd.Env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino))
	return within
}

// fullPipe is a pipe in which there is no room.
func fullPipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	read, write = os.NewFile(uintptr(ends[0]), "log"), os.NewFile(uintptr(ends[1]), "stderr")
	t.Cleanup(func() { read.Close(); write.Close() })
	if err := unix.SetNonblock(ends[1], true); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{4096, 1} {
		for {
			if _, err := unix.Write(ends[1], make([]byte, size)); err != nil {
				break
			}
		}
	}
	if err := unix.SetNonblock(ends[1], false); err != nil {
		t.Fatal(err)
	}
	return read, write
}

// within has a call answered in time.
func (u *unread) within(what string, call func() error) {
	u.t.Helper()
	began := time.Now()
	if err := call(); err != nil {
		u.t.Errorf("%s: %v", what, err)
	}
	if took := time.Since(began); took > time.Second {
		u.t.Errorf("%s took %v", what, took)
	}
}

func (u *unread) call(verb string, args map[string]any) {
	u.t.Helper()
	u.within(verb, func() error { return u.c.Call(u.t.Context(), verb, args, nil) })
}

var droppedLines = regexp.MustCompile(`(?m)^scgid_log_lines_dropped_total\{pool="[^"]*"\} (\d+)`)

// dropped is how many lines the metrics say were dropped.
func (u *unread) dropped() (n int) {
	u.t.Helper()
	u.within("metrics", func() error {
		text, err := u.c.Metrics(u.t.Context())
		if m := droppedLines.FindSubmatch(text); m != nil {
			n, _ = strconv.Atoi(string(m[1]))
		} else if err == nil {
			err = fmt.Errorf("nothing about the log in\n%s", text)
		}
		return err
	})
	return n
}

// flood has more lines logged than there is room for.
func (u *unread) flood() {
	u.t.Helper()
	u.call("log-level", map[string]any{"level": "debug"})
	for i := range 2 * logRoom {
		u.call("scale", map[string]any{"max_workers": 2 + i%2})
	}
}

// lines is all that is read from now on.
func (u *unread) lines() *logBuffer {
	text := &logBuffer{}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := u.stderr.Read(buf)
			if err != nil {
				return
			}
			text.Write(bytes.Trim(buf[:n], "\x00"))
		}
	}()
	if u.journal != nil {
		go func() {
			buf := make([]byte, 1<<16)
			for {
				n, _, err := unix.Recvfrom(u.journal.fd, buf, 0)
				if err != nil || n == 0 {
					return
				}
				text.Write(buf[:n])
			}
		}()
	}
	return text
}

var toldDropped = regexp.MustCompile(`took too long lines=(\d+)`)

func unreadLogs(t *testing.T, test func(t *testing.T, journal bool)) {
	t.Run("full pipe", func(t *testing.T) { test(t, false) })
	t.Run("journal that hangs", func(t *testing.T) { test(t, true) })
}

func TestALogThatNobodyReadsDoesNotStopTheControlSocket(t *testing.T) {
	unreadLogs(t, func(t *testing.T, journal bool) {
		u := startUnread(t, journal, "--set", "Pool.MaxWorkers=2", "--set", "Request.AccessLog=yes")
		u.flood()
		u.call("pause", nil)
		u.call("resume", nil)
		u.call("log-level", map[string]any{"level": "info"})
		u.within("status", func() error { _, err := u.c.Status(t.Context()); return err })
		u.within("a request", func() error { _, err := exchange(u.addr, "/x"); return err })
		dropped := u.dropped()
		if dropped < logRoom/2 {
			t.Errorf("%d lines dropped", dropped)
		}
		text := u.lines()
		u.until("that lines were dropped is told", func() bool { return toldDropped.MatchString(text.String()) })
		u.call("pause", nil)
		u.until("the log has the newest line", func() bool { return strings.Contains(text.String(), "intake paused") })
		told := 0
		for _, m := range toldDropped.FindAllStringSubmatch(text.String(), -1) {
			n, _ := strconv.Atoi(m[1])
			told += n
		}
		if told != u.dropped() {
			t.Errorf("%d lines dropped, %d told:\n%.2000s", u.dropped(), told, text)
		}
	})
}

func TestALogThatNobodyReadsDoesNotHoldUpTheEnd(t *testing.T) {
	unreadLogs(t, func(t *testing.T, journal bool) {
		u := startUnread(t, journal)
		u.flood()
		began := time.Now()
		u.cmd.Process.Signal(unix.SIGTERM)
		if err := u.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("SIGTERM took %v", took)
		}
	})
}

// A program that cannot begin ends, too.
func TestAProgramThatCannotSayWhyItEndsEnds(t *testing.T) {
	_, stderr := fullPipe(t)
	for _, words := range [][]string{{"serve", "no-such-pool"}, {"run", "--", "/no/such/program"}, {"nonsense"}} {
		cmd := exec.Command(self(t), words...)
		cmd.Env, cmd.Stderr = append(os.Environ(), beScgid+"=1"), stderr
		began := time.Now()
		if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() < 1 {
			t.Errorf("%q: %v", words, err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%q took %v", words, took)
		}
	}
}

func TestALogThatNobodyReadsDoesNotHoldUpAnUpgrade(t *testing.T) {
	u := startUnread(t, false)
	u.flood()
	before := u.dropped()
	if before == 0 {
		t.Error("nothing was dropped")
	}
	began := time.Now()
	_ = u.c.Call(t.Context(), "upgrade", nil, nil) // the connection is cut
	u.until("upgraded", func() bool {
		st, err := u.c.Status(t.Context())
		return err == nil && st.Operation != nil && st.Operation.State == "done"
	})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the upgrade took %v", took)
	}
	// What was never written is lost, too, but is counted.
	if after := u.dropped(); after < before+logRoom {
		t.Errorf("%d lines dropped, %d before the upgrade", after, before)
	}
	text := u.lines()
	u.until("all is told", func() bool {
		m := toldDropped.FindStringSubmatch(text.String())
		return m != nil && m[1] == strconv.Itoa(u.dropped())
	})
}
