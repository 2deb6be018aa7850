package main

import (
	"strconv"
	"strings"

	"github.com/scgid/scgid/worker/scgi"
)

// defaultPath is the PATH of a program unless --env or --pass-env says another.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// An environment makes what a program gets as its own: the request's variables
// as far as they are harmless, the operator's, and what RFC 3875 demands.
// Nothing of the worker's environment gets in unless the operator names it.
type environment struct {
	fixed         []string        // NAME=VALUE of --env and --pass-env, and PATH
	names         map[string]bool // those set in fixed: no request overrides them
	authorization bool            // pass HTTP_AUTHORIZATION
}

// newEnvironment takes NAME=VALUE pairs; of several with one name the last wins.
func newEnvironment(pairs []string, authorization bool) *environment {
	e := &environment{names: make(map[string]bool), authorization: authorization}
	for i := len(pairs) - 1; i >= 0; i-- {
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

// forRequest returns the environment of one program.
func (e *environment) forRequest(q *scgi.Request, s script) []string {
	vars := make([]string, 0, len(q.Header)+len(e.fixed)+8)
	vars = append(vars, e.fixed...)
	seen := make(map[string]bool, len(q.Header)+8)
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
		if v.Name == "CONTENT_TYPE" && value == "" || strings.HasPrefix(value, "() {") {
			continue
		}
		set(v.Name, value)
	}
	set("QUERY_STRING", "") // RFC 3875, 4.1.7: must be set
	set("SERVER_SOFTWARE", "scgid")
	return vars
}

// passes tells whether a request may set the variable.
func (e *environment) passes(name string) bool {
	if name == "HTTP_AUTHORIZATION" {
		return e.authorization
	}
	return isName(name) && !refusedNames[name] && !hasPrefix(name, refusedPrefixes)
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

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// refusedNames are the variables that no request may set: some make a program
// run or trust what the client sent, others are the server's to set. A web
// server sends several of them on by itself, Apache for one its own PATH and
// LD_LIBRARY_PATH.
var refusedNames = set(
	// httpoxy: many HTTP libraries take it for their proxy setting.
	"HTTP_PROXY",
	// What is about the connection or about the body's framing is the server's;
	// RFC 3875, 4.1.18. Some web servers send these beside CONTENT_LENGTH.
	"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING",
	"HTTP_CONNECTION", "HTTP_KEEP_ALIVE", "HTTP_TE", "HTTP_TRAILER", "HTTP_PROXY_AUTHORIZATION",
	"CONTENT_LENGTH", "GATEWAY_INTERFACE", "SCGI",
	// The shell.
	"PATH", "IFS", "ENV", "CDPATH", "SHELL", "SHELLOPTS", "PS4", "PROMPT_COMMAND", "GLOBIGNORE",
	"FPATH", "ZDOTDIR", "EDITOR", "VISUAL", "PAGER", "BROWSER",
	// The C library.
	"GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH",
	"NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR", "TZDIR", "HOME",
	// Languages with a variable that names code to load or options to run with.
	"CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "PHPRC", "PHP_INI_SCAN_DIR",
	"TCLLIBPATH", "ERL_LIBS", "ERL_FLAGS", "R_PROFILE", "R_ENVIRON", "GODEBUG", "AWKPATH", "AWKLIBPATH",
	"OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES", "SSLKEYLOGFILE",
	// Git runs what these name.
	"GIT_EXEC_PATH", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_PROXY_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_EDITOR",
	"GIT_PAGER", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_TEMPLATE_DIR",
	// The service manager's.
	"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM",
)

var refusedPrefixes = []string{
	"LD_", "MALLOC_", "BASH", "PYTHON", "PERL", "RUBY", "GEM_", "BUNDLE_", "NODE_", "NPM_", "LUA_", "GUILE_",
	"GIT_CONFIG", "GIT_TRACE", "DOTNET_", "COMPlus_", "SCGID_", "LISTEN_",
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}
