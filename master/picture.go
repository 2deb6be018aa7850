package master

import (
	"maps"

	"github.com/scgid/scgid/control"
)

// Pictures of the loop's state for whoever asks. Each is taken in the loop, in
// one piece.

// status is the pool in figures.
func (l *loop) status() control.Status {
	s := control.Status{
		Name: l.set.Name, State: l.state(), PID: l.set.PID, Version: l.set.Version, Build: l.set.Build, Since: l.since(), Generation: l.current.number,
		Limits: l.set.Limits, Scaled: l.isScaled(),
		Workers: control.WorkerCounts{
			Total: l.alive(), Starting: l.in[starting], Idle: l.idle.len, Busy: l.busy(),
			Retiring: l.in[leaving] + l.in[retiring] + l.in[killed] + l.in[gone],
		},
		Queue: control.Queue{Waiting: l.waiting.len, Parked: l.parked.len, Limit: l.queueMax()},
		Requests: control.RequestCounts{
			Served: l.count.Served, Active: l.open - l.parked.len - l.ending.len - l.waiting.len,
			Refused: l.count.Refused, Bad: l.count.Malformed + l.count.TooLarge + l.count.Timeouts,
			Lost: l.count.Lost, ClientGone: l.count.ClientGone,
		},
		Starts: control.StartCounts{
			Total: l.count.Starts, Failed: l.count.StartsFailed,
			FailuresInRow: l.failures, LastFailure: l.lastFailure,
		},
		Exits: maps.Clone(l.exits),
	}
	if o := l.operation; o.ID != 0 {
		s.Operation = &o
	}
	if c := l.waiting.first; c != nil {
		s.Queue.OldestAge = (l.now - c.of.accepted).Seconds()
	}
	if l.resumeAt > 0 {
		s.ResumesIn = (l.resumeAt - l.now).Seconds()
	}
	if l.saturatedSince > 0 {
		s.Saturated = (l.now - l.saturatedSince).Seconds()
	}
	if l.failures > 0 && l.retryAt > l.now {
		s.Starts.NextTryIn = (l.retryAt - l.now).Seconds()
	}
	return s
}

// state is the pool's in one word.
func (l *loop) state() string {
	switch {
	case l.stage != serving:
		return control.Draining
	case l.paused:
		return control.Paused
	case l.failures > 0 && l.in[ready] == 0:
		return control.Failing
	case l.in[ready] == 0 && l.lastReady == 0 && l.set.Limits.MinWorkers > 0:
		return control.Starting
	}
	return control.Running
}

// workerList is every worker that is not gone.
func (l *loop) workerList() []control.Worker {
	all := []control.Worker{}
	for _, w := range l.workers {
		if w == nil || w.state == gone {
			continue
		}
		x := control.Worker{
			ID: w.id, PID: w.proc.PID, State: w.state.String(), Generation: w.of.number,
			Since: l.since().Add(w.began), Slots: w.slots, Active: len(w.conns), Served: w.served,
			Status: w.status, CanDump: w.dump != "",
		}
		if c := w.oldest(); c != nil {
			r := l.request(c)
			x.Request = &r
		}
		all = append(all, x)
	}
	return all
}

// oldest returns the connection that w has held longest, nil if none.
func (w *worker) oldest() *conn {
	var oldest *conn
	for _, c := range w.conns {
		if oldest == nil || c.passedAt < oldest.passedAt {
			oldest = c
		}
	}
	return oldest
}

// requestList is every request in progress, those at work first.
func (l *loop) requestList() []control.Request {
	all := []control.Request{}
	for _, w := range l.workers {
		if w == nil {
			continue
		}
		for _, c := range w.conns {
			all = append(all, l.request(c))
		}
	}
	for n := l.waiting.first; n != nil; n = n.next {
		all = append(all, l.request(n.of))
	}
	return all
}

func (l *loop) request(c *conn) control.Request {
	r := control.Request{
		ID: c.id, State: control.RequestWaiting,
		Method: printable(c.method.b[:c.method.n]), URI: printable(c.uri.b[:c.uri.n]), Client: printable(c.client.b[:c.client.n]),
		AgeSeconds: (l.now - c.accepted).Seconds(), Waited: (l.now - c.accepted).Seconds(),
	}
	if c.state == passed {
		r.State, r.Worker, r.Waited = control.RequestActive, c.worker.id, (c.passedAt - c.accepted).Seconds()
	}
	return r
}

// metrics are the counts for monitoring.
func (l *loop) metrics() control.Metrics {
	c := &l.count
	return control.Metrics{
		Status: l.status(), Accepted: c.Accepted,
		Outcomes: map[string]uint64{
			"served": c.Served, "lost": c.Lost, "refused": c.Refused, "client_gone": c.ClientGone, "empty": c.Empty,
			"malformed": c.Malformed, "too_large": c.TooLarge, "timeout": c.Timeouts,
		},
		Refusals: byReason(c.Refusals), Classes: c.Codes, Retried: c.Retried + c.TakenBack, Orphans: c.Orphans, Violate: c.Violations,
		Busy: l.service.Sum, Queued: l.queued, Service: l.service,
	}
}
