package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

// watch opens a stream and returns its lines, once it has begun.
func (s *site) watch(headers ...string) (*http.Response, *bufio.Scanner) {
	s.t.Helper()
	c := s.dial()
	_, _ = io.WriteString(c, get("/v1/events", headers...))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return r, bufio.NewScanner(r.Body)
}

func next(t *testing.T, lines *bufio.Scanner, n int) string {
	t.Helper()
	var all []string
	for range n {
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
		all = append(all, lines.Text())
	}
	return strings.Join(all, "\n")
}

func TestEventsAsNDJSON(t *testing.T) {
	s := serve(t, me(), nil)
	r, lines := s.watch()
	if r.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%v", r.Header)
	}
	s.pool.Send(control.Event{Kind: control.EventWorkerReady, Worker: 7, PID: 99})
	want := `{"seq":3,"time":"2023-11-14T22:13:20Z","kind":"worker-ready","worker":7,"pid":99}`
	if got := next(t, lines, 1); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestEventsAsServerSentEvents(t *testing.T) {
	s := serve(t, me(), nil)
	r, lines := s.watch("Accept: text/event-stream")
	if r.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%v", r.Header)
	}
	s.pool.Send(control.Event{Kind: control.EventState, State: control.Failing, Reason: "line 1\nline 2"})
	want := "id: 3\nevent: state\n" +
		`data: {"seq":3,"time":"2023-11-14T22:13:20Z","kind":"state","state":"failing","reason":"line 1\nline 2"}` + "\n"
	if got := next(t, lines, 4); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAGapIsTold(t *testing.T) {
	s := serve(t, me(), nil)
	for _, tt := range []struct {
		name    string
		headers []string
		skip    uint64 // events that the subscription loses without a word
		want    []string
	}{
		{"none", nil, 0, []string{"worker-ready", "worker-ready"}},
		{"in the stream", nil, 5, []string{"worker-ready", "missed 5", "worker-ready"}},
		{"since the last stream", []string{"Last-Event-ID: 1"}, 0, []string{"missed", "worker-ready", "worker-ready"}},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			s.pool.Send(control.Event{Kind: control.EventPaused})
			_, lines := s.watch(tt.headers...)
			s.pool.Send(control.Event{Kind: control.EventWorkerReady})
			s.pool.Lock()
			s.pool.Seq += tt.skip
			s.pool.Unlock()
			s.pool.Send(control.Event{Kind: control.EventWorkerReady})
			for _, want := range tt.want {
				var e control.Event
				if err := json.Unmarshal([]byte(next(t, lines, 1)), &e); err != nil {
					t.Fatal(err)
				}
				kind, count, _ := strings.Cut(want, " ")
				if e.Kind != kind || count == "5" && e.Count != 5 {
					t.Errorf("%+v, want %s", e, want)
				}
			}
		})
	}
}

// TestASlowReaderMissesAndIsTold reads nothing until the pool has had to drop
// events; then all that there were are told or counted.
func TestASlowReaderMissesAndIsTold(t *testing.T) {
	s := serve(t, me(), nil)
	before := memory()
	_, lines := s.watch()
	s.pool.Lock()
	first := s.pool.Seq
	s.pool.Unlock()
	const n = 20000
	reason := strings.Repeat("x", 1000)
	for range n {
		s.pool.Send(control.Event{Kind: control.EventWorkerExited, Reason: reason})
	}
	if after := memory(); after > before+8<<20 {
		t.Errorf("memory grew from %d to %d bytes", before, after)
	}
	// What was dropped last is told with the next event.
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				s.pool.Send(control.Event{Kind: control.EventResumed})
			}
		}
	}()
	var seen, missed uint64
	for e := (control.Event{}); e.Kind != control.EventResumed; {
		e = control.Event{}
		if err := json.Unmarshal([]byte(next(t, lines, 1)), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == control.EventMissed {
			missed += e.Count
		} else {
			seen++
		}
		if e.Seq != first+seen+missed {
			t.Fatalf("seq %d after %d seen and %d missed from %d", e.Seq, seen, missed, first)
		}
	}
	if missed == 0 || seen+missed <= n {
		t.Errorf("%d seen and %d missed of %d", seen, missed, n)
	}
	t.Logf("%d seen, %d missed", seen, missed)
}

