package scgi

import (
	"net"
	"net/http"
	"slices"
	"sort"
	"strings"
)

// Vars gives the variables for an HTTP request, one that a server has received
// or one that a client is about to send. CONTENT_LENGTH and SCGI are not among
// them: the sender of the body knows its length, and AppendHeader adds SCGI.
//
// As behind nginx, REQUEST_URI is as the client sent it; DOCUMENT_URI and
// PATH_INFO are the decoded path of r.URL, and SCRIPT_NAME is empty.
// REMOTE_ADDR is absent where r does not know it. Header fields become HTTP_
// names, sorted, repeated ones joined. Left out are hop-by-hop fields, Proxy
// (HTTP_PROXY means something else to programs: httpoxy), and fields with
// other characters than letters, digits and "-", which could pass for another.
func Vars(r *http.Request) []Var {
	secure := r.TLS != nil || r.URL.Scheme == "https"
	scheme := "http"
	if secure {
		scheme = "https"
	}
	name, port := serverAddr(r, scheme)
	path := orElse(r.URL.Path, "/")
	vars := []Var{
		{"REQUEST_METHOD", orElse(r.Method, http.MethodGet)},
		{"REQUEST_URI", requestURI(r)},
		{"QUERY_STRING", r.URL.RawQuery},
		{"CONTENT_TYPE", r.Header.Get("Content-Type")},
		{"SERVER_PROTOCOL", orElse(r.Proto, "HTTP/1.1")},
		{"SERVER_NAME", name},
		{"SERVER_PORT", port},
		{"REQUEST_SCHEME", scheme},
		{"DOCUMENT_URI", path},
		{"SCRIPT_NAME", ""},
		{"PATH_INFO", path},
	}
	if secure {
		vars = append(vars, Var{"HTTPS", "on"})
	}
	if host, port, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		vars = append(vars, Var{"REMOTE_ADDR", host}, Var{"REMOTE_PORT", port})
	}
	return append(vars, fieldVars(r)...)
}

// requestURI returns the request target, without scheme and host where the
// client named them (RFC 9112, 3.2.2).
func requestURI(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") || r.RequestURI == "*" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// serverAddr returns the name and the port under which the client asked.
func serverAddr(r *http.Request, scheme string) (name, port string) {
	host := requestHost(r)
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && host == "" {
		host = addr.String()
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), ""
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return name, port
}

func requestHost(r *http.Request) string { return orElse(r.Host, r.URL.Host) }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// notPassed are the fields that have a variable of their own, that are
// hop-by-hop (RFC 9110, 7.6.1, and those it replaced), or that do harm.
var notPassed = []string{
	"Connection", "Content-Length", "Content-Type", "Host", "Keep-Alive", "Proxy", "Proxy-Authenticate",
	"Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// fieldVars gives HTTP_HOST and the other HTTP_ variables.
func fieldVars(r *http.Request) []Var {
	drop := slices.Clone(notPassed)
	for _, v := range r.Header["Connection"] {
		for _, name := range strings.Split(v, ",") {
			drop = append(drop, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	var vars []Var
	if host := requestHost(r); host != "" {
		vars = append(vars, Var{"HTTP_HOST", host})
	}
	for name, values := range r.Header {
		if isPlain(name) && !slices.Contains(drop, http.CanonicalHeaderKey(name)) {
			vars = append(vars, fieldVar(name, values))
		}
	}
	sort.Slice(vars, func(i, j int) bool { return vars[i].Name < vars[j].Name })
	return vars
}

func fieldVar(name string, values []string) Var {
	name = "HTTP_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_")
	if name == "HTTP_COOKIE" {
		return Var{name, strings.Join(values, "; ")}
	}
	return Var{name, strings.Join(values, ", ")}
}

// isPlain tells whether a field's name has one HTTP_ name that no other has.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return s != ""
}
