package master

import (
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what is kept of a worker's stderr.
const (
	tailLines = 12
	tailBytes = 4 << 10
)

// A tail passes on what a worker writes to stderr, and remembers its end.
type tail struct {
	mu   sync.Mutex
	done chan struct{} // closed at the end of file of the last pipe; guarded by mu
	kept []byte        // the end of it; guarded by mu
}

func newTail() *tail { return new(tail) }

// pipe makes the worker's stderr, which the caller owns. From then on a
// goroutine passes all of it to a copy of the descriptor to, which it borrows.
func (t *tail) pipe(to int) (stderr int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("pipe2", err)
	}
	out, err := unix.FcntlInt(uintptr(to), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(ends[0], true) // so that no thread waits for it
	}
	if err != nil {
		unix.Close(ends[0])
		unix.Close(ends[1])
		return -1, os.NewSyscallError("fcntl", err)
	}
	done := make(chan struct{})
	t.mu.Lock()
	t.done = done
	t.mu.Unlock()
	go t.relay(done, os.NewFile(uintptr(ends[0]), "stderr of a worker"), os.NewFile(uintptr(out), "log"))
	return ends[1], nil
}

func (t *tail) relay(done chan<- struct{}, from, to *os.File) {
	defer close(done)
	defer from.Close()
	defer to.Close()
	_, _ = io.Copy(io.MultiWriter(t, lossy{to}), from)
}

// lossy is a log that may be full or gone: that must not end the relay.
type lossy struct{ to io.Writer }

func (d lossy) Write(b []byte) (int, error) {
	_, _ = d.to.Write(b)
	return len(b), nil
}

// Write remembers b.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	if over := len(t.kept) - tailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(b), nil
}

// last returns the last lines, printable, once the worker has closed its
// stderr, or as far as they are here by then.
func (t *tail) last(wait time.Duration) []string {
	t.mu.Lock()
	done := t.done
	t.mu.Unlock()
	select {
	case <-done:
	case <-time.After(wait):
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	whole := len(t.kept) < tailBytes
	lines := strings.Split(strings.TrimRight(string(t.kept), "\n"), "\n")
	if !whole && len(lines) > 1 {
		lines = lines[1:] // its beginning is cut
	}
	lines = lines[max(0, len(lines)-tailLines):]
	var all []string
	for _, line := range lines {
		if text := strings.TrimRight(printable([]byte(line)), " "); text != "" {
			all = append(all, text)
		}
	}
	return all
}