func TestAQuietStreamShowsThatItLives(t *testing.T) {
	s := serve(t, me(), nil)
	s.Server.keepalive = 5 * time.Millisecond
	_, lines := s.watch("Accept: text/event-stream")
	if got := next(t, lines, 4); got != ":\n\n:\n" {
		t.Errorf("%q", got)
	}
}

// TestAStreamOutlivesTheLimitOfOneWrite: each event has its own.
func TestAStreamOutlivesTheLimitOfOneWrite(t *testing.T) {
	t.Parallel()
	s := serve(t, me(), nil)
	_, lines := s.watch()
	<-time.After(writeTime + time.Second/2)
	for range 3 {
		s.pool.Send(control.Event{Kind: control.EventPaused})
		next(t, lines, 1)
	}
}

// TestAReaderWhoReadsNothingIsCut fills its buffer and waits for the end.
func TestAReaderWhoReadsNothingIsCut(t *testing.T) {
	t.Parallel()
	s := serve(t, me(), nil)
	s.watch()
	began, reason := time.Now(), strings.Repeat("x", 10000)
	for s.pool.Subscribers() > 0 {
		s.pool.Send(control.Event{Kind: control.EventWorkerExited, Reason: reason})
		if time.Since(began) > writeTime+5*time.Second {
			t.Fatal("not cut")
		}
		time.Sleep(time.Millisecond)
	}
	until(t, "its connection is closed", func() bool { return s.connections() == 0 })
	s.serves()
}

func TestStreamsAreBoundedAndRootHasOne(t *testing.T) {
	uids := make(chan uint32, 1)
	s := serve(t, control.Access{OwnUID: ownUID, Group: -1, ReadGroup: readID}, func(*net.UnixConn) (control.Caller, error) {
		return control.Caller{UID: <-uids, GIDs: []uint32{readID}}, nil
	})
	open := func(uid uint32) int {
		uids <- uid
		r, _ := s.watch()
		return r.StatusCode
	}
	var got []int
	for uid := range uint32(4) {
		n := 0
		for range userStreams + 1 {
			if open(1000+uid) == http.StatusOK {
				n++
			}
		}
		got = append(got, n)
	}
	if !slices.Equal(got, []int{userStreams, userStreams, userStreams, 0}) {
		t.Errorf("streams of each user: %v", got)
	}
	for i := range maxStreams - 3*userStreams {
		if code := open(0); code != http.StatusOK {
			t.Errorf("root's stream %d: %d", i+1, code)
		}
	}
	if code := open(0); code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", code)
	}
}

func TestClientWatchesEvents(t *testing.T) {
	noLeft(t)
	s := serve(t, me(), nil)
	enough := errors.New("enough")
	var kinds []string
	err := s.client.EventsFrom(soon(t), func() error {
		return s.client.Call(soon(t), "kill", map[string]any{"worker": 1}, nil)
	}, func(e control.Event) error {
		if kinds = append(kinds, e.Kind); len(kinds) == 2 {
			return enough
		}
		return s.client.Call(soon(t), "scale", map[string]any{"max_workers": 3}, nil)
	})
	if err != enough || !slices.Equal(kinds, []string{control.EventWorkerExited, control.EventLimits}) {
		t.Errorf("%v, %v", kinds, err)
	}
	until(t, "the subscription has ended", func() bool { return s.pool.Subscribers() == 0 })

	ctx, cancel := context.WithCancel(context.Background())
	err = s.client.EventsFrom(ctx, func() error { cancel(); return nil }, func(control.Event) error { return nil })
	if err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}
