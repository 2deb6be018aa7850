package control

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kinds of operations.
const (
	OpReload   = "reload"   // new configuration, new workers
	OpRollback = "rollback" // back to the generation before
	OpUpgrade  = "upgrade"  // the master executes its program again
)

// States of an operation.
const (
	OpRunning = "running"
	OpDone    = "done"
	OpFailed  = "failed"
)

// An Operation is a change of the whole pool that takes its time: a reload, a
// rollback or an upgrade. There is one at a time; when it has failed, all is
// as it was before.
type Operation struct {
	ID         uint64    `json:"id"` // counts up; of the same pool
	Kind       string    `json:"kind"`
	State      string    `json:"state"`
	Step       string    `json:"step,omitempty"`  // what it does right now, to stand behind the kind
	Done       int       `json:"done,omitempty"`  // of Total workers
	Total      int       `json:"total,omitempty"` // workers to be replaced; 0 is not known
	Generation int       `json:"generation"`      // that serves: the new one as soon as it does
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended,omitzero"`
	Error      string    `json:"error,omitempty"` // why it failed; printable, may have lines
	Notes      []string  `json:"notes,omitempty"` // what it could not change, and what to do for that
}

// Took is how long it took, 0 while it runs.
func (o Operation) Took() time.Duration {
	if o.Ended.IsZero() {
		return 0
	}
	return o.Ended.Sub(o.Began)
}

// Progress says what an operation does right now, such as "reload: starting
// worker 12 of generation 3". It has one line.
func (o Operation) Progress() string {
	switch {
	case o.Step != "":
		return o.Kind + ": " + o.Step
	case o.Total > 0:
		return fmt.Sprintf("%s: %d of %d workers replaced", o.Kind, o.Done, o.Total)
	}
	return o.Kind
}

// operationLimit bounds how long a caller waits for an operation: one that
// takes longer continues without it.
const operationLimit = time.Hour

// operation makes the call of a verb that runs an operation.
func operation(run func(Pool, context.Context) (Operation, error)) func(context.Context, Pool, NoArgs) (any, error) {
	return func(ctx context.Context, p Pool, _ NoArgs) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, operationLimit)
		defer cancel()
		o, err := run(p, ctx)
		if err != nil {
			return nil, err
		}
		return o, nil
	}
}

// OperationError is the error of an operation of this kind for which err is
// the reason: "cannot reload: REASON", with the code and the hint of err. An
// err that says that the operation continues keeps its text.
func OperationError(kind string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Errorf(CodeTimeout, "the %s is still running: %v", kind, err)
	}
	e := AsError(err)
	if e.Code == CodeTimeout {
		return e
	}
	// The text of err may be more than that of e.
	return &Error{Code: e.Code, Text: "cannot " + FindVerb(kind).Doing + ": " + err.Error(), Hint: e.Hint}
}
