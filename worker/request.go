package worker

import (
	"context"
	"errors"
	"net/http"
	"net/http/cgi"
	"net/url"
	"strings"

	"github.com/scgid/scgid/worker/scgi"
)

type varsKey struct{}

// Vars returns the variables of the request to which ctx belongs, as the web
// server sent them, or nil.
func Vars(ctx context.Context) scgi.Header {
	h, _ := ctx.Value(varsKey{}).(scgi.Header)
	return h
}

// ProcessEnv returns those variables of r that the *http.Request itself does
// not show, such as REMOTE_USER and DOCUMENT_ROOT.
func ProcessEnv(r *http.Request) map[string]string {
	env := make(map[string]string)
	for name, value := range Vars(r.Context()).Map() {
		if !shown[name] && !strings.HasPrefix(name, "HTTP_") {
			env[name] = value
		}
	}
	return env
}

// shown are the variables that newRequest puts into an *http.Request.
var shown = map[string]bool{
	"CONTENT_LENGTH":  true,
	"CONTENT_TYPE":    true,
	"HTTPS":           true,
	"QUERY_STRING":    true,
	"REMOTE_ADDR":     true,
	"REMOTE_PORT":     true,
	"REQUEST_METHOD":  true,
	"REQUEST_URI":     true,
	"SCGI":            true,
	"SERVER_PROTOCOL": true,
}

// newRequest maps the variables as net/http/cgi does, after taking out what
// would mislead a handler. The Body is not set.
func newRequest(vars scgi.Header) (*http.Request, error) {
	m := vars.Map()
	target, host := requestTarget(m), m["HTTP_HOST"]
	for name, value := range m {
		if strings.HasPrefix(name, "HTTP_") && !isField(name, value) {
			delete(m, name)
		}
	}
	if m["CONTENT_TYPE"] != "" {
		delete(m, "HTTP_CONTENT_TYPE")
	}
	if _, _, ok := http.ParseHTTPVersion(m["SERVER_PROTOCOL"]); !ok {
		m["SERVER_PROTOCOL"] = "HTTP/1.1"
	}
	m["HTTPS"] = strings.ToLower(m["HTTPS"])
	// cgi.RequestFromMap parses host and target as one string, and then a "/"
	// in the Host field ends up in the path. So it gets neither of them.
	delete(m, "HTTP_HOST")
	m["REQUEST_URI"] = "/"
	r, err := cgi.RequestFromMap(m)
	if err != nil {
		return nil, err
	}
	r.Host, r.RequestURI = host, target
	return r, setURL(r)
}

// requestTarget returns REQUEST_URI, or what a program would have been run
// for.
func requestTarget(m map[string]string) string {
	if uri := m["REQUEST_URI"]; uri != "" {
		return uri
	}
	path := m["SCRIPT_NAME"] + m["PATH_INFO"]
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u := url.URL{Path: path, RawQuery: m["QUERY_STRING"]}
	return u.RequestURI()
}

// setURL parses r.RequestURI. A proxy's target, with scheme and host, gives
// its path only; RFC 9112, 3.2.2.
func setURL(r *http.Request) error {
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return errors.New("REQUEST_URI is not a request target")
	}
	u.Scheme, u.Host, u.User = "", "", nil
	if r.Host != "" && u.Path != "*" {
		u.Scheme, u.Host = "http", r.Host
		if r.TLS != nil {
			u.Scheme = "https"
		}
	}
	r.URL = u
	return nil
}

// isField tells whether a HTTP_ variable is a header field that means
// something here. Fields about the connection between the client and the web
// server do not: the body has come decoded, and CONTENT_LENGTH has its length.
// HTTP_PROXY is httpoxy's.
func isField(name, value string) bool {
	switch name {
	case "HTTP_PROXY", "HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH":
		return false
	}
	for i := len("HTTP_"); i < len(name); i++ {
		c := name[i]
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return len(name) > len("HTTP_") && !strings.ContainsAny(value, "\r\n")
}
