package master

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

// A State is all that a master knows, as plain data: what the program that the
// process executes next needs to continue. It names descriptors by their
// numbers, which stay the same over execve(2).
//
// The loop's drawers are in it whole: their fields with a capital letter. The
// others are made again from what the next program finds.
type State struct {
	Format  string
	PID     int    // of the process; a State is of no use to another
	Build   string // of the program that wrote it
	Version string

	App json.RawMessage // of cmd/scgid; see Handover.Carry

	// The loop's moments count from its beginning. Clock is CLOCK_MONOTONIC at
	// the moment Now.
	Since time.Time
	Now   Time
	Clock time.Duration

	LogLevel  int
	Listeners []int

	Count   counts
	Intake  intake
	Conns   stateConns
	Workers stateWorkers
	Backoff backoff
	Gens    stateGenerations
	Limits  limits
	Alerts  alerts
	Manager manager
	Events  events
	Op      ops
	Alarms  alarmTable
	Waiting []string // kinds of operations that wait for their turn

	// Failure is why another program could not continue with this state; it is
	// not part of it.
	Failure string `json:"-"`
}

// save returns the loop's state. It changes nothing, and shares nothing that
// the loop changes.
func (l *loop) save() *State {
	st := &State{
		Format: stateFormat, PID: l.host.PID, Build: l.host.Build, Version: l.host.Version,
		Since: l.host.since, Now: l.host.clock(), Clock: clock(),

		Count: l.count, Intake: l.intake, Conns: l.conns.save(), Workers: l.workers.save(), Backoff: l.backoff, Gens: l.saveGenerations(),
		Limits: l.limits, Alerts: l.alerts, Manager: l.manager, Events: l.events, Op: l.op, Alarms: l.alarms,
	}
	st.Count.Exits = maps.Clone(l.count.Exits)
	if l.host.LogLevel != nil {
		st.LogLevel = int(l.host.LogLevel.Level())
	}
	for _, from := range l.intake.listeners {
		st.Listeners = append(st.Listeners, from.FD)
	}
	return st
}

// clock is CLOCK_MONOTONIC, which continues over execve(2) while Go's own
// reading of it begins again.
func clock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // only for clocks that do not exist
	}
	return time.Duration(ts.Nano())
}

// A statePlace is one place in a list of connections or workers.
type statePlace struct {
	ID uint64
	At Time
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

// stateConns are the connections that are open, and their lists, each in its
// order.
type stateConns struct {
	LastID  uint64
	HeadKey []byte
	All     []connFacts

	Parked, Waiting, Ending, Unconfirmed []statePlace
}

func (s *conns) save() stateConns {
	id := func(c *conn) uint64 { return c.ID }
	st := stateConns{
		LastID: s.LastID, HeadKey: append([]byte(nil), s.hash.key[:]...),
		Parked: savePlaces(&s.parked, id), Waiting: savePlaces(&s.waiting, id), Ending: savePlaces(&s.ending, id), Unconfirmed: savePlaces(&s.unconfirmed, id),
	}
	for _, c := range s.all {
		if c.State != 0 {
			st.All = append(st.All, c.connFacts)
		}
	}
	return st
}

// stateWorkers are the workers that have a process, or had one whose group is
// not known to be empty, and their lists, each in its order.
type stateWorkers struct {
	LastID   uint64
	Grouping bool
	All      []stateWorker

	Idle, Partial, Starts, Stops, Terms, Awaiting []statePlace
}

type stateWorker struct {
	workerFacts
	Generation int // its number
	PID, PIDFD int
	Conns      []uint64 // ids of those that it holds
}

// started says that w has a process. At the moment of truth all have: an
// upgrade waits for the starts that are under way.
func (w *worker) started() bool { return w.proc.PID != 0 }

func (s *workers) save() stateWorkers {
	id := func(w *worker) uint64 {
		if !w.started() {
			return 0
		}
		return w.ID
	}
	st := stateWorkers{
		LastID: s.LastID, Grouping: s.Grouping,
		Idle: savePlaces(&s.idle, id), Partial: savePlaces(&s.partial, id), Starts: savePlaces(&s.starts, id),
		Stops: savePlaces(&s.stops, id), Terms: savePlaces(&s.terms, id), Awaiting: savePlaces(&s.awaiting, id),
	}
	for _, w := range s.all {
		if w == nil || !w.started() {
			continue
		}
		x := stateWorker{workerFacts: w.workerFacts, Generation: w.of.Number, PID: w.proc.PID, PIDFD: w.proc.FD}
		for _, c := range w.conns {
			x.Conns = append(x.Conns, c.ID)
		}
		st.All = append(st.All, x)
	}
	return st
}

// stateGenerations are those that serve, or may again, or have workers left.
type stateGenerations struct {
	Current    int // a generation's number, as the next two
	Previous   int // 0 without one
	LastNumber int
	All        []stateGeneration
}

type stateGeneration struct {
	generationFacts
	Settings Settings
	Command  stateCommand
}

// A stateCommand is a Settings.Command. Its words need not be UTF-8.
type stateCommand struct {
	Argv, Env []raw
	Dir       raw

	NOFILE, Nice, OOMScoreAdjust int
	MemoryMax, TasksMax          uint64
}

// saveGenerations saves those that anything refers to.
func (l *loop) saveGenerations() stateGenerations {
	st := stateGenerations{Current: l.gens.current.Number, LastNumber: l.gens.LastNumber}
	saved := map[*generation]bool{nil: true}
	save := func(g *generation) {
		if saved[g] {
			return
		}
		saved[g] = true
		st.All = append(st.All, stateGeneration{g.generationFacts, g.set, saveCommand(&g.set.Command)})
	}
	save(l.gens.current)
	if l.gens.previous != nil {
		st.Previous = l.gens.previous.Number
		save(l.gens.previous)
	}
	for _, w := range l.workers.all {
		if w != nil {
			save(w.of)
		}
	}
	return st
}

func saveCommand(c *process.Command) stateCommand {
	return stateCommand{
		Argv: convert[raw](c.Argv), Dir: raw(c.Dir), Env: convert[raw](c.Env),
		NOFILE: c.NOFILE, Nice: c.Nice, OOMScoreAdjust: c.OOMScoreAdjust, MemoryMax: c.MemoryMax, TasksMax: c.TasksMax,
	}
}

func (s *stateCommand) load() process.Command {
	return process.Command{
		Argv: convert[string](s.Argv), Dir: string(s.Dir), Env: convert[string](s.Env),
		NOFILE: s.NOFILE, Nice: s.Nice, OOMScoreAdjust: s.OOMScoreAdjust, MemoryMax: s.MemoryMax, TasksMax: s.TasksMax,
	}
}

func convert[To, From ~string](from []From) (all []To) {
	for _, s := range from {
		all = append(all, To(s))
	}
	return all
}

// descriptors are all that the loop owns and the next program needs.
func (st *State) descriptors() []int {
	all := append([]int(nil), st.Listeners...)
	for i := range st.Conns.All {
		all = append(all, st.Conns.All[i].FD)
	}
	for i := range st.Workers.All {
		w := &st.Workers.All[i]
		all = append(all, w.Link, w.End, w.PIDFD)
		if w.Page >= 0 {
			all = append(all, w.Page)
		}
	}
	return all
}
