package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

// Exit statuses, for scripts and service managers.
const (
	exitDone       = 0
	exitFailed     = 1 // it was tried and did not work
	exitUsage      = 2 // the command line is wrong
	exitNotRunning = 3 // there is no such pool
	exitDenied     = 4 // the caller may not do this
)

// A usageError is one of the command line.
type usageError struct{ text, hint string }

func (e usageError) Error() string { return e.text }

// usage returns an error of the command line, with what to type instead.
func usage(text, hint string) error { return usageError{text, hint} }

// arguments wraps a check of positional arguments, whose errors are usage
// errors.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(err.Error(), "usage: "+cmd.UseLine())
		}
		return nil
	}
}

// exitStatus says what an error means to a script.
func exitStatus(err error) int {
	if err == nil {
		return exitDone
	}
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	switch control.AsError(err).Code {
	case control.CodeInvalid:
		return exitUsage
	case control.CodeNotRunning, control.CodeOver:
		return exitNotRunning
	case control.CodeDenied:
		return exitDenied
	}
	return exitFailed
}

// report prints an error, with a hint where there is one, and returns the
// exit status.
func (c *ctl) report(err error) int {
	if err == nil {
		return exitDone
	}
	text, hint := err.Error(), control.AsError(err).Hint
	var u usageError
	switch {
	case errors.As(err, &u):
		hint = u.hint
	case errors.Is(err, context.Canceled):
		text = "interrupted"
	}
	c.err.lines("scgictl: ", text)
	if hint != "" {
		c.err.line(span{dim, "scgictl: hint: "}, hint)
	}
	c.err.Flush()
	return exitStatus(err)
}
