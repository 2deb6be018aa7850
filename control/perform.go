package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// operationLimit bounds how long a caller waits for an operation: one that
// takes longer goes on without it.
const operationLimit = time.Hour

// operation makes the Call of a verb that runs an operation. What the pool
// says why it failed becomes a sentence here, so that it is the same over both
// front ends.
func operation(kind string, run func(Pool, context.Context) (Operation, error)) func(context.Context, Pool, Args) (any, error) {
	return func(ctx context.Context, p Pool, _ Args) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, operationLimit)
		defer cancel()
		o, err := run(p, ctx)
		if err != nil {
			return nil, OperationError(kind, err)
		}
		return o, nil
	}
}

// OperationError is the error of an operation of this kind for which err is
// the reason: "cannot reload: REASON", with the code and the hint of err. An
// err that is such a sentence already, or says that the operation goes on,
// keeps its text.
func OperationError(kind string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Errorf(CodeTimeout, "the %s is still going on: %v", kind, err)
	}
	e := AsError(err)
	text := err.Error() // which may be more than e's
	if e.Code != CodeTimeout && !strings.HasPrefix(text, cannot(kind)) {
		text = cannot(kind) + text
	}
	return &Error{Code: e.Code, Text: text, Hint: e.Hint}
}

// Reason is what OperationError made a sentence of; a text that is none of
// its is returned as it is.
func Reason(kind, text string) string { return strings.TrimPrefix(text, cannot(kind)) }

func cannot(kind string) string {
	doing := kind
	if kind == OpRollback {
		doing = "roll back"
	}
	return "cannot " + doing + ": "
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
