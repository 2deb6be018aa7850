package master

import (
	"bytes"
	"maps"
	"time"

	"golang.org/x/sys/unix"
)

// save returns the loop's state. It changes nothing, and shares nothing that
// the loop changes.
func (l *loop) save() *State {
	st := &State{
		Grouping: l.grouping,
		Format:   stateFormat, PID: l.set.PID, Build: l.set.Build, Version: l.set.Version,
		Since: l.since(), Now: time.Since(l.began), Clock: clock(),
		Current: l.current.number, LastGeneration: l.lastGeneration,
		Limits: l.set.Limits, Configured: l.configured, Scaled: l.scaled,
		LastConn: l.lastConn, LastWorker: l.lastWorker, HeadKey: bytes.Clone(l.hash.key[:]),
		Manager: stateManager{ReadyAt: l.readyAt},
		Events:  stateEvents{Last: l.lastEvent, State: l.stateLast},
		Counts:  stateCounts{Count: l.count, Exits: maps.Clone(l.exits), Queued: l.queued, Service: l.service},

		Operation: l.operation, LastOperation: l.lastOperation,
	}
	if l.set.LogLevel != nil {
		st.LogLevel = int(l.set.LogLevel.Level())
	}
	for _, from := range l.listeners {
		st.Listeners = append(st.Listeners, from.FD)
	}
	l.saveGenerations(st)
	l.saveTimes(st)
	l.saveConns(st)
	l.saveWorkers(st)
	return st
}

// clock is CLOCK_MONOTONIC, which goes on over execve(2) while Go's own
// reading of it begins anew.
func clock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // only for clocks that do not exist
	}
	return time.Duration(ts.Nano())
}

// since is when the pool began, by the wall clock of then.
func (l *loop) since() time.Time {
	if !l.firstBegan.IsZero() {
		return l.firstBegan
	}
	return l.began
}

// saveGenerations saves those that anything refers to.
func (l *loop) saveGenerations(st *State) {
	saved := map[*generation]bool{nil: true}
	save := func(g *generation) {
		if saved[g] {
			return
		}
		saved[g] = true
		c := &g.set.Command
		st.Generations = append(st.Generations, stateGeneration{
			Number: g.number, Settings: g.set, Proven: g.proven, In: []byte(g.dir),
			Argv: rawAll(c.Argv), Dir: []byte(c.Dir), Env: rawAll(c.Env),
			NOFILE: c.NOFILE, Nice: c.Nice, OOMScoreAdjust: c.OOMScoreAdjust, MemoryMax: c.MemoryMax, TasksMax: c.TasksMax,
		})
	}
	save(l.current)
	save(l.previous)
	if l.previous != nil {
		st.Previous = l.previous.number
	}
	for _, w := range l.workers {
		if w != nil {
			save(w.of)
		}
	}
}

func rawAll(texts []string) (all [][]byte) {
	for _, s := range texts {
		all = append(all, []byte(s))
	}
	return all
}

func (l *loop) saveTimes(st *State) {
	st.Starts = stateStarts{
		Failures: l.failures, FailuresBefore: l.failuresBefore,
		RetryAt: l.retryAt, LastReady: l.lastReady, LastFailure: l.lastFailure, Ramp: l.ramp,
		LookAt: l.lookAt, Tried: []byte(l.tried),
	}
	st.Intake = stateIntake{
		Paused: l.paused, ResumeAt: l.resumeAt, QuietSince: l.quietSince, AcceptAgain: l.acceptAgain, BusyUntil: l.busyUntil,
		Warned: l.warned.intake, WarnedBusy: l.warned.busy, WarnedJournal: l.warned.journal, WarnedGroup: l.warned.group, WarnedSaturated: l.warned.saturated,
		SaturatedSince: l.saturatedSince, RelievedAt: l.relievedAt, RefusedTold: l.refusedTold, RefusedAt: l.refusedAt,
	}
}

func (l *loop) saveConns(st *State) {
	for _, c := range l.conns {
		if c.state == 0 {
			continue
		}
		st.Conns = append(st.Conns, stateConn{
			ID: c.id, FD: c.fd, State: c.state.String(), Unix: c.unix, Probe: c.probe, Stake: c.staked, Tries: c.tries,
			Size: c.size, Seen: c.seen, Drained: c.drained, Hash: c.hash,
			Accepted: c.accepted, Whole: c.whole, PassedAt: c.passedAt,
			Client: bytes.Clone(c.client.b[:c.client.n]), Method: bytes.Clone(c.method.b[:c.method.n]), URI: bytes.Clone(c.uri.b[:c.uri.n]),
		})
	}
	id := func(c *conn) uint64 { return c.id }
	st.Lists.Parked = savePlaces(&l.parked, id)
	st.Lists.Waiting = savePlaces(&l.waiting, id)
	st.Lists.Ending = savePlaces(&l.ending, id)
	st.Lists.Unconfirmed = savePlaces(&l.unconfirmed, id)
}

// saveWorkers passes over those whose start is under way: there are none at the
// moment of truth.
func (l *loop) saveWorkers(st *State) {
	there := func(w *worker) bool { return w != nil && w.proc.PID != 0 }
	for _, w := range l.workers {
		if !there(w) {
			continue
		}
		sw := stateWorker{
			ID: w.id, State: w.state.String(), Of: w.of.number, Dir: []byte(w.dir), PID: w.proc.PID, PIDFD: w.proc.FD, Link: w.link, End: w.end, Heard: w.heard,
			Slots: w.slots, Served: w.served, Slow: w.slow, Began: w.began, GoneSince: w.goneSince,
			Doomed: w.doomed, Failed: w.failed, Status: w.status, Dump: w.dump, Group: []byte(w.group),
		}
		for _, c := range w.conns {
			sw.Conns = append(sw.Conns, c.id)
		}
		st.Workers = append(st.Workers, sw)
	}
	id := func(w *worker) uint64 {
		if !there(w) {
			return 0
		}
		return w.id
	}
	st.Lists.Idle = savePlaces(&l.idle, id)
	st.Lists.Partial = savePlaces(&l.partial, id)
	st.Lists.Starts = savePlaces(&l.starts, id)
	st.Lists.Stops = savePlaces(&l.stops, id)
	st.Lists.Terms = savePlaces(&l.terms, id)
	st.Lists.Burials = savePlaces(&l.burials, id)
}

// savePlaces returns a list in its order, without those whose id is 0.
func savePlaces[T any](from *list[T], id func(*T) uint64) (all []statePlace) {
	for n := from.first; n != nil; n = n.next {
		if i := id(n.of); i != 0 {
			all = append(all, statePlace{i, n.at})
		}
	}
	return all
}

// descriptors are all that the loop owns and the next program needs.
func (st *State) descriptors() []int {
	all := append([]int(nil), st.Listeners...)
	for i := range st.Conns {
		all = append(all, st.Conns[i].FD)
	}
	for i := range st.Workers {
		w := &st.Workers[i]
		all = append(all, w.Link, w.End, w.PIDFD)
	}
	return all
}
