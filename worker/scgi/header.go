package scgi

import (
	"bytes"
	"strings"
)

// A Var is one variable of a request. Values hold any byte but NUL, in
// whatever encoding the client used.
type Var struct{ Name, Value string }

// A Header is the variables of a request in the order in which they came.
type Header []Var

// Get returns the value of a variable, or "". See Lookup.
func (h Header) Get(name string) string {
	v, _ := h.Lookup(name)
	return v
}

// Lookup returns the value of a variable, and whether there is one.
//
// Of several with the same name the last wins, but those of a HTTP_ name are
// request header fields that an older web server did not join: they are joined
// with ", ", and HTTP_COOKIE with "; " (RFC 9110, 5.3; RFC 6265, 5.4).
func (h Header) Lookup(name string) (string, bool) {
	last, n := 0, 0
	for i := range h {
		if h[i].Name == name {
			last = i
			n++
		}
	}
	if n == 0 {
		return "", false
	}
	if n == 1 || !strings.HasPrefix(name, "HTTP_") {
		return h[last].Value, true
	}
	return h.join(name, n), true
}

func (h Header) join(name string, n int) string {
	all := make([]string, 0, n)
	for i := range h {
		if h[i].Name == name {
			all = append(all, h[i].Value)
		}
	}
	if name == "HTTP_COOKIE" {
		return strings.Join(all, "; ")
	}
	return strings.Join(all, ", ")
}

// Map returns each name with the value that Get has for it, as
// net/http/cgi.RequestFromMap wants it.
func (h Header) Map() map[string]string {
	m := make(map[string]string, len(h))
	var twice []string
	for _, v := range h {
		if _, ok := m[v.Name]; ok {
			twice = append(twice, v.Name)
		}
		m[v.Name] = v.Value
	}
	done := make(map[string]bool, len(twice))
	for _, name := range twice {
		if !done[name] {
			done[name] = true
			m[name] = h.Get(name)
		}
	}
	return m
}

// ParseBlock reads the payload of a request's netstring. It returns the
// variables and CONTENT_LENGTH. The error is a *SyntaxError. It keeps no part
// of b.
func ParseBlock(b []byte) (Header, int64, error) {
	s := scanner{block: b}
	whole := string(b)
	h := make(Header, 0, min(bytes.Count(b, []byte{0})/2, MaxVars))
	for s.scan() {
		h = append(h, Var{whole[s.name : s.value-1], whole[s.value : s.next-1]})
	}
	if s.err != nil {
		return nil, 0, s.err
	}
	return h, s.length, nil
}
