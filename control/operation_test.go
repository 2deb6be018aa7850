package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// performer is a pool that can only perform operations.
type performer struct {
	Pool
	result Operation
	err    error
	until  time.Time // the deadline of the last call
}

func (p *performer) perform(ctx context.Context) (Operation, error) {
	p.until, _ = ctx.Deadline()
	return p.result, p.err
}

func (p *performer) Reload(ctx context.Context) (Operation, error)   { return p.perform(ctx) }
func (p *performer) Rollback(ctx context.Context) (Operation, error) { return p.perform(ctx) }
func (p *performer) Upgrade(ctx context.Context) (Operation, error)  { return p.perform(ctx) }

func TestAFailedOperationSaysWhatCouldNotBeDone(t *testing.T) {
	inner := Errorf(CodeState, "there is no generation before this one").WithHint("reload first")
	for _, tt := range []struct {
		kind string
		err  error
		want Error
	}{
		{OpReload, errors.New("a.conf:1: x\na.conf:2: y"), Error{Code: CodeFailed, Text: "cannot reload: a.conf:1: x\na.conf:2: y"}},
		{OpReload, Errorf(CodeOver, "the pool is stopping"), Error{Code: CodeOver, Text: "cannot reload: the pool is stopping"}},
		{OpRollback, inner, Error{Code: CodeState, Text: "cannot roll back: there is no generation before this one", Hint: "reload first"}},
		{OpRollback, fmt.Errorf("generation 3: %w", inner), Error{Code: CodeState, Text: "cannot roll back: generation 3: there is no generation before this one", Hint: "reload first"}},
		{OpUpgrade, Errorf(CodeTimeout, "the upgrade is still running"), Error{Code: CodeTimeout, Text: "the upgrade is still running"}},
		{OpUpgrade, context.DeadlineExceeded, Error{Code: CodeTimeout, Text: "the upgrade is still running: context deadline exceeded"}},
	} {
		p := &performer{err: tt.err}
		result, err := FindVerb(tt.kind).Call(t.Context(), p, nil)
		if e, ok := err.(*Error); !ok || *e != tt.want || result != nil {
			t.Errorf("%s, %v: %v, %+v, want %+v", tt.kind, tt.err, result, err, tt.want)
		}
	}
}

func TestTheLogHasTheReasonOfAFailedOperationOnce(t *testing.T) {
	var log []string
	p := &performer{err: errors.New("a.conf:1: x\na.conf:2: y")}
	_, err := FindVerb(OpReload).Do(t.Context(), p, nil, "bus", Caller{UID: 7, PID: 8}, func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) })
	want := []string{"bus: uid 7 (pid 8) asks to reload", "bus: cannot reload for uid 7 (pid 8): a.conf:1: x"}
	if err == nil || err.Error() != "cannot reload: a.conf:1: x\na.conf:2: y" || !slices.Equal(log, want) {
		t.Errorf("%v, log %q", err, log)
	}
}

func TestAnOperationReturnsWhatItDidAndIsBounded(t *testing.T) {
	for _, kind := range []string{OpReload, OpRollback, OpUpgrade} {
		p := &performer{result: Operation{ID: 3, Kind: kind, State: OpDone}}
		v := FindVerb(kind)
		got, err := v.Call(t.Context(), p, nil)
		if o, ok := got.(Operation); !ok || o.ID != 3 || err != nil || !v.Operation {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
		if left := time.Until(p.until); left < 59*time.Minute || left > time.Hour {
			t.Errorf("%s may take %v", kind, left)
		}
	}
}

func TestProgressIsOneLine(t *testing.T) {
	for want, o := range map[string]Operation{
		"reload":                                   {Kind: OpReload},
		"reload: starting worker 12":               {Kind: OpReload, Step: "starting worker 12", Done: 1, Total: 8},
		"rollback: 3 of 8 workers replaced":        {Kind: OpRollback, Done: 3, Total: 8},
		"upgrade: the new program reads the state": {Kind: OpUpgrade, Step: "the new program reads the state"},
	} {
		if got := o.Progress(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
