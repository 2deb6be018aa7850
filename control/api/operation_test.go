package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func TestAReloadReturnsWhatItDid(t *testing.T) {
	s := serve(t, me(), nil)
	_, events := s.watch()
	r, body := s.say(post("/v1/reload", "{}"))
	want := `{"id":1,"kind":"reload","state":"done","done":2,"total":2,"generation":2,"began":"2023-11-14T22:13:20Z",` +
		`"ended":"2023-11-14T22:13:24.2Z","notes":["Listen= is read at the start only"]}` + "\n"
	if r.StatusCode != http.StatusOK || body != want {
		t.Errorf("%s %s, want %s", r.Status, body, want)
	}
	for _, state := range []string{control.OpRunning, control.OpDone} {
		var e control.Event
		if !events.Scan() || json.Unmarshal(events.Bytes(), &e) != nil {
			t.Fatalf("the stream of events: %q, %v", events.Text(), events.Err())
		}
		if e.Kind != control.EventOperation || e.Operation == nil || e.Operation.State != state || e.Operation.Kind != control.OpReload {
			t.Errorf("told %+v, want a reload that is %s", e, state)
		}
	}
	st, err := s.client.Status(soon(t))
	if err != nil || st.Operation == nil || st.Operation.Took() != 4200*time.Millisecond || st.Generation != 2 {
		t.Errorf("status: %+v, %v", st, err)
	}
}

func TestAFailedOperationIsAProblemWithTheWholeReason(t *testing.T) {
	s := serve(t, me(), nil)
	s.pool.Reason = errors.New("wiki.conf:3: Foo= is no key\nwiki.conf:7: \"x\" is no number")
	r, body := s.say(post("/v1/reload", ""))
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatal(err, body)
	}
	want := problem{Type: "https://scgid.org/problems/Failed", Title: "Failed", Status: 500,
		Detail: "cannot reload: wiki.conf:3: Foo= is no key\nwiki.conf:7: \"x\" is no number"}
	if r.StatusCode != 500 || r.Header.Get("Content-Type") != "application/problem+json" || p != want {
		t.Errorf("%s %+v, want %+v", r.Status, p, want)
	}
	err := s.client.Call(soon(t), "rollback", nil, nil)
	if e, ok := err.(*control.Error); !ok || e.Code != control.CodeFailed || !strings.HasPrefix(e.Text, "cannot roll back: wiki.conf:3:") {
		t.Errorf("rollback: %v", err)
	}
	// What is in a reason makes no lines in the log.
	for _, line := range strings.Split(s.lines(), "\n") {
		if !strings.HasPrefix(line, "control: uid ") && !strings.HasPrefix(line, "control: cannot ") {
			t.Errorf("log: %s", line)
		}
	}
}

func TestAnOperationGoesOnWithoutItsCaller(t *testing.T) {
	noLeft(t)
	s := serve(t, me(), nil)
	release := s.pool.Hold()
	c := s.dial()
	if _, err := c.Write([]byte(post("/v1/upgrade", "{}"))); err != nil {
		t.Fatal(err)
	}
	until(t, "the operation has begun", func() bool { st, _ := s.pool.Status(soon(t)); return st.Operation != nil })
	c.Close()
	until(t, "the call has ended", func() bool { return s.connections() == 0 })
	if st, err := s.pool.Status(soon(t)); err != nil || st.Operation.State != control.OpRunning {
		t.Errorf("the operation is %+v, %v", st.Operation, err)
	}
	release()
	if o := <-s.pool.Ended; o.State != control.OpDone {
		t.Errorf("it ended as %+v", o)
	}
}

// TestAnOperationOutlivesTheLimitOfItsBody is for time limits that are meant
// for something else; see TestALongCallOutlivesTheLimitOfItsBody.
func TestAnOperationOutlivesTheLimitOfItsBody(t *testing.T) {
	t.Parallel()
	s := serve(t, me(), nil)
	release := s.pool.Hold()
	time.AfterFunc(bodyTime+time.Second/2, release)
	var o control.Operation
	if err := s.client.Call(soon(t), "reload", nil, &o); err != nil || o.State != control.OpDone {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestACutConnectionIsTold is what a client sees of an upgrade that succeeds,
// and no other error is taken for it.
func TestACutConnectionIsTold(t *testing.T) {
	s := serve(t, me(), nil)
	release := s.pool.Hold()
	defer release()
	got := make(chan error, 1)
	go func() { got <- s.client.Call(soon(t), "upgrade", nil, nil) }()
	until(t, "the operation has begun", func() bool { st, _ := s.pool.Status(soon(t)); return st.Operation != nil })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx)
	if err := <-got; !errors.Is(err, ErrCut) {
		t.Errorf("the caller got %v", err)
	}
	over := serve(t, me(), nil)
	over.pool.Reason = control.Errorf(control.CodeOver, "the pool is stopping")
	err := over.client.Call(soon(t), "upgrade", nil, nil)
	if errors.Is(err, ErrCut) || err == nil || err.Error() != "cannot upgrade: the pool is stopping" {
		t.Errorf("a reply is taken for none: %v", err)
	}
}
