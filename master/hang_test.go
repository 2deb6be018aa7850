package master

import (
	"fmt"
	"runtime"
	"strings"
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
	r := begin(t, "plain", nil, func(h *Host) { h.Watchdog = time.Minute })
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
		l.host.began = l.host.began.Add(-time.Hour)
		for range 100 {
			runtime.Gosched()
		}
		if pings() != hung {
			t.Error("fed while the loop hangs")
		}
	})
	r.until("fed again, once", func(control.Status, Counters) bool { return pings() == hung+1 })
}

// A worker that streams writes small pieces; they must not wait for each other.
func TestTCPConnectionsComeWithoutDelay(t *testing.T) {
	checkFDs(t)
	r := beginTCP(t, "plain", nil)
	if got := r.get("/delay"); got != "none" {
		t.Errorf("delay: %s", got)
	}
}
