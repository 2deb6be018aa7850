package master

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

// With one processor nobody else runs while the loop holds it: so it waits in
// the runtime's poller at once.
func TestOneProcessorIsEnough(t *testing.T) {
	t.Setenv("GOMAXPROCS", "1")
	if !alone(t, nil) {
		return
	}
	if runtime.GOMAXPROCS(0) != 1 {
		t.Fatal("there are more")
	}
	r := begin(t, "plain", fixed(2))
	r.idle(2)
	if r.loop.poll.hold {
		t.Error("the loop holds its processor while it waits")
	}
	for i := range 100 {
		if got := r.get("/length=X", "X", strings.Repeat("x", i)); got != fmt.Sprint(i) {
			t.Fatalf("got %q", got)
		}
	}
	r.until("counted", func(_ control.Status, c Counters) bool { return c.Served == 100 })
	before := cpu(t)
	time.Sleep(500 * time.Millisecond) // the window that is measured
	if used := cpu(t) - before; used > 100*time.Millisecond {
		t.Errorf("used %v of CPU in half a second of rest", used)
	}
}

// The sign of life is the loop's own: it ends when the loop hangs.
func TestTheWatchdogIsFedByTheLoop(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { s.Watchdog = time.Minute })
	pings := func() int {
		r.notes.mu.Lock()
		defer r.notes.mu.Unlock()
		return r.notes.pings
	}
	for want := 1; want <= 3; want++ {
		r.skip(time.Minute)
		r.until("fed", func(control.Status, Counters) bool { return pings() >= want })
	}
	hung := pings()
	r.inLoop(func(l *loop) {
		l.began = l.began.Add(-time.Hour)
		for range 100 {
			runtime.Gosched()
		}
		if pings() != hung {
			t.Error("fed while the loop hangs")
		}
	})
	r.until("fed again, once", func(control.Status, Counters) bool { return pings() == hung+1 })
}

// slowHandler is a log that nobody reads until its lock is free.
type slowHandler struct {
	slog.Handler
	mu *sync.Mutex
}

func (h slowHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Handler.Handle(ctx, r)
}

func TestALogThatNobodyReadsStopsNothingAndIsCounted(t *testing.T) {
	var written safeBuffer
	slow := slowHandler{slog.NewTextHandler(&written, nil), new(sync.Mutex)}
	l := newLogger(slog.New(slow))
	slow.mu.Lock()
	const lines = logRoom + 500
	for i := range lines { // would hang here
		l.info("line", "n", i)
	}
	slow.mu.Unlock()
	l.close()
	text := written.String()
	kept := strings.Count(text, "msg=line")
	// One line is in the hands of who writes.
	if kept < logRoom || kept > logRoom+1 {
		t.Errorf("%d lines were kept, there was room for %d", kept, logRoom)
	}
	told := 0
	for line := range strings.Lines(text) {
		if _, n, ok := strings.Cut(line, "lines="); ok {
			more := 0
			fmt.Sscan(n, &more)
			told += more
		}
	}
	if told != lines-kept {
		t.Errorf("%d lines were dropped, %d told", lines-kept, told)
	}
}

// The same for a whole master: its terminal is stopped, say.
func TestRequestsAreServedWhileTheLogHangs(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	out, in := io.Pipe()
	r.startWith(settings("plain"), slog.New(slog.NewTextHandler(in, &slog.HandlerOptions{Level: slog.LevelDebug})), listeners...)
	for range 20 {
		r.get("/")
	}
	c := r.dial()
	c.Write([]byte("hello"))
	r.want(c, "400 Bad Request")
	go io.Copy(io.Discard, out) // now somebody reads
	r.stopped()
}

// A worker that streams writes small pieces; they must not wait for each other.
func TestTCPConnectionsComeWithoutDelay(t *testing.T) {
	checkFDs(t)
	r := beginTCP(t, "plain", nil)
	if got := r.get("/delay"); got != "none" {
		t.Errorf("delay: %s", got)
	}
}
