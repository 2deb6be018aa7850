package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

// poolMethods are the methods of org.scgid1.Pool: every verb that has a name
// on the bus, and ResetLimits for a flag of scale.
var poolMethods = map[string]method{
	"Scale":        {"iiii", false, order("scale", scaleArgs, limits)},
	"ResetLimits":  {"", false, order("scale", func([]any) map[string]any { return map[string]any{"reset": true} }, limits)},
	"Pause":        {"t", false, order("pause", func(b []any) map[string]any { return map[string]any{"limit": seconds(b[0])} }, nil)},
	"Resume":       {"", false, order("resume", nil, nil)},
	"Reload":       {"", false, order(control.OpReload, nil, operation)},
	"Rollback":     {"", false, order(control.OpRollback, nil, operation)},
	"Upgrade":      {"", false, order(control.OpUpgrade, nil, operation)},
	"Stop":         {"bt", false, order("stop", stopArgs, stopReport)},
	"RetireWorker": {"t", false, order("retire", workerArgs, nil)},
	"KillWorker":   {"t", false, order("kill", workerArgs, nil)},
	"DumpWorker":   {"t", false, order("dump", workerArgs, nil)},
}

// order makes a method of a verb: args names its arguments, as in JSON, and
// out makes the reply; nil is for none.
func order(name string, args func([]any) map[string]any, out func(any) []any) func(*session, *call) ([]any, error) {
	v := control.FindVerb(name)
	return func(s *session, c *call) ([]any, error) {
		named := map[string]any{}
		if args != nil {
			named = args(c.body)
		}
		result, err := s.do(c, v, named)
		if err != nil || out == nil {
			return nil, err
		}
		return out(result), nil
	}
}

// do has the verb done, if the caller may. The arguments pass the verb's own
// check, which reads JSON.
func (s *session) do(c *call, v *control.Verb, named map[string]any) (any, error) {
	raw := map[string]json.RawMessage{}
	for name, value := range named {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, control.Errorf(control.CodeInvalid, "cannot %s: %v", v.Doing, err)
		}
		raw[name] = text
	}
	args, err := v.Parse(raw)
	if err != nil {
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
	return v.Order(ctx, s.f.o.Pool, args, "bus", who, s.f.o.Log)
}

// scaleArgs leaves out what is -1. Other negative numbers go on, to be
// refused.
func scaleArgs(b []any) map[string]any {
	named := map[string]any{}
	for i, name := range []string{"min_workers", "max_workers", "min_idle", "max_idle"} {
		if n := b[i].(int32); n != -1 {
			named[name] = n
		}
	}
	return named
}

func stopArgs(b []any) map[string]any {
	return map[string]any{"now": b[0], "limit": seconds(b[1])}
}

func workerArgs(b []any) map[string]any { return map[string]any{"worker": b[0]} }

func seconds(usec any) float64 { return float64(usec.(uint64)) / 1e6 }

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
