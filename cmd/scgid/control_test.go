package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"golang.org/x/sys/unix"
)

// controlled starts a server with a control socket of its own.
func controlled(t *testing.T, flags ...string) (*server, *api.Client) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "control.sock")
	s := startServer(t, append(flags, "--set", "Control.Socket="+socket)...)
	return s, api.NewClient(socket)
}

func (s *server) status(c *api.Client) control.Status {
	s.t.Helper()
	st, err := c.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// watch collects the kinds of events until the function it returns is called.
func watch(t *testing.T, c *api.Client) (kinds func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan bool)
	go func() {
		done <- c.EventsFrom(ctx, func() error { close(ready); return nil }, func(e control.Event) error {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, e.Kind)
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestScalingUnderLoadFailsNothing(t *testing.T) {
	s, c := controlled(t, "--set", "Pool.MinWorkers=2", "--set", "Pool.MaxWorkers=2")
	events := watch(t, c)
	l := startTraffic(s.addr, 32)
	for _, n := range []int{12, 3, 9, 1} {
		var got control.Limits
		began := time.Now()
		if err := c.Call(t.Context(), "scale", map[string]any{"min_workers": n, "max_workers": n}, &got); err != nil {
			t.Fatal(err)
		}
		if got.MaxWorkers != n || got.MinWorkers != n {
			t.Errorf("scaled to %+v, want %d", got, n)
		}
		s.until("the workers follow", func() bool {
			w := s.status(c).Workers
			return w.Starting == 0 && w.Idle+w.Busy == n
		})
		t.Logf("%d workers after %v", n, time.Since(began).Round(time.Millisecond))
	}
	var back control.Limits
	if err := c.Call(t.Context(), "scale", map[string]any{"reset": true}, &back); err != nil || back.MaxWorkers != 2 {
		t.Errorf("reset to %+v, %v", back, err)
	}
	executed := l.end(t, s.journal)
	l.judge(t, executed)
	if len(l.failed) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(l.failed), len(l.good)+len(l.failed), l.failed)
	}
	s.until("all five changes are told", func() bool {
		return strings.Count(strings.Join(events(), " "), control.EventLimits) == 5
	})
}

func TestWhatComesWhilePausedIsAnsweredLater(t *testing.T) {
	s, c := controlled(t, "--set", "Pool.MaxWorkers=4")
	events := watch(t, c)
	if err := c.Call(t.Context(), "pause", nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := s.status(c).State; got != control.Paused {
		t.Errorf("state %q", got)
	}
	const n = 200
	var good atomic.Int64
	var clients sync.WaitGroup
	for i := range n {
		clients.Add(1)
		go func() {
			defer clients.Done()
			key := fmt.Sprintf("/paused-%d", i)
			if text, err := exchange(s.addr, key); err == nil && strings.HasSuffix(text, key) {
				good.Add(1)
			} else {
				t.Errorf("%s: %q %v", key, text, err)
			}
		}()
	}
	s.until("all wait in the kernel", func() bool {
		st := s.status(c)
		return len(st.Queue.Listeners) == 1 && st.Queue.Listeners[0].Backlog == n
	})
	if got := s.status(c); good.Load() != 0 || got.Requests.Served != 0 || got.Queue.Waiting != 0 {
		t.Errorf("the intake is not paused: %+v", got)
	}
	if err := c.Call(t.Context(), "resume", nil, nil); err != nil {
		t.Fatal(err)
	}
	clients.Wait()
	if good.Load() != n {
		t.Errorf("%d of %d were answered", good.Load(), n)
	}
	s.until("both are told", func() bool {
		return slices.Contains(events(), control.EventPaused) && slices.Contains(events(), control.EventResumed)
	})
}

func TestAPauseWithALimitEndsByItself(t *testing.T) {
	s, c := controlled(t)
	if err := c.Call(t.Context(), "pause", map[string]any{"limit": 0.05}, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := exchange(s.addr, "/later"); err != nil || !strings.HasSuffix(text, "/later") {
		t.Errorf("%q %v", text, err)
	}
	if got := s.status(c).State; got != control.Running {
		t.Errorf("state %q", got)
	}
}

func TestStopUnderLoadLosesNothingAndReports(t *testing.T) {
	s, c := controlled(t, "--set", "Pool.MaxWorkers=4")
	l := startTraffic(s.addr, 32)
	s.until("there is load", func() bool { return l.n.Load() > 500 })
	var report control.StopReport
	if err := c.Call(t.Context(), "stop", nil, &report); err != nil {
		t.Fatal(err)
	}
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	l.judgeAccepted(t, l.end(t, s.journal))
	served, lost, refused := s.counted()
	t.Logf("waited for %d requests, %v", report.Finished, report.Took)
	if lost+refused != 0 || report.Lost != 0 || served != len(l.good) || report.Finished == 0 {
		t.Errorf("%d served, %d lost, %d refused; clients saw %d good; report %+v", served, lost, refused, len(l.good), report)
	}
}

func TestWorkersAreRetiredAndKilledByID(t *testing.T) {
	s, c := controlled(t, "--set", "Pool.MinWorkers=3", "--set", "Pool.MaxWorkers=3")
	s.until("all are ready", func() bool { return s.status(c).Workers.Idle == 3 })
	if err := c.Call(t.Context(), "retire", map[string]any{"worker": 1}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), "kill", map[string]any{"worker": 2}, nil); err != nil {
		t.Fatal(err)
	}
	s.until("both are replaced", func() bool {
		st := s.status(c)
		return st.Workers.Idle == 3 && st.Exits["retired"] == 1 && st.Exits["killed"] == 1
	})
	err := c.Call(t.Context(), "retire", map[string]any{"worker": 1}, nil)
	if e := control.AsError(err); err == nil || e.Code != control.CodeNoWorker {
		t.Errorf("retiring a worker that is gone: %v", err)
	}
}

// Each kind of end has its counter, and they add up.
func TestMetricsAgreeWithWhatWasSent(t *testing.T) {
	s, c := controlled(t, "--set", "Pool.MaxWorkers=4", "--set", "Request.HeaderTimeoutSec=100ms")
	for i := range 20 {
		if _, err := exchange(s.addr, fmt.Sprintf("/%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	send := func(n int, text string) {
		for range n {
			conn, err := net.Dial("unix", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte(text))
			if text != "" {
				conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				conn.Read(make([]byte, 1000))
			}
			conn.Close()
		}
	}
	send(3, "junk")
	send(4, "99999999:")
	send(5, "")
	send(2, "30:CONTENT")
	want := map[string]string{"served": "20", "malformed": "3", "too_large": "4", "empty": "5", "timeout": "2", "lost": "0", "refused": "0", "client_gone": "0"}
	var last string
	s.until("the counters agree", func() bool {
		text, err := c.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		last = withoutPool.ReplaceAllString(string(text), "$1")
		for outcome, n := range want {
			if !strings.Contains(last, fmt.Sprintf("scgid_connections_total{outcome=%q} %s\n", outcome, n)) &&
				!strings.Contains(last, fmt.Sprintf("scgid_connections_total{outcome=%q} %s.0\n", outcome, n)) {
				return false
			}
		}
		return strings.Contains(last, "scgid_accepted_total 34")
	})
}

func TestCurlSteersThePool(t *testing.T) {
	curl := need(t, "curl")
	_, c := controlled(t)
	get := func(args ...string) []byte {
		out, err := exec.Command(curl, append([]string{"-sS", "--fail-with-body", "--unix-socket", c.Socket()}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return out
	}
	get("-d", `{"max_workers": 5}`, "http://scgid/v1/scale")
	var st control.Status
	if err := json.Unmarshal(get("http://scgid/v1/status"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Limits.MaxWorkers != 5 || !st.Scaled {
		t.Errorf("got %+v", st)
	}
}

// Garbage on the control socket costs requests through the pool nothing.
func TestAFloodOfTheControlSocketDoesNotHoldUpRequests(t *testing.T) {
	s, c := controlled(t, "--set", "Pool.MaxWorkers=4")
	var flood []net.Conn
	for i := range 2000 {
		conn, err := net.Dial("unix", c.Socket())
		if err != nil {
			continue
		}
		if i%2 == 0 {
			conn.Write([]byte("GET /v1/events HTTP/1.1\r\nHost: x\r\n"))
		} else {
			conn.Write([]byte(strings.Repeat("\x00garbage", 100)))
		}
		flood = append(flood, conn)
	}
	defer func() {
		for _, conn := range flood {
			conn.Close()
		}
	}()
	l := startTraffic(s.addr, 8)
	s.until("requests go through", func() bool { return l.n.Load() > 1000 })
	l.judge(t, l.end(t, s.journal))
	if len(l.failed) > 0 {
		t.Errorf("%d requests failed", len(l.failed))
	}
	if mem := s.statusOf(s.cmd.Process.Pid, "VmRSS:"); mem > 100<<10 {
		t.Errorf("the master takes %d KiB", mem)
	}
	for _, conn := range flood {
		conn.Close()
	}
	flood = nil
	if got := s.status(c).State; got != control.Running {
		t.Errorf("state %q", got)
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
}

func TestReloadOfAPoolWithoutAFileHasNothingToNote(t *testing.T) {
	_, c := controlled(t)
	var o control.Operation
	if err := c.Call(t.Context(), "reload", nil, &o); err != nil {
		t.Fatal(err)
	}
	if o.Generation != 2 || len(o.Notes) > 0 {
		t.Errorf("%+v", o)
	}
}

// The loop keeps its thread for a while after a request, in case that another
// comes. Whoever steers the pool in that time is answered all the same: once it
// took until the loop had rested, twice 40 ms.
func TestTheControlSocketAnswersAtOnceAfterALoneRequest(t *testing.T) {
	s, c := controlled(t)
	const times = 15
	took := make([]time.Duration, times)
	for i := range took {
		time.Sleep(150 * time.Millisecond) // it has to be at rest before
		if _, err := exchange(s.addr, fmt.Sprint("/", i)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.status(c)
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	t.Logf("half of the answers came within %v", took[times/2])
	if took[times/2] > 20*time.Millisecond {
		t.Errorf("answers took %v", took)
	}
}
