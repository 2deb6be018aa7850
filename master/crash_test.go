package master

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/record"
	"golang.org/x/sys/unix"
)

// recorded runs a master with a record, and gives what the next one would read
// in it now.
func recorded(t *testing.T, mode string, edit func(*Settings)) (*rig, func() *record.Crash) {
	t.Helper()
	kept, err := record.New("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kept.Close)
	r := begin(t, mode, edit, func(h *Host) { h.Record = kept })
	return r, func() *record.Crash { t.Helper(); return nextReads(t, kept, "test") }
}

// nextReads returns what the next master would be told by a record, were this one
// to crash now; nil if it has ended in order.
func nextReads(t testing.TB, kept *record.Record, pool string) *record.Crash {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(kept.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := record.Open(fd, pool)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	return again.Crashed()
}

// leaves waits until the record says that a crash would lose so many, and that
// so many are at workers.
func (r *rig) leaves(read func() *record.Crash, atRisk, active uint64) {
	r.t.Helper()
	var l *record.Crash
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if l = read(); l.AtRisk == atRisk && l.AtWorkers == active {
			return
		}
	}
	r.t.Fatalf("%d are at risk and %d at workers, want %d and %d", l.AtRisk, l.AtWorkers, atRisk, active)
}

func TestRecordCountsWhatACrashWouldLose(t *testing.T) {
	r, read := recorded(t, "plain", func(s *Settings) { s.Limits = control.Limits{MaxWorkers: 2, MaxIdle: 2}; s.QueueMax = 3 })
	if now := r.now(); read() == nil || read().PID != now.PID {
		t.Errorf("at the beginning: %+v", read())
	}
	r.held("one") // by worker 1, the only one so far
	_, let := r.held("two")
	r.leaves(read, 0, 2)
	half := request("/half")
	var parked []net.Conn
	for range 4 {
		c := r.dial()
		c.Write(half[:len(half)/2])
		parked = append(parked, c)
	}
	r.leaves(read, 4, 2)
	var waiting []net.Conn
	for range 5 { // two too many: they stay in the kernel
		waiting = append(waiting, r.send("/wait"))
	}
	r.leaves(read, 7, 2)
	parked[0].Close()
	r.leaves(read, 6, 2)
	parked[1].Write([]byte("garbage that goes on forever"))
	parked[1].(*net.UnixConn).CloseWrite()
	r.leaves(read, 5, 2) // answered, though not closed
	for _, w := range r.workers() {
		if w.id == 1 {
			r.signal(w, unix.SIGKILL)
		}
	}
	// One is lost with its worker, and the other is at work; a new worker takes
	// what waits, with what the kernel has.
	for _, c := range waiting {
		r.want(c, "200 OK")
	}
	r.leaves(read, 2, 1)
	let()
	for _, c := range parked {
		c.Close()
	}
	r.leaves(read, 0, 0)
	served := r.counters().Served
	if l := read(); l.Served != served || l.AtRisk != 0 {
		t.Errorf("it says %+v, served %d", l, served)
	}
	r.stopped()
	if l := read(); l != nil {
		t.Errorf("in the end a crash is told: %+v", l)
	}
}

// The count is kept by all that happens to a connection; here everything does,
// and it is held against a new count all the time.
func TestWhatIsAtRiskAddsUpWhateverHappensToWorkers(t *testing.T) {
	r, read := recorded(t, "plain", func(s *Settings) {
		s.Limits = control.Limits{MinWorkers: 4, MaxWorkers: 4, MinIdle: 0, MaxIdle: 4}
		s.QueueMax = 6
	})
	var stop atomic.Bool
	var clients sync.WaitGroup
	var answers atomic.Int64
	for i := range 12 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			for n := 0; !stop.Load(); n++ {
				c, err := net.Dial("unix", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(20 * time.Second))
				whole, wait := request("/x"), true
				switch (n + i) % 6 {
				case 0:
					whole, wait = whole[:20], false
				case 1:
					whole = []byte("nonsense")
				case 2: // gone before it is served
					wait = false
				case 3:
					c.Write(whole[:20])
					time.Sleep(time.Millisecond)
					whole = whole[20:]
				}
				c.Write(whole)
				if wait {
					if _, _, err := answer(c); err == nil {
						answers.Add(1)
					}
				}
				c.Close()
			}
		}()
	}
	looks, most := 0, 0
	for kills := 0; kills < 30; {
		if w := r.workers(); len(w) > 2 {
			if unix.Kill(w[kills%len(w)].pid, [...]unix.Signal{unix.SIGKILL, unix.SIGTERM}[kills%2]) == nil {
				kills++
			}
		}
		for range 20 {
			r.inLoop(func(l *loop) {
				n := 0
				for _, c := range l.conns.all {
					alone := c.FD >= 0 && (c.State == parked || c.State == waiting ||
						c.State == passed && (c.worker.State == killed || c.worker.State == gone))
					if alone {
						n++
					}
					if alone != c.AtRisk {
						t.Errorf("connection %d in state %d is at risk: %v", c.ID, c.State, c.AtRisk)
					}
				}
				if n != l.conns.atRisk || read().AtRisk != uint64(n) {
					t.Errorf("%d are at risk, counted as %d, recorded as %d", n, l.conns.atRisk, read().AtRisk)
				}
				looks, most = looks+1, max(most, n)
			})
		}
	}
	stop.Store(true)
	clients.Wait()
	t.Logf("%d answers; at most %d at risk in %d looks", answers.Load(), most, looks)
	if most < 3 || answers.Load() == 0 {
		t.Error("nothing was tested")
	}
	r.leaves(read, 0, 0)
}

func TestScaleAndPauseAreRecordedBeforeTheyAreConfirmed(t *testing.T) {
	r, read := recorded(t, "plain", nil)
	n := 3
	if _, err := r.Scale(t.Context(), control.Change{MaxWorkers: &n}); err != nil {
		t.Fatal(err)
	}
	if l := read(); l.Limits.MaxWorkers == nil || *l.Limits.MaxWorkers != 3 {
		t.Errorf("the record says %+v", l.Limits)
	}
	if err := r.Pause(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if l := read(); !l.Paused || l.Resume-record.BootTime() > time.Hour || l.Resume-record.BootTime() < 59*time.Minute {
		t.Errorf("the record says %+v", l)
	}
	if err := r.Pause(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if l := read(); !l.Paused || l.Resume != 0 {
		t.Errorf("the record says %+v", l)
	}
	if err := r.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Scale(t.Context(), control.Change{Reset: true}); err != nil {
		t.Fatal(err)
	}
	if l := read(); l.Paused || l.Limits != (control.Change{}) {
		t.Errorf("the record says %+v", l)
	}
}

func TestRecordingARequestAllocatesNothing(t *testing.T) {
	r, err := record.New("wiki")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := &loop{record: r}
	c := &conn{}
	if n := testing.AllocsPerRun(100, func() { recordRequest(l, c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// recordRequest does for the record what a request does that finds a worker at
// once.
func recordRequest(l *loop, c *conn) {
	l.expectAccept()
	l.setAtRisk(c, true)
	l.setAtRisk(c, false)
	l.conns.open++
	l.keepRecord()
	l.count.Served++
	l.conns.open--
	l.keepRecord()
}

func BenchmarkRecordingARequest(b *testing.B) {
	r, err := record.New("wiki")
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	l, c := &loop{record: r}, &conn{}
	for b.Loop() {
		recordRequest(l, c)
	}
}
