package process

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeJournal listens as the journal does, at path.
func fakeJournal(t *testing.T) (l *net.UnixListener, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "stdout")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, path
}

// streamed reads a stream to its end: what it says of itself, and its lines.
func streamed(t *testing.T, l *net.UnixListener) (head, rest string) {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitAfterN(string(b), "\n", 8)
	if len(parts) < 8 {
		t.Fatalf("it begins with %q", b)
	}
	return strings.Join(parts[:7], ""), parts[7]
}

func fds(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// The stream ends with the worker: nobody else holds it.
func TestAWorkerKilledInMidLineHasAllItWroteInItsStream(t *testing.T) {
	l, path := fakeJournal(t)
	long := strings.Repeat("x", 100_000)
	s, err := start(t, func(c *Command) {
		c.Journal, c.journalAt = "wiki/w3", path
		c.Env = append(c.Env, "PATH=/usr/bin:/bin", "LONG="+long)
	}, "/bin/sh", "-c",
		`echo "$JOURNAL_STREAM"; stat -L -c %d:%i /proc/self/fd/1; echo "<4>oops" >&2; echo $LONG; stat -L -c %d:%i /proc/self/fd/2; printf half; kill -9 $$`)
	if err != nil {
		t.Fatal(err)
	}
	head, text := streamed(t, l)
	if want := "wiki/w3\n\n6\n1\n0\n0\n0\n"; head != want {
		t.Errorf("the stream begins with %q, want %q", head, want)
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 6 || lines[2] != "<4>oops" || lines[3] != long || lines[5] != "half" {
		t.Fatalf("got %.300q", text)
	}
	if stream := lines[0]; stream == "" || lines[1] != stream || lines[4] != stream {
		t.Errorf("JOURNAL_STREAM is %q, its output %q and %q", stream, lines[1], lines[4])
	}
	if e := s.end(t); e.Signaled() != unix.SIGKILL {
		t.Error(e)
	}
	if s.Unjournaled != nil || s.text(t) != "" {
		t.Errorf("it has another output too (%v)", s.Unjournaled)
	}
}

func TestWithoutAJournalAWorkerHasTheMastersOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout")
	before := fds(t)
	t.Run("it", func(t *testing.T) {
		s, err := start(t, func(c *Command) { c.Journal, c.journalAt = "wiki/w3", path }, "/bin/sh", "-c", `echo "[$JOURNAL_STREAM]"; echo oops >&2`)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.text(t); got != "[]\noops\n" {
			t.Errorf("got %q", got)
		}
		s.end(t)
		if !errors.Is(s.Unjournaled, unix.ENOENT) || !strings.Contains(s.Unjournaled.Error(), path) {
			t.Errorf("the reason is %v", s.Unjournaled)
		}
	})
	if after := fds(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestABusyJournalIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	before := fds(t)
	for range 10 {
		stream, err := streamAt(path, "wiki/w3")
		if err == nil {
			defer unix.Close(stream)
			before++
			continue
		}
		if !errors.Is(err, unix.EAGAIN) {
			t.Errorf("got %v", err)
		}
		if after := fds(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
		return
	}
	t.Error("10 connections fit into a backlog of 0")
}

func TestAStreamIsWhatAProgramExpectsOfItsOutput(t *testing.T) {
	_, path := fakeJournal(t)
	fd, err := streamAt(path, "wiki/w3")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("it does not block: %#x, %v", flags, err)
	}
	flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("another child would get it: %#x, %v", flags, err)
	}
	if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("it can be read from: %d, %v", n, err)
	}
}

func TestAnIdentifierThatWouldBeMoreThanALineIsAnError(t *testing.T) {
	_, path := fakeJournal(t)
	for _, bad := range []string{"", "a\nb", "a\x00b", strings.Repeat("x", 300)} {
		if fd, err := streamAt(path, bad); err == nil {
			unix.Close(fd)
			t.Errorf("%q is taken", bad)
		}
	}
}
