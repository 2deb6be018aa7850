package main

import (
	"log"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/scgid/scgid/worker/scgi"
)

// defaultPath is the PATH of a program unless --env or --pass-env says another.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// An environment makes what a program gets as its own: the request's variables
// that are on a list (see variables.go), the operator's, and what RFC 3875
// demands. Of the worker's environment the time zone and the locale get in, and
// what the operator names.
type environment struct {
	fixed         []string        // NAME=VALUE of --env and --pass-env, and PATH
	names         map[string]bool // those set in fixed: no request overrides them
	authorization bool            // pass HTTP_AUTHORIZATION
	asked         []string        // of --pass-request-var: names, or beginnings that end in "*"
	dropped       *dropped
}

// newEnvironment makes the environment that the options ask for.
func newEnvironment(o *options, l *log.Logger) *environment {
	e := &environment{
		names:         make(map[string]bool),
		authorization: o.authorization,
		asked:         o.passRequestVar,
		dropped:       &dropped{log: l, told: make(map[string]bool)},
	}
	pairs := o.pairs()
	for i := len(pairs) - 1; i >= 0; i-- { // of several with one name the last wins
		name, _, _ := strings.Cut(pairs[i], "=")
		if !e.names[name] {
			e.names[name] = true
			e.fixed = append(e.fixed, pairs[i])
		}
	}
	if !e.names["PATH"] {
		e.fixed = append(e.fixed, "PATH="+defaultPath)
	}
	return e
}

// pairs returns what the programs get from the worker's environment and --env.
// A variable that the worker does not have is not passed.
func (o *options) pairs() []string {
	var pairs []string
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); isLocal(name) {
			pairs = append(pairs, pair)
		}
	}
	for _, name := range o.passEnv {
		if value, ok := os.LookupEnv(name); ok {
			pairs = append(pairs, name+"="+value)
		}
	}
	return append(pairs, o.env...)
}

// isLocal tells whether a variable is the time zone or of the locale, which are
// the service's for all that runs in it.
func isLocal(name string) bool {
	return name == "TZ" || name == "LANG" || name == "LANGUAGE" || strings.HasPrefix(name, "LC_")
}

// forRequest returns the environment of one program.
func (e *environment) forRequest(q *scgi.Request, s script) []string {
	vars := make([]string, 0, len(q.Header)+len(e.fixed)+12)
	vars = append(vars, e.fixed...)
	seen := make(map[string]bool, len(q.Header)+12)
	set := func(name, value string) {
		if !seen[name] && !e.names[name] {
			seen[name] = true
			vars = append(vars, name+"="+value)
		}
	}
	set("GATEWAY_INTERFACE", "CGI/1.1")
	// RFC 3875, 4.1.2: set if and only if there is a body. A web server sends
	// 0 to say that there is none.
	if q.ContentLength > 0 {
		set("CONTENT_LENGTH", strconv.FormatInt(q.ContentLength, 10))
	}
	for _, v := range s.vars {
		set(v.Name, v.Value)
	}
	for _, v := range q.Header {
		if !e.passes(v.Name) {
			continue
		}
		value := q.Header.Get(v.Name) // joins those that came twice
		if value == "" && neverEmpty[v.Name] || strings.HasPrefix(value, "() {") {
			continue
		}
		set(v.Name, value)
	}
	if !seen["SCRIPT_NAME"] {
		set("SCRIPT_NAME", scriptName(q.Header, s.vars))
	}
	require(q.Header, set)
	return vars
}

// passes tells whether a request may set the variable, and has it counted if
// not.
func (e *environment) passes(name string) bool {
	switch why := e.classify(name); why {
	case passed:
		return true
	case unknown:
		e.dropped.add(name)
	}
	return false
}

// What becomes of a variable of a request.
type fate int

const (
	passed   fate = iota
	withheld      // on purpose: web servers and clients send it all the time
	unknown       // nobody has said that programs need it
)

func (e *environment) classify(name string) fate {
	base := withoutRedirect(name)
	switch {
	case base == "HTTP_AUTHORIZATION" && e.authorization:
		return passed
	case isWithheld(name):
		return withheld
	case !isName(name):
		return unknown
	case e.isAsked(name) || knownNames[name] || hasPrefix(name, knownPrefixes):
		return passed
	case isUpper(name) && (base != name || strings.HasPrefix(name, "HTTP_")):
		return passed
	}
	return unknown
}

// isWithheld tells whether no option lets a request set the variable;
// HTTP_AUTHORIZATION has its own.
func isWithheld(name string) bool {
	base := withoutRedirect(name)
	return withheldNames[base] || strings.HasPrefix(base, "SCGID_")
}

// withoutRedirect cuts off what Apache puts before a name, once for each redirect
// within the server.
func withoutRedirect(name string) string {
	for strings.HasPrefix(name, "REDIRECT_") {
		name = name[len("REDIRECT_"):]
	}
	return name
}

// isAsked tells whether --pass-request-var names the variable.
func (e *environment) isAsked(name string) bool {
	for _, s := range e.asked {
		begin, some := strings.CutSuffix(s, "*")
		if s == name || some && strings.HasPrefix(name, begin) {
			return true
		}
	}
	return false
}

// maxTold bounds the names that dropped remembers.
const maxTold = 64

// dropped counts the variables of requests that did not reach a program, and
// logs each name once.
type dropped struct {
	log *log.Logger

	mu    sync.Mutex
	count int64           // guarded by mu
	told  map[string]bool // guarded by mu
}

func (d *dropped) add(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	if d.told[name] || len(d.told) >= maxTold {
		return
	}
	d.told[name] = true
	if isName(name) {
		d.log.Printf("the request's variable %s does not reach programs; if they need it: --pass-request-var %s", show(name), show(name))
		return
	}
	d.log.Printf("%s is not the name of a variable, leaving it out", show(name))
}

// sum logs the count at the worker's end.
func (d *dropped) sum() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count > 0 {
		d.log.Printf("%d variables of requests did not reach programs", d.count)
	}
}

// isName holds the rule of POSIX for names of variables. Shells and others do
// odd things with the rest, such as BASH_FUNC_x%%.
func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && !('A' <= c && c <= 'Z') && !('a' <= c && c <= 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// isUpper tells whether s has no lower case, as the names that web servers make
// of header fields: HTTP_proxy is Python's proxy setting.
func isUpper(s string) bool { return strings.ToUpper(s) == s }

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
