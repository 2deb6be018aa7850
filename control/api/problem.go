package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/scgid/scgid/control"
)

const problemBase = "https://scgid.org/problems/"

// A problem is an error as RFC 9457 writes it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// problems are the titles and statuses of the codes.
var problems = map[string]struct {
	status int
	title  string
}{
	control.CodeInvalid:  {http.StatusBadRequest, "Invalid argument"},
	control.CodeDenied:   {http.StatusForbidden, "Not permitted"},
	control.CodeNoVerb:   {http.StatusNotFound, "Unknown verb"},
	control.CodeNoWorker: {http.StatusNotFound, "No such worker"},
	control.CodeState:    {http.StatusConflict, "Not possible in this state"},
	control.CodeFailed:   {http.StatusInternalServerError, "Failed"},
	control.CodeOver:     {http.StatusServiceUnavailable, "The master is stopping"},
	control.CodeBusy:     {http.StatusServiceUnavailable, "Too many callers"},
	control.CodeTimeout:  {http.StatusGatewayTimeout, "Continues after the time limit"},
}

// problemOf describes e. A status other than 0 is more exact than that of e's
// code.
func problemOf(e *control.Error, status int) problem {
	p, ok := problems[e.Code]
	if !ok {
		p = problems[control.CodeFailed]
	}
	if status == 0 {
		status = p.status
	}
	return problem{Type: problemBase + e.Code, Title: p.title, Status: status, Detail: e.Text, Hint: e.Hint}
}

// json returns p as one line.
func (p problem) json() []byte {
	b, err := marshal(p)
	if err != nil {
		panic("a problem is marshalled: " + err.Error())
	}
	return b
}

// asError returns err as an Error, with a code for a context that ended.
func asError(err error) *control.Error {
	var e *control.Error
	if !errors.As(err, &e) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return control.Errorf(control.CodeTimeout, "%v", err)
	}
	return control.AsError(err)
}

// parseProblem reads what problem.json wrote.
func parseProblem(body []byte) (*control.Error, bool) {
	var p problem
	if json.Unmarshal(body, &p) != nil {
		return nil, false
	}
	code, ok := strings.CutPrefix(p.Type, problemBase)
	if !ok || code == "" || p.Detail == "" {
		return nil, false
	}
	return &control.Error{Code: code, Text: p.Detail, Hint: p.Hint}, true
}
