package control

import (
	"errors"
	"fmt"
)

// Codes of an Error. They are part of both front ends' interfaces: in HTTP
// the last part of a problem's type, on D-Bus of the error's name.
const (
	CodeInvalid    = "InvalidArgument" // an argument is missing or wrong
	CodeDenied     = "NotPermitted"    // the caller may not do this
	CodeNoVerb     = "UnknownVerb"
	CodeNoWorker   = "NoSuchWorker"
	CodeState      = "WrongState"  // not possible in this state, such as retiring a worker that is killed
	CodeFailed     = "Failed"      // it was tried and did not work
	CodeOver       = "Ended"       // the master is stopping, or has ended
	CodeTimeout    = "TimedOut"    // it continues after the caller's time limit
	CodeBusy       = "Busy"        // too many ask at once
	CodeNotRunning = "NotRunning"  // clients only: nobody answers
	CodeProtocol   = "BadResponse" // clients only: what answers is not scgid
)

// An Error is what goes from the master to its caller, over either front
// end: a code for programs, a sentence for people, and what to do about it.
type Error struct {
	Code string
	Text string
	Hint string // may be empty
}

func (e *Error) Error() string { return e.Text }

// Errorf makes an Error with this code.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// WithHint returns e with a hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// AsError returns err as an Error; any other error gets CodeFailed.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeFailed, Text: err.Error()}
}
