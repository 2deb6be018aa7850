package poller

import (
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open makes a set and ends it with the test.
func open(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// pipe makes a pipe and ends it with the test.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]); unix.Close(ends[1]) })
	return ends[0], ends[1]
}

// await waits for events as a loop does: again and again, until there is one.
func (p *Poller) await(t *testing.T) []Event {
	t.Helper()
	began := time.Now()
	for time.Since(began) < 20*time.Second {
		events, err := p.Wait(time.Since(began), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) > 0 {
			return events
		}
	}
	t.Fatal("no event came")
	return nil
}

func TestAnEventHasTheTagOfItsDescriptor(t *testing.T) {
	p := open(t)
	r, w := pipe(t)
	tag := Tag{About: 7, Index: 1<<28 - 1, Stamp: -5}
	if err := p.Add(r, unix.EPOLLIN, tag); err != nil {
		t.Fatal(err)
	}
	for range 3 { // in the kernel, and parked
		if _, err := unix.Write(w, []byte("x")); err != nil {
			t.Fatal(err)
		}
		events := p.await(t)
		if e := &events[0]; len(events) != 1 || e.About() != tag.About || e.Index() != int(tag.Index) || e.Stamp() != tag.Stamp || e.Ready() != unix.EPOLLIN {
			t.Fatalf("got %+v", events)
		}
		unix.Read(r, make([]byte, 1))
		p.rest(t)
	}
	p.Remove(r)
	unix.Write(w, []byte("x"))
	if events, err := p.Wait(0, 0); len(events) != 0 || err != nil {
		t.Errorf("after Remove: %+v, %v", events, err)
	}
}

// rest waits until nothing comes any more.
func (p *Poller) rest(t *testing.T) {
	t.Helper()
	for range 5 {
		if events, err := p.Wait(0, time.Millisecond); len(events) > 0 || err != nil {
			t.Fatalf("%+v, %v", events, err)
		}
	}
}

func TestAWaitEndsInTime(t *testing.T) {
	p := open(t)
	began := time.Now()
	for time.Since(began) < 100*time.Millisecond {
		if _, err := p.Wait(time.Since(began), 100*time.Millisecond-time.Since(began)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// With one processor nobody else could run while the owner holds it.
func TestTheProcessorIsHeldOnlyWhereThereAreMore(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if open(t).hold {
		t.Error("one processor is held")
	}
	runtime.GOMAXPROCS(2)
	if !open(t).hold {
		t.Error("one of two processors is not held")
	}
}

func TestCloseLeavesNoDescriptor(t *testing.T) {
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := count()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if after := count(); after != before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}
