package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
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

// cgiVars are the variables of which newRequest makes more than a header field.
type cgiVars struct {
	method, protocol, https  string
	uri, script, path, query string
	host                     string
	length, contentType      string
	remoteAddr, remotePort   string
}

// newRequest maps the variables as net/http/cgi does, without what would mislead
// a handler, and without making a map of them first. The Body is not set.
func newRequest(vars scgi.Header) (*http.Request, error) {
	r := &http.Request{Close: true, Trailer: http.Header{}, Header: make(http.Header, len(vars)/2)}
	var v cgiVars
	values := make([]string, len(vars)) // of the fields, in one piece
	for i := range vars {
		if !v.set(vars[i].Name, vars[i].Value) && isField(vars[i].Name, vars[i].Value) {
			addField(r.Header, vars[i], values[i:i:i+1])
		}
	}
	if v.contentType != "" {
		r.Header["Content-Type"] = []string{v.contentType}
	}
	if r.Method = v.method; r.Method == "" {
		return nil, errors.New("REQUEST_METHOD is missing")
	}
	if err := v.setLength(r); err != nil {
		return nil, err
	}
	var ok bool
	r.Proto = v.protocol
	if r.ProtoMajor, r.ProtoMinor, ok = http.ParseHTTPVersion(r.Proto); !ok {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	}
	if v.https == "1" || strings.EqualFold(v.https, "on") {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	r.RemoteAddr = v.remote()
	r.Host, r.RequestURI = v.host, v.target()
	return r, setURL(r)
}

// set takes a variable if it is one of v's. Of several the last wins, but those of
// HTTP_HOST are joined; see scgi.Header.Lookup.
func (v *cgiVars) set(name, value string) bool {
	switch name {
	case "REQUEST_METHOD":
		v.method = value
	case "SERVER_PROTOCOL":
		v.protocol = value
	case "HTTPS":
		v.https = value
	case "REQUEST_URI":
		v.uri = value
	case "SCRIPT_NAME":
		v.script = value
	case "PATH_INFO":
		v.path = value
	case "QUERY_STRING":
		v.query = value
	case "HTTP_HOST":
		v.host = join(v.host, ", ", value)
	case "CONTENT_LENGTH":
		v.length = value
	case "CONTENT_TYPE":
		v.contentType = value
	case "REMOTE_ADDR":
		v.remoteAddr = value
	case "REMOTE_PORT":
		v.remotePort = value
	default:
		return false
	}
	return true
}

func join(a, by, b string) string {
	if a == "" {
		return b
	}
	return a + by + b
}

func (v *cgiVars) setLength(r *http.Request) (err error) {
	if v.length == "" {
		return nil
	}
	if r.ContentLength, err = strconv.ParseInt(v.length, 10, 64); err != nil {
		return errors.New("CONTENT_LENGTH is not a number")
	}
	return nil
}

// remote is the client's address, with a port as net/http's server has it.
func (v *cgiVars) remote() string {
	port, err := strconv.ParseUint(v.remotePort, 10, 31)
	if v.remotePort == "" || err != nil {
		return net.JoinHostPort(v.remoteAddr, "0")
	}
	return net.JoinHostPort(v.remoteAddr, strconv.FormatUint(port, 10))
}

// addField adds the header field of a HTTP_ variable. room is where its value
// goes when it is the first of its name.
func addField(h http.Header, v scgi.Var, room []string) {
	key := http.CanonicalHeaderKey(strings.ReplaceAll(v.Name[len("HTTP_"):], "_", "-"))
	old := h[key]
	switch {
	case len(old) == 0:
		h[key] = append(room, v.Value)
	case key == "Cookie":
		old[0] += "; " + v.Value
	default:
		old[0] += ", " + v.Value
	}
}

// target returns REQUEST_URI, or what a program would have been run for.
func (v *cgiVars) target() string {
	if v.uri != "" {
		return v.uri
	}
	path := v.script + v.path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u := url.URL{Path: path, RawQuery: v.query}
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

// isField tells whether a variable is a header field that means something here. Fields about the connection between the client and the web
// server do not: the body has come decoded, and CONTENT_LENGTH has its length.
// HTTP_PROXY is httpoxy's.
func isField(name, value string) bool {
	if !strings.HasPrefix(name, "HTTP_") {
		return false
	}
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
