package bus

import (
	"cmp"
	"context"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// What happens when a property changes, in the words of the D-Bus
// specification's EmitsChangedSignal.
const (
	constant = "const"
	emitted  = "true"  // PropertiesChanged, at most once a second
	silent   = "false" // counters and what moves with each request
)

// A property of what T describes.
type property[T any] struct {
	name, emits string
	get         func(T) any
}

// Counts are u and t as they cannot be negative, limits i because Scale takes
// -1 for "keep". Times are microseconds, as systemd's.
var poolProperties = []property[control.Status]{
	{"Name", constant, func(st control.Status) any { return clean(st.Name) }},
	{"Version", constant, func(st control.Status) any { return clean(st.Version) }},
	{"Build", constant, func(st control.Status) any { return clean(st.Build) }},
	{"PID", constant, func(st control.Status) any { return count(st.PID) }},
	{"Since", constant, func(st control.Status) any { return moment(st.Since) }},
	{"State", emitted, func(st control.Status) any { return clean(st.State) }},
	{"Generation", emitted, func(st control.Status) any { return count(st.Generation) }},
	{"Operation", emitted, func(st control.Status) any { return clean(inProgress(st.Operation)) }},
	{"MinWorkers", emitted, func(st control.Status) any { return int32(st.Limits.MinWorkers) }},
	{"MaxWorkers", emitted, func(st control.Status) any { return int32(st.Limits.MaxWorkers) }},
	{"MinIdle", emitted, func(st control.Status) any { return int32(st.Limits.MinIdle) }},
	{"MaxIdle", emitted, func(st control.Status) any { return int32(st.Limits.MaxIdle) }},
	{"MaxBusy", emitted, func(st control.Status) any { return st.Limits.MaxBusy.String() }},
	{"BusyLimit", silent, func(st control.Status) any { return count(st.Busy.Limit) }},
	{"Held", silent, func(st control.Status) any { return count(st.Busy.Held) }},
	{"Scaled", emitted, func(st control.Status) any { return st.Scaled }},
	{"Workers", emitted, func(st control.Status) any { return count(st.Workers.Total) }},
	{"Starting", emitted, func(st control.Status) any { return count(st.Workers.Starting) }},
	{"Retiring", emitted, func(st control.Status) any { return count(st.Workers.Retiring) }},
	{"Idle", silent, func(st control.Status) any { return count(st.Workers.Idle) }},
	{"Busy", silent, func(st control.Status) any { return count(st.Workers.Busy) }},
	{"Waiting", silent, func(st control.Status) any { return count(st.Queue.Waiting) }},
	{"WaitingUSec", silent, func(st control.Status) any { return usec(st.Queue.OldestAge) }},
	{"WaitingMax", silent, func(st control.Status) any { return count(st.Queue.Limit) }},
	{"Parked", silent, func(st control.Status) any { return count(st.Queue.Parked) }},
	{"Listeners", silent, func(st control.Status) any { return listeners(st.Queue.Listeners) }},
	{"SaturatedUSec", silent, func(st control.Status) any { return usec(st.Saturated) }},
	{"ResumesInUSec", silent, func(st control.Status) any { return usec(st.ResumesIn) }},
	{"Active", silent, func(st control.Status) any { return count(st.Requests.Active) }},
	{"Served", silent, func(st control.Status) any { return st.Requests.Served }},
	// Not Refused: that is a signal, and bindings make one name of both.
	{"Refusals", silent, func(st control.Status) any { return st.Requests.Refused }},
	{"Bad", silent, func(st control.Status) any { return st.Requests.Bad }},
	{"Lost", silent, func(st control.Status) any { return st.Requests.Lost }},
	{"ClientGone", silent, func(st control.Status) any { return st.Requests.ClientGone }},
	{"Starts", silent, func(st control.Status) any { return st.Starts.Total }},
	{"StartsFailed", silent, func(st control.Status) any { return st.Starts.Failed }},
	{"Exits", silent, func(st control.Status) any { return exits(st.Exits) }},
}

// The texts of a worker's request (method, URI, client) are not here: a URI may
// hold a secret, and those who may read need not have it.
var workerProperties = []property[control.Worker]{
	{"ID", constant, func(w control.Worker) any { return w.ID }},
	{"Generation", constant, func(w control.Worker) any { return count(w.Generation) }},
	{"Since", constant, func(w control.Worker) any { return moment(w.Since) }},
	{"PID", emitted, func(w control.Worker) any { return count(w.PID) }},
	{"State", emitted, func(w control.Worker) any { return clean(w.State) }},
	{"Slots", emitted, func(w control.Worker) any { return count(w.Slots) }},
	{"CanDump", emitted, func(w control.Worker) any { return w.CanDump }},
	{"Active", silent, func(w control.Worker) any { return count(w.Active) }},
	{"Served", silent, func(w control.Worker) any { return w.Served }},
	{"Status", silent, func(w control.Worker) any { return clean(w.Status) }},
	{"RequestID", silent, func(w control.Worker) any {
		if w.Request == nil {
			return uint64(0)
		}
		return w.Request.ID
	}},
	{"RequestUSec", silent, func(w control.Worker) any {
		if w.Request == nil {
			return uint64(0)
		}
		return usec(w.Request.AgeSeconds)
	}},
	{"CPUUSec", silent, func(w control.Worker) any { return usec(w.CPUSeconds) }},
	{"MemoryBytes", silent, func(w control.Worker) any { return w.MemoryBytes }},
}

// values are properties by name.
type values map[string]dbus.Variant

// valuesOf reads the properties of x that are kept; keep may be nil.
func valuesOf[T any](all []property[T], x T, keep func(property[T]) bool) values {
	v := values{}
	for _, p := range all {
		if keep == nil || keep(p) {
			v[p.name] = dbus.MakeVariant(p.get(x))
		}
	}
	return v
}

// announced are the properties whose changes are signalled.
func announced[T any](all []property[T], x T) values {
	return valuesOf(all, x, func(p property[T]) bool { return p.emits == emitted })
}

// since returns what of v is not the same in old. Announced properties are of
// comparable types.
func (v values) since(old values) values {
	changed := values{}
	for name, now := range v {
		if was, ok := old[name]; !ok || was.Value() != now.Value() {
			changed[name] = now
		}
	}
	return changed
}

func count(n int) uint32 { return uint32(max(n, 0)) }

func usec(seconds float64) uint64 { return uint64(max(seconds, 0) * 1e6) }

func moment(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixMicro(), 0))
}

