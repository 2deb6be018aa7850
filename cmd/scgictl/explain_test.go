package main

import (
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

// pool8 is a pool of 8 with one idle worker and nothing to explain.
func pool8(change func(*control.Status)) control.Status {
	s := control.Status{
		Name: "wiki", State: control.Running, Since: time.Now().Add(-time.Hour),
		Limits:  control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4},
		Workers: control.WorkerCounts{Total: 3, Idle: 1, Busy: 2},
		Queue:   control.Queue{Limit: 8, Listeners: []control.Listener{{Name: "scgi", Address: "/run/x.sock", BacklogLimit: 128}}},
	}
	change(&s)
	return s
}

func busy8(s *control.Status) {
	s.Workers = control.WorkerCounts{Total: 8, Busy: 8}
	s.Queue.Waiting, s.Queue.OldestAge = 7, 4.25
}

var whyTests = []struct {
	name     string
	status   control.Status
	requests []control.Request
	refused  uint64
	want     []string // of each reason: grade, cause, a part of its text, a part of its hint
}{
	{"nothing waits", pool8(func(*control.Status) {}), nil, 0,
		[]string{"ok|nothing-waits|nothing waits: 2 of 8 workers busy, 1 idle|"}},
	{"all busy", pool8(busy8), []control.Request{
		{State: control.RequestActive, Method: "GET", URI: "/quick", AgeSeconds: 2, Worker: 1},
		{State: control.RequestWaiting, Method: "GET", URI: "/waits", AgeSeconds: 99},
		{State: control.RequestActive, Method: "GET", URI: "/export", AgeSeconds: 31.2, Worker: 3},
	}, 0, []string{"fail|saturated|7 requests waiting, the first for 4.2s: all 8 workers are busy (MaxWorkers=8); " +
		"the oldest request at work is GET /export, 31s, worker 3|scgictl scale wiki --max 16"}},
	{"all busy at the bound", pool8(func(s *control.Status) {
		busy8(s)
		s.Limits.MaxWorkers, s.Workers.Busy = control.WorkersMax, control.WorkersMax
	}), nil, 0, []string{"fail|saturated||MaxWorkers= is at its bound"}},
	{"the queue is full", pool8(func(s *control.Status) { busy8(s); s.Queue.Waiting, s.Saturated = 8, 65 }), nil, 0,
		[]string{"fail|saturated|(MaxWorkers=8) for 1m05s|", "warn|queue-full|(8 of 8)|"}},
	{"it grows", pool8(func(s *control.Status) {
		s.Workers = control.WorkerCounts{Total: 4, Busy: 2, Starting: 2}
		s.Queue.Waiting = 1
	}), nil, 0, []string{"warn|growing|1 request waiting: 2 busy, 2 workers on the way|--min-idle 3"}},
	{"those on the way out count", pool8(func(s *control.Status) {
		s.Workers = control.WorkerCounts{Total: 8, Busy: 5, Retiring: 3}
		s.Queue.Waiting = 1
	}), nil, 0, []string{"warn|retiring|3 workers on the way out|"}},
	{"a moment", pool8(func(s *control.Status) { s.Queue.Waiting = 1 }), nil, 0,
		[]string{"ok|nothing-waits||", "ok|moment|only for this moment|"}},
	{"held for a hot worker", pool8(func(s *control.Status) {
		s.Queue.Waiting, s.Busy = 6, control.BusyCounts{Limit: 3, Held: 6, CPUs: 2, Share: 0.9}
	}), nil, 0, []string{"ok|nothing-waits||", "ok|held|6 requests waiting for a hot worker: 3 busy at the same time are enough for 2 CPUs|--max-busy off"}},
	{"held by an operator's limit", pool8(func(s *control.Status) {
		s.Limits.MaxBusy, s.Queue.Waiting, s.Busy = 2, 6, control.BusyCounts{Limit: 2, Held: 6, CPUs: 2}
	}), nil, 0, []string{"warn|held|6 requests waiting for a place: MaxBusy=2|--max-busy auto"}},
	{"a web server that speaks HTTP", pool8(func(s *control.Status) {
		s.Foreign = []control.Foreign{{Kind: "http", Count: 12, AgeSeconds: 3, Text: "an HTTP request came: is proxy_pass where scgi_pass is meant?"},
			{Kind: "tls", Count: 1, AgeSeconds: 3600}}
	}), nil, 0, []string{"warn|foreign-http|proxy_pass where scgi_pass is meant? (12, the last 3.0s ago)|scgictl request wiki"}},
	{"paused", pool8(func(s *control.Status) { s.State, s.ResumesIn = control.Paused, 90 }), nil, 0,
		[]string{"warn|paused|resumes by itself in 1m30s|scgictl resume wiki"}},
	{"paused for good", pool8(func(s *control.Status) { s.State = control.Paused }), nil, 0,
		[]string{"warn|paused|until somebody resumes it|scgictl resume wiki"}},
	{"it does not start", pool8(func(s *control.Status) {
		s.State, s.Workers = control.Failing, control.WorkerCounts{}
		s.Starts = control.StartCounts{Total: 5, Failed: 5, FailuresInRow: 5, LastFailure: "no module", NextTryIn: 16}
		s.Queue.Waiting = 2
	}), nil, 0, []string{
		"fail|start-failing|the application does not start: 5 failures in a row, next try in 16s; last: no module|scgictl log wiki",
		"fail|no-worker|2 requests waiting: no worker starts|503"}},
	{"new ones do not start", pool8(func(s *control.Status) { s.Starts.FailuresInRow = 1 }), nil, 0,
		[]string{"warn|start-failing|those that run serve: 1 failure|"}},
	{"it is refusing", pool8(func(s *control.Status) { s.Requests.Refused = 40 }), nil, 3,
		[]string{"fail|refusing|3 within 1.0s|TimeoutSec="}},
	{"it was refusing", pool8(func(s *control.Status) { s.Requests.Refused = 40 }), nil, 0,
		[]string{"ok|nothing-waits||", "ok|refused|40 requests were refused with 503 since the start 1h00m ago, none right now|"}},
	{"the kernel's queue", pool8(func(s *control.Status) { s.Queue.Listeners[0].Backlog = 5 }), nil, 0,
		[]string{"warn|backlog|kernel backlog of listener /run/x.sock is 5/128|"}},
	{"the kernel's queue fills", pool8(func(s *control.Status) { s.Queue.Listeners[0].Backlog = 120 }), nil, 0,
		[]string{"fail|backlog-filling|is 120/128|Backlog= in scgid@wiki.socket"}},
	{"the kernel's queue is full", pool8(func(s *control.Status) { s.Queue.Listeners[0].Backlog = 129 }), nil, 0,
		[]string{"fail|backlog-full|is 129/128|Backlog="}},
	{"a queue that cannot be read", pool8(func(s *control.Status) { s.Queue.Listeners[0].Backlog = -1 }), nil, 0,
		[]string{"ok|nothing-waits||"}},
	{"few slow clients", pool8(func(s *control.Status) { s.Queue.Parked = 1 }), nil, 0,
		[]string{"ok|nothing-waits||", "ok|parked|1 connection with|"}},
	{"many slow clients", pool8(func(s *control.Status) { s.Queue.Parked = 90 }), nil, 0,
		[]string{"warn|parked|90 connections with|HeaderTimeoutSec="}},
	{"stopping", pool8(func(s *control.Status) { s.State, s.Requests.Active = control.Draining, 2 }), nil, 0,
		[]string{"warn|stopping|it finishes 2 requests|"}},
	{"starting", pool8(func(s *control.Status) {
		s.State, s.Workers = control.Starting, control.WorkerCounts{Total: 1, Starting: 1}
	}), nil, 0, []string{"warn|starting|(1 worker on the way)|"}},
}

