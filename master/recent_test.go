package master

import (
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func TestRecentIsTheLastOneToTwoMinutes(t *testing.T) {
	var c counts
	serve := func(now Time, n int) {
		c.advance(now)
		for range n {
			c.Served++
			c.code(500)
			c.Service.Add(3 * time.Millisecond)
		}
	}
	const s = time.Second
	for _, step := range []struct {
		now     Time
		serve   int
		seconds float64
		served  uint64
	}{
		{10 * s, 5, 10, 5}, // since the beginning
		{59 * s, 5, 59, 10},
		{90 * s, 9, 90, 19},
		{160 * s, 1, 70, 10}, // what came before the turn at 90 s is over
		{3600 * s, 2, 60, 2},
		{3601 * s, 0, 61, 2},
		{9000 * s, 0, 60, 0},
	} {
		serve(step.now, step.serve)
		r := c.lately(step.now)
		if r.Seconds != step.seconds || r.Served != step.served || r.Errors != step.served || r.PerSecond != float64(step.served)/step.seconds {
			t.Errorf("at %v: %+v, want %d in %g s", step.now, r, step.served, step.seconds)
		}
		if (r.Service == nil) != (step.served == 0) {
			t.Errorf("at %v: service %v of %d requests", step.now, r.Service, step.served)
		}
	}
}

func TestTheCauseIsToldAndNotWhatFollows(t *testing.T) {
	var a alerts
	a.failed(control.FailedExit, 4, "worker 4 was killed by SIGSEGV at request GET /die", 5)
	a.failed(control.FailedLost, 4, "a request was lost", 6)
	a.failed(control.FailedStart, 4, "worker 4 could not start", 6)
	if a.Failure.Kind != control.FailedExit || a.Failure.At != 5 {
		t.Errorf("%+v", a.Failure)
	}
	a.failed(control.FailedLost, 5, "odd\x1b[2J"+strings.Repeat("x", 2*maxText), 7)
	if f := a.Failure; f.Worker != 5 || len(f.Text) > maxText || strings.Contains(f.Text, "\x1b") {
		t.Errorf("%+v", f)
	}
}

func TestStatusTellsRepliesByClassAndTheLastError(t *testing.T) {
	r := begin(t, "plain", nil)
	r.get("/")
	if st := r.now(); st.LastError != nil || st.Recent == nil || st.Recent.Served != 1 || st.Recent.Service == nil {
		t.Errorf("after one request: error %+v, lately %+v", st.LastError, st.Recent)
	}
	if n := len(r.now().Requests.Classes); n != 1 {
		t.Errorf("%d classes of one reply", n)
	}
	before := time.Now()
	c := r.send("/die")
	defer c.Close()
	r.until("the worker has gone", func(st control.Status, _ Counters) bool { return st.LastError != nil && st.Requests.Lost == 1 })
	f := r.now().LastError
	if f.Kind != control.FailedExit || !strings.HasSuffix(f.Text, "GET /die") || f.Worker == 0 || f.Time.Before(before.Add(-time.Second)) {
		t.Errorf("%+v", f)
	}
}

func TestAWorkerThatWasToBeKilledIsNotAnError(t *testing.T) {
	r := begin(t, "plain", nil)
	r.get("/")
	if err := r.Kill(t.Context(), r.next().id); err != nil {
		t.Fatal(err)
	}
	r.until("it has gone", func(st control.Status, _ Counters) bool { return st.Exits["killed"] == 1 })
	if f := r.now().LastError; f != nil {
		t.Errorf("%+v", f)
	}
}
