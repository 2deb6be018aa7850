package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

// TestStopReportsAlthoughThePoolEnds ends the server the moment the pool has,
// as the master does.
func TestStopReportsAlthoughThePoolEnds(t *testing.T) {
	noLeft(t)
	s := serve(t, me(), nil)
	release := s.pool.Hold()
	over := make(chan error, 1)
	go func() {
		<-s.pool.Stopped
		over <- s.Shutdown(soon(t))
	}()
	go func() {
		until(t, "the pool is draining", func() bool { st, _ := s.pool.Status(soon(t)); return st.State == control.Draining })
		s.pool.Lock()
		s.pool.Report.Finished = 17
		s.pool.Unlock()
		release()
	}()
	var report control.StopReport
	if err := s.client.Call(soon(t), "stop", map[string]any{"limit": 30}, &report); err != nil {
		t.Fatal(err)
	}
	if want := (control.StopReport{Finished: 17, Took: time.Second}); report != want {
		t.Errorf("%+v, want %+v", report, want)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(s.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	err := s.client.Call(soon(t), "status", nil, nil)
	if e, ok := err.(*control.Error); !ok || e.Code != control.CodeNotRunning {
		t.Errorf("status: %v", err)
	}
}

// TestShutdownLeavesNothing has connections of each kind open.
func TestShutdownLeavesNothing(t *testing.T) {
	noLeft(t)
	s := serve(t, me(), nil)
	_, events := s.watch()
	var idle []io.ReadWriteCloser
	whole := "GET /v1/verbs HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, raw := range []string{"", "GET /v1/st", whole, whole + "GET /v1/st"} {
		for range 3 {
			c := s.dial()
			_, _ = io.WriteString(c, raw)
			idle = append(idle, c)
		}
	}
	until(t, "all are in", func() bool { return s.connections() == 13 })
	began := time.Now()
	if err := s.Shutdown(soon(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	if events.Scan() || events.Err() != nil {
		t.Errorf("the stream of events: %q, %v", events.Text(), events.Err())
	}
	if n := s.connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if n := s.pool.Subscribers(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	for _, c := range idle {
		c.Close()
	}
}

func TestShutdownCutsWhatTakesTooLong(t *testing.T) {
	s := serve(t, me(), nil)
	release := s.pool.Hold()
	defer release()
	got := make(chan error, 1)
	go func() { got <- s.client.Call(soon(t), "stop", nil, nil) }()
	until(t, "the pool is draining", func() bool { st, _ := s.pool.Status(soon(t)); return st.State == control.Draining })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if e, ok := (<-got).(*control.Error); !ok || e.Code != control.CodeOver {
		t.Errorf("the caller got %v", e)
	}
}

func TestServeAfterShutdownIsOver(t *testing.T) {
	noLeft(t)
	s := NewServer(Options{Pool: newMemPool(), Access: me()})
	if err := s.Shutdown(soon(t)); err != nil {
		t.Fatal(err)
	}
	path := shortDir(t) + "/c.sock"
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != http.ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestChangesAreLoggedWithTheirCaller(t *testing.T) {
	s := serve(t, me(), nil)
	_ = s.client.Call(soon(t), "log-level", map[string]any{"level": "a\n\x1b[31m"}, nil)
	_ = s.client.Call(soon(t), "log-level", nil, nil)
	_ = s.client.Call(soon(t), "workers", nil, nil)
	_ = s.client.Call(soon(t), "resume", nil, nil)
	log := strings.Split(s.lines(), "\n")
	if len(log) != 4 || !strings.HasSuffix(log[0], `asks to change the log level: level="a\n\x1b[31m"`) ||
		!strings.HasSuffix(log[2], "asks to resume the intake") || !strings.Contains(log[3], "cannot resume the intake for uid") {
		t.Errorf("log: %q", log)
	}
}
