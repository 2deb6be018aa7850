package main

import (
	"context"
	"time"

	"github.com/scgid/scgid/control"
)

// Pauses between attempts to reach a master that was cut off.
const (
	reconnectFirst = 10 * time.Millisecond
	reconnectMost  = time.Second
)

// reconnect reads the status until it is as it should be, for at most limit. A
// master that does not answer before that is not an error. With an error
// it returns the last status that it got, if there was one.
func (t *target) reconnect(ctx context.Context, limit time.Duration, enough func(*control.Status) bool) (last control.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for pause := reconnectFirst; ; pause = min(2*pause, reconnectMost) {
		st, asked := t.Status(ctx)
		switch {
		case asked == nil && enough(&st):
			return st, nil
		case asked == nil:
			last, err = st, nil
		case ctx.Err() != nil: // what came before says more
		case passes(asked):
			err = asked
		default:
			return last, asked
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return last, err
		case <-time.After(pause):
		}
	}
}

// passes says whether an error is one that an upgrade causes and ends.
func passes(err error) bool {
	switch control.AsError(err).Code {
	case control.CodeNotRunning, control.CodeOver, control.CodeBusy:
		return true
	}
	return false
}