func TestExplainNamesTheCause(t *testing.T) {
	for _, tt := range whyTests {
		t.Run(tt.name, func(t *testing.T) {
			tt.status.Since = time.Now().Add(-time.Hour) // not since the tests began
			got := snapshot{as: "wiki", status: tt.status, requests: tt.requests, refused: tt.refused, over: time.Second,
				log: "scgictl log wiki"}.why()
			if len(got) != len(tt.want) {
				t.Fatalf("%d reasons, want %d: %+v", len(got), len(tt.want), got)
			}
			for i, r := range got {
				w := strings.Split(tt.want[i], "|")
				if string(r.Grade) != w[0] || r.Cause != w[1] || !strings.Contains(r.Text, w[2]) || !strings.Contains(r.Hint, w[3]) {
					t.Errorf("reason %d: %+v, want %q", i, r, w)
				}
			}
		})
	}
}

func TestExplainBoundsWhatCameFromOutside(t *testing.T) {
	s := pool8(busy8)
	s.Starts = control.StartCounts{FailuresInRow: 2, LastFailure: strings.Repeat("x", 5000)}
	long := []control.Request{{State: control.RequestActive, Method: strings.Repeat("M", 5000), URI: strings.Repeat("é", 5000)}}
	for _, r := range (snapshot{as: "wiki", status: s, requests: long}).why() {
		if len(r.Text) > 700 {
			t.Errorf("a text of %d bytes", len(r.Text))
		}
	}
}
