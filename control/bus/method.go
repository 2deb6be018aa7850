package bus

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

// poolInterface has as methods every verb that has a name on the bus, and
// ResetLimits and SetMaxBusy for flags of scale.
var poolInterface = iface{name: poolIface,
	methods: []method{
		{name: "Scale", in: limitArgs(""), out: limitArgs("_now"), do: verb("scale", change, limits)},
		{name: "ResetLimits", out: limitArgs("_now"), do: verb("scale", func([]any) any { return control.Change{Reset: true} }, limits)},
		{name: "SetMaxBusy", in: args{"s limit"}, do: verb("scale", maxBusy, nil)},
		{name: "Pause", in: args{"t limit_usec"}, do: verb("pause", func(b []any) any { return control.PauseArgs{Limit: span(b[0])} }, nil)},
		{name: "Resume", do: verb("resume", nil, nil)},
		{name: "Reload", out: operationArgs, do: verb(control.OpReload, nil, operation)},
		{name: "Rollback", out: operationArgs, do: verb(control.OpRollback, nil, operation)},
		{name: "Upgrade", out: operationArgs, do: verb(control.OpUpgrade, nil, operation)},
		{name: "Stop", in: args{"b now", "t limit_usec"}, out: args{"t finished", "t lost", "t refused", "t took_usec"},
			do: verb("stop", func(b []any) any { return control.StopArgs{Now: b[0].(bool), Limit: span(b[1])} }, stopReport)},
		{name: "RetireWorker", in: args{"t worker"}, do: verb("retire", worker, nil)},
		{name: "KillWorker", in: args{"t worker"}, do: verb("kill", worker, nil)},
		{name: "DumpWorker", in: args{"t worker"}, do: verb("dump", worker, nil)},
	},
	signals: []signal{
		{"WorkerExited", args{"t id", "u pid", "s reason", "t served"}},
		{"PoolSaturated", args{"b saturated"}},
		{"StateChanged", args{"s state"}},
		{"Refused", args{"t count"}},
		{"ReloadFinished", args{"s kind", "b ok", "u generation", "s reason"}},
	},
	properties: describeAll(poolProperties, control.Status{}),
}

var operationArgs = args{"u generation", "s notes"}

func limitArgs(suffix string) args {
	return args{"i min_workers" + suffix, "i max_workers" + suffix, "i min_idle" + suffix, "i max_idle" + suffix}
}

var workerInterface = iface{name: workerIface, properties: describeAll(workerProperties, control.Worker{})}

func worker(b []any) any { return control.WorkerArgs{Worker: b[0].(uint64)} }

// verb makes a method of a verb: args makes its arguments of the call's, and
// out the reply; nil is for none.
func verb(name string, args func([]any) any, out func(any) []any) func(*session, *call) ([]any, error) {
	v := control.FindVerb(name)
	return func(s *session, c *call) ([]any, error) {
		var given any = control.NoArgs{}
		if args != nil {
			given = args(c.body)
		}
		result, err := s.do(c, v, given)
		if err != nil || out == nil {
			return nil, err
		}
		return out(result), nil
	}
}

// do has the verb done, if the caller may.
func (s *session) do(c *call, v *control.Verb, args any) (any, error) {
	if err := v.Check(args); err != nil {
		return nil, err
	}
	who, err := s.mayChange(c, v)
	if err != nil {
		return nil, err
	}
	if v.Operation {
		select {
		case s.waiting <- struct{}{}:
			defer func() { <-s.waiting }()
		default:
			return nil, fail(errLimits, "too many calls wait for operations, try again")
		}
	}
	ctx, cancel := s.calls, context.CancelFunc(func() {})
	if v.Name != "stop" && !v.Operation {
		ctx, cancel = context.WithTimeout(ctx, verbLimit)
	}
	defer cancel()
	return v.Do(ctx, s.f.o.Pool, args, "bus", who, s.f.o.Log)
}

// change reads the arguments of Scale, of which -1 keeps a value. Other negative
// numbers continue, to be refused.
func change(b []any) any {
	given := func(x any) *int {
		n := int(x.(int32))
		if n == -1 {
			return nil
		}
		return &n
	}
	return control.Change{MinWorkers: given(b[0]), MaxWorkers: given(b[1]), MinIdle: given(b[2]), MaxIdle: given(b[3])}
}

// maxBusy reads the argument of SetMaxBusy. What is no limit continues as one that
// is out of range, to be refused.
func maxBusy(b []any) any {
	limit, err := control.ParseBusyLimit(b[0].(string))
	if err != nil {
		limit = control.BusyOff - 1
	}
	return control.Change{MaxBusy: &limit}
}

// span is a time that the bus has in microseconds. One that is too long stays
// so, to be refused.
func span(usec any) control.Seconds {
	return control.Seconds(min(usec.(uint64), 1<<50)) * control.Seconds(time.Microsecond)
}

// limits are those in effect, as both methods that change some return them.
func limits(result any) []any {
	l, ok := result.(control.Limits)
	if !ok {
		panic(fmt.Sprintf("scale returned %T, want limits", result))
	}
	return []any{int32(l.MinWorkers), int32(l.MaxWorkers), int32(l.MinIdle), int32(l.MaxIdle)}
}

// operation is what the caller of one gets: the generation that serves now,
// and what the operation could not change, a line each.
func operation(result any) []any {
	o, ok := result.(control.Operation)
	if !ok {
		panic(fmt.Sprintf("an operation's verb returned %T, want the operation", result))
	}
	return []any{count(o.Generation), clean(strings.Join(o.Notes, "\n"))}
}

func stopReport(result any) []any {
	r, ok := result.(control.StopReport)
	if !ok {
		panic(fmt.Sprintf("stop returned %T, want a report", result))
	}
	return []any{r.Finished, r.Lost, r.Refused, uint64(max(r.Took, 0) / time.Microsecond)}
}
