package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// watchAll collects events until the test ends.
func watchAll(t *testing.T, c *api.Client) (seen func() []control.Event) {
	t.Helper()
	var mu sync.Mutex
	var all []control.Event
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	done, ready := make(chan error, 1), make(chan bool)
	go func() {
		done <- c.EventsFrom(ctx, func() error { close(ready); return nil }, func(e control.Event) error {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, e)
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return func() []control.Event {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// What happens to a pool is told, once, in order and with its particulars: an
// application that does not start and does again, workers that come, are
// retired and die, a pool at its limit and below, requests that are refused and
// lost, a pause.
func TestEventsTellWhatHappens(t *testing.T) {
	dir := t.TempDir()
	switched := filepath.Join(dir, "worker") // a program that fails until it is replaced
	if err := os.WriteFile(switched, []byte("#!/bin/sh\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: filepath.Join(dir, "s"), journal: filepath.Join(dir, "journal"), log: &logBuffer{}, exited: make(chan error, 1)}
	socket := filepath.Join(dir, "c")
	s.launch(append(os.Environ(), beScgid+"=1"), nil, self(t), "run", "--name", "test", "--listen", s.addr, "--set", "Control.Socket="+socket,
		"--set", "Pool.MinWorkers=1", "--set", "Pool.MaxWorkers=1", "--set", "Pool.MinIdle=0", "--set", "Queue.TimeoutSec=300ms",
		"--set", "Worker.Environment="+beWorker+"="+s.journal, "--", switched)
	c := api.NewClient(socket)
	s.until("it does not start", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && st.State == control.Failing
	})
	seen := watchAll(t, c)
	find := func(kind string, fits func(control.Event) bool) func() bool {
		return func() bool {
			return slices.ContainsFunc(seen(), func(e control.Event) bool { return e.Kind == kind && fits(e) })
		}
	}
	whatever := func(control.Event) bool { return true }
	s.until("start-failing", find(control.EventStartFailing, func(e control.Event) bool {
		return e.Worker > 0 && e.PID > 0 && e.Count > 0 && strings.Contains(e.Reason, "7")
	}))

	script := "#!/bin/sh\nexec " + self(t) + "\n"
	if err := os.WriteFile(switched+".new", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(switched+".new", switched); err != nil {
		t.Fatal(err)
	}
	s.until("worker-started", find(control.EventWorkerStarted, func(e control.Event) bool { return e.Worker > 0 && e.PID > 0 }))
	s.until("worker-ready", find(control.EventWorkerReady, whatever))
	s.until("running", find(control.EventState, func(e control.Event) bool { return e.State == control.Running }))

	release := s.occupy(1)
	if text, err := exchange(s.addr, "/waits"); err != nil || !strings.HasPrefix(text, "Status: 503") {
		t.Errorf("%q, %v", text, err)
	}
	s.until("pool-saturated", find(control.EventSaturated, func(e control.Event) bool { return e.Count == 1 }))
	s.until("request-refused", find(control.EventRefused, func(e control.Event) bool { return e.Count == 1 }))
	release()
	// Only a served connection makes good for starts that failed.
	s.until("start-recovered", find(control.EventStartRecovered, func(e control.Event) bool { return e.Count > 0 }))
	s.until("pool-relieved", find(control.EventRelieved, whatever))

	if text, err := exchange(s.addr, "/die"); err != nil || text != "" {
		t.Errorf("%q, %v", text, err)
	}
	s.until("request-lost", find(control.EventLost, func(e control.Event) bool { return e.Worker > 0 && e.Count == 1 }))
	s.until("worker-exited", find(control.EventWorkerExited, func(e control.Event) bool {
		return e.Worker > 0 && e.PID > 0 && strings.Contains(e.Reason, "3") && e.Served == 1
	}))

	st := s.status(c)
	s.until("another worker", func() bool { st = s.status(c); return st.Workers.Idle == 1 })
	workers, err := c.Workers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatal(workers, err)
	}
	for verb, args := range map[string]map[string]any{"retire": {"worker": workers[0].ID}, "pause": nil} {
		if err := c.Call(t.Context(), verb, args, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.until("worker-retired", find(control.EventWorkerRetired, func(e control.Event) bool { return e.Worker == workers[0].ID }))
	s.until("it is gone", find(control.EventWorkerExited, func(e control.Event) bool { return e.Worker == workers[0].ID && e.Reason == "retired" }))
	s.until("paused", find(control.EventPaused, whatever))
	if err := c.Call(t.Context(), "resume", nil, nil); err != nil {
		t.Fatal(err)
	}
	s.until("resumed", find(control.EventResumed, whatever))

	all := seen()
	for i, e := range all[1:] {
		if e.Seq != all[i].Seq+1 || e.Time.Before(all[i].Time) {
			t.Errorf("event %+v comes after %+v", e, all[i])
		}
	}
	for _, once := range []string{control.EventStartRecovered, control.EventSaturated, control.EventRelieved, control.EventRefused, control.EventLost} {
		n := 0
		for _, e := range all {
			if e.Kind == once {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is told %d times", once, n)
		}
	}
	if age := time.Since(all[0].Time); age < 0 || age > 5*time.Minute {
		t.Errorf("the first event is %v old", age)
	}
}
