package master

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// recorded runs a master with a record, and gives what the next one would read
// in it now.
func recorded(t *testing.T, mode string, edit func(*Settings)) (*rig, func() left) {
	t.Helper()
	record, err := NewRecord("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(record.Close)
	r := begin(t, mode, func(s *Settings) {
		s.Record = record
		if edit != nil {
			edit(s)
		}
	})
	return r, func() left {
		t.Helper()
		l, err := decode(record.page, poolHash("test"))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

// leaves waits until the record says that a crash would lose so many, and that
// so many are at workers.
func (r *rig) leaves(read func() left, stake, active uint64) {
	r.t.Helper()
	var l left
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if l = read(); l.stake == stake && l.active == active {
			return
		}
	}
	r.t.Fatalf("%d are at stake and %d at workers, want %d and %d", l.stake, l.active, stake, active)
}

func TestRecordCountsWhatACrashWouldLose(t *testing.T) {
	r, read := recorded(t, "plain", func(s *Settings) { s.Limits = control.Limits{MaxWorkers: 2, MaxIdle: 2}; s.QueueMax = 3 })
	if now := r.now(); read().state != recordRunning || read().pid != now.PID {
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
	parked[1].Write([]byte("garbage that goes on for ever"))
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
	served := r.stopped().Served
	if l := read(); l.state != recordEnded || l.served != served || l.stake != 0 {
		t.Errorf("in the end: %+v, served %d", l, served)
	}
}

// The count is kept by all that happens to a connection; here everything does,
// and it is held against a new count all the time.
func TestStakesAddUpWhateverHappensToWorkers(t *testing.T) {
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
				for _, c := range l.conns {
					alone := c.fd >= 0 && (c.state == parked || c.state == waiting ||
						c.state == passed && (c.worker.state == killed || c.worker.state == gone))
					if alone {
						n++
					}
					if alone != c.staked {
						t.Errorf("connection %d in state %d is staked: %v", c.id, c.state, c.staked)
					}
				}
				if n != l.atStake || read().stake != uint64(n) {
					t.Errorf("%d are at stake, counted as %d, recorded as %d", n, l.atStake, read().stake)
				}
				looks, most = looks+1, max(most, n)
			})
		}
	}
	stop.Store(true)
	clients.Wait()
	t.Logf("%d answers; at most %d at stake in %d looks", answers.Load(), most, looks)
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
	if l := read(); l.limits.MaxWorkers == nil || *l.limits.MaxWorkers != 3 {
		t.Errorf("the record says %+v", l.limits)
	}
	if err := r.Pause(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if l := read(); !l.paused || l.resume-bootTime() > time.Hour || l.resume-bootTime() < 59*time.Minute {
		t.Errorf("the record says %+v", l)
	}
	if err := r.Pause(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if l := read(); !l.paused || l.resume != 0 {
		t.Errorf("the record says %+v", l)
	}
	if err := r.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Scale(t.Context(), control.Change{Reset: true}); err != nil {
		t.Fatal(err)
	}
	if l := read(); l.paused || l.limits != (control.Change{}) {
		t.Errorf("the record says %+v", l)
	}
}
