package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// A steered is a pool with all its front ends, and what they tell.
type steered struct {
	*server
	c       *api.Client
	address string // of the bus
	events  func() []string

	mu      sync.Mutex
	changed []int32 // MaxWorkers, as PropertiesChanged told it
}

const busName, busPath, busIface = "org.scgid1.app.test", "/org/scgid1/pool", "org.scgid1.Pool"

func startSteered(t *testing.T, flags ...string) *steered {
	t.Helper()
	s := &steered{address: privateBus(t)}
	s.server, s.c = controlled(t, append(flags, "--set", "Control.Bus=session")...)
	s.events = watch(t, s.c)
	conn, err := dbus.Connect(s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	signals := make(chan *dbus.Signal, 1000)
	conn.Signal(signals)
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchObjectPath(busPath)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for sig := range signals {
			if len(sig.Body) < 2 {
				continue
			}
			props, _ := sig.Body[1].(map[string]dbus.Variant)
			if n, ok := props["MaxWorkers"].Value().(int32); ok {
				s.mu.Lock()
				s.changed = append(s.changed, n)
				s.mu.Unlock()
			}
		}
	}()
	s.until("the pool is on the bus", func() bool {
		var has bool
		return conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, busName).Store(&has) == nil && has
	})
	return s
}

// announced returns the last MaxWorkers that the bus told.
func (s *steered) announced() int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.changed) == 0 {
		return -1
	}
	return s.changed[len(s.changed)-1]
}

// bare is how long this machine takes right now to start n processes as a
// worker is started: it is executed twice, see process.Trampoline. Beside the
// load of other tests nothing can be faster than that.
func bare(t *testing.T, n int) time.Duration {
	t.Helper()
	began := time.Now()
	var all sync.WaitGroup
	for range n {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 2 {
				if out, err := exec.Command(self(t), "-test.run=^$").CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			}
		}()
	}
	all.Wait()
	return time.Since(began)
}

// Under load the same pool is scaled by scgictl, by busctl and by curl: the
// workers follow within a second, nothing fails, and each way is seen by the
// others.
func TestEachFrontEndScalesUnderLoad(t *testing.T) {
	busctl, curl, scgictl := need(t, "busctl"), need(t, "curl"), build(t, "scgictl")
	s := startSteered(t, "--set", "Pool.MinWorkers=2", "--set", "Pool.MaxWorkers=2")
	l := startTraffic(s.addr, 4)
	fronts := []struct {
		name  string
		scale func(n int) *exec.Cmd
	}{
		{"scgictl", func(n int) *exec.Cmd {
			k := strconv.Itoa(n)
			return exec.Command(scgictl, "scale", "--socket", s.c.Socket(), "--min", k, "--max", k)
		}},
		{"busctl", func(n int) *exec.Cmd {
			k := strconv.Itoa(n)
			return exec.Command(busctl, "--address="+s.address, "--timeout=30", "--", "call", busName, busPath, busIface, "Scale", "iiii", k, k, "-1", "-1")
		}},
		{"curl", func(n int) *exec.Cmd {
			return exec.Command(curl, "-sS", "--fail-with-body", "--unix-socket", s.c.Socket(), "http://scgid/v1/scale",
				"-d", fmt.Sprintf(`{"min_workers": %d, "max_workers": %d}`, n, n))
		}},
	}
	changes := 0
	for i, front := range fronts {
		for _, n := range []int{6 + i, 3} {
			limit := max(time.Second, 3*bare(t, 4))
			began := time.Now()
			if out, err := front.scale(n).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", front.name, err, out)
			}
			s.until("the workers follow", func() bool {
				w := s.status(s.c).Workers
				return w.Starting == 0 && w.Retiring == 0 && w.Idle+w.Busy == n
			})
			took := time.Since(began)
			t.Logf("%s: %d workers after %v", front.name, n, took.Round(time.Millisecond))
			if took > limit {
				t.Errorf("%s: %d workers after %v, want within %v", front.name, n, took, limit)
			}
			changes++
			s.until("the event stream and the bus tell of it", func() bool {
				return strings.Count(strings.Join(s.events(), " "), control.EventLimits) == changes && s.announced() == int32(n)
			})
		}
	}
	l.judge(t, l.end(t, s.journal))
	if len(l.failed) > 0 || len(l.good) == 0 {
		t.Errorf("%d of %d requests failed", len(l.failed), len(l.failed)+len(l.good))
	}
	t.Logf("%d requests, none failed", len(l.good))
	// scgictl shows what the last one did.
	out, err := exec.Command(scgictl, "status", "--socket", s.c.Socket()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "3 workers") || !strings.Contains(string(out), "set at run time") {
		t.Errorf("%v: %s", err, out)
	}
	var scaled []string
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "asks to change the limits") {
			scaled = append(scaled, line)
		}
	}
	if len(scaled) != changes {
		t.Errorf("%d changes are in the log with who asked, want %d: %q", len(scaled), changes, scaled)
	}
}
