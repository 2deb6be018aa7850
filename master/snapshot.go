package master

import (
	"maps"

	"github.com/scgid/scgid/control"
)

// Snapshots of the loop's state. Each is taken in the loop, in one piece.

// status is the pool in figures.
func (l *loop) status() control.Status {
	s := control.Status{
		Name: l.host.Name, State: l.state(), PID: l.host.PID, Version: l.host.Version, Build: l.host.Build, Since: l.host.since, Generation: l.gens.current.Number,
		Limits: l.limits.Now, Scaled: l.limits.isScaled(),
		Busy: control.BusyCounts{Limit: l.busyLimit(), Held: l.held(), CPUs: l.host.cpus, Share: l.limits.Concurrency.Share},
		Workers: control.WorkerCounts{
			Total: l.workers.alive(), Starting: l.workers.in[starting], Idle: l.workers.idle.len, Busy: l.busy(),
			Retiring: l.workers.in[leaving] + l.workers.in[retiring] + l.workers.in[killed] + l.workers.in[gone],
		},
		Queue: control.Queue{Waiting: l.conns.waiting.len, Parked: l.conns.parked.len, Limit: l.queueMax()},
		Requests: control.RequestCounts{
			Served: l.count.Served, Active: l.conns.open - l.conns.parked.len - l.conns.ending.len - l.conns.waiting.len,
			Refused: l.count.Refused, Bad: l.count.Malformed + l.count.TooLarge + l.count.Timeouts,
			Cut: l.count.Cut, Lost: l.count.Lost, ClientGone: l.count.ClientGone, Classes: l.count.classes(),
		},
		Starts: control.StartCounts{
			Total: l.count.Starts, Failed: l.count.StartsFailed,
			FailuresInRow: l.backoff.Failures, LastFailure: l.backoff.LastFailure,
		},
		Exits:   maps.Clone(l.count.Exits),
		Foreign: l.foreignCounts(),
		Preload: l.preloadStatus(),
		Recent:  l.count.lately(l.now),
	}
	if f := l.alerts.Failure; f.Kind != "" {
		s.LastError = &control.Failure{Time: l.host.since.Add(f.At), Kind: f.Kind, Worker: f.Worker, Text: f.Text}
	}
	if o := l.op.Now; o.ID != 0 {
		s.Operation = &o
	}
	if c := l.conns.waiting.first; c != nil {
		s.Queue.OldestAge = (l.now - c.of.Accepted).Seconds()
	}
	if l.alarms[resumeDue] > 0 {
		s.ResumesIn = (l.alarms[resumeDue] - l.now).Seconds()
	}
	if l.alerts.SaturatedSince > 0 {
		s.Saturated = (l.now - l.alerts.SaturatedSince).Seconds()
	}
	if l.backoff.Failures > 0 && l.backoff.RetryAt > l.now {
		s.Starts.NextTryIn = (l.backoff.RetryAt - l.now).Seconds()
	}
	return s
}

// foreignCounts are what came instead of requests.
func (l *loop) foreignCounts() (all []control.Foreign) {
	for kind, f := range l.alerts.Foreign {
		if f.Count > 0 {
			words := foreignWords[kind]
			all = append(all, control.Foreign{Kind: words.name, Count: f.Count, Text: words.text, AgeSeconds: (l.now - f.At).Seconds()})
		}
	}
	return all
}

// state is the pool's in one word.
func (l *loop) state() string {
	switch {
	case l.stage != serving:
		return control.Draining
	case l.intake.Paused:
		return control.Paused
	case l.failing():
		return control.Failing
	case l.workers.in[ready] == 0 && l.backoff.LastReady == 0 && l.limits.Now.MinWorkers > 0:
		return control.Starting
	}
	return control.Running
}

// failing says that starts have failed, and that no worker is ready.
func (l *loop) failing() bool { return l.backoff.Failures > 0 && l.workers.in[ready] == 0 }

// workerList is every worker that is not gone.
func (l *loop) workerList() []control.Worker {
	all := []control.Worker{}
	for _, w := range l.workers.all {
		if w == nil || w.State == gone || w.Level != "" {
			continue
		}
		x := control.Worker{
			ID: w.ID, PID: w.proc.PID, State: w.State.String(), Generation: w.of.Number,
			Since: l.host.since.Add(w.Began), Slots: w.Slots, Active: len(w.conns), Served: w.Served,
			Status: w.Status, CanDump: w.Dump != "",
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
		if oldest == nil || c.PassedAt < oldest.PassedAt {
			oldest = c
		}
	}
	return oldest
}

// requestList is every request in progress, those at work first.
func (l *loop) requestList() []control.Request {
	all := []control.Request{}
	for _, w := range l.workers.all {
		if w == nil {
			continue
		}
		for _, c := range w.conns {
			all = append(all, l.request(c))
		}
	}
	for n := l.conns.waiting.first; n != nil; n = n.next {
		all = append(all, l.request(n.of))
	}
	return all
}

func (l *loop) request(c *conn) control.Request {
	r := control.Request{
		ID: c.ID, State: control.RequestWaiting,
		Method: printable(c.Method.b[:c.Method.n]), URI: printable(c.URI.b[:c.URI.n]), Client: printable(c.Client.b[:c.Client.n]),
		AgeSeconds: (l.now - c.Accepted).Seconds(), Waited: (l.now - c.Accepted).Seconds(),
	}
	if c.State == passed {
		r.State, r.Worker, r.Waited = control.RequestActive, c.worker.ID, (c.PassedAt - c.Accepted).Seconds()
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
		Busy: l.count.Service.Sum, Queued: l.count.Queued, Service: l.count.Service,
	}
}

// effective is the configuration as it is in effect.
func (l *loop) effective() []control.Setting {
	var all []control.Setting
	handedOver, listens := l.host.listening(), false
	for _, s := range l.set().Effective {
		if s.Section == "Pool" && s.Key == "Listen" && len(handedOver) > 0 {
			if !listens { // Listen= has no effect then
				all, listens = append(all, handedOver...), true
			}
			continue
		}
		if s.Section == "Pool" {
			l.limits.show(&s)
		}
		all = append(all, s)
	}
	return all
}