// A listener is a control.Listener as the bus has it.
type listener struct {
	Name, Address         string
	Backlog, BacklogLimit int32
}

func listeners(all []control.Listener) []listener {
	out := []listener{}
	for _, l := range all {
		out = append(out, listener{clean(l.Name), clean(l.Address), int32(l.Backlog), int32(l.BacklogLimit)})
	}
	return out
}

func exits(by map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for reason, n := range by {
		out[clean(reason)] += n
	}
	return out
}

// inProgress says what an operation does; one that has ended does nothing.
func inProgress(o *control.Operation) string {
	if o == nil || o.State != control.OpRunning {
		return ""
	}
	return o.Progress()
}

// poolValues reads the pool's properties.
func (s *session) poolValues(ctx context.Context) (values, error) {
	st, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	return valuesOf(poolProperties, st, nil), nil
}

// publicValues reads the properties that everybody may know, as on the control
// socket.
func (s *session) publicValues(ctx context.Context) (values, error) {
	st, err := s.f.public.Read(ctx, s.f.o.Pool)
	if err != nil {
		return nil, err
	}
	return values{"Name": dbus.MakeVariant(clean(cmp.Or(st.Name, s.f.o.Name))), "State": dbus.MakeVariant(clean(st.State))}, nil
}

// status reads the status; name and version are ours where it has none.
func (s *session) status(ctx context.Context) (control.Status, error) {
	st, err := s.f.o.Pool.Status(ctx)
	if st.Name == "" {
		st.Name = s.f.o.Name
	}
	if st.Version == "" {
		st.Version = s.f.o.Version
	}
	return st, err
}

// workerValues reads the properties of the worker at path.
func (s *session) workerValues(ctx context.Context, path dbus.ObjectPath) (values, error) {
	id, _ := workerAt(path)
	all, err := s.f.o.Pool.Workers(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		if w.ID == id {
			return valuesOf(workerProperties, w, nil), nil
		}
	}
	return nil, fail(errUnknownObject, "there is no worker "+string(path[len(workerPath)+1:]))
}
