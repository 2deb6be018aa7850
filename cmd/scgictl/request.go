package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/scgid/scgid/worker/scgi"
)

// dataMax bounds a request body that has to be held in memory because its
// length is not known beforehand, in bytes.
const dataMax = 64 << 20

// A requestSpec is a request as the command line states it.
type requestSpec struct {
	method  string   // "" is GET, or POST with data
	headers []string // "Name: value"
	data    string   // text, @FILE or @-
	hasData bool
	env     []string // NAME=VALUE
	uri     string
}

// An scgiRequest is one SCGI request, ready to be sent.
type scgiRequest struct {
	req    *http.Request // what ReadResponse wants to know
	vars   []scgi.Var    // CONTENT_LENGTH among them
	body   io.Reader
	length int64
}

// build makes the request. stdin is read where the data is "@-", until ctx ends.
// What it returns holds a file open where the data is one: close closes it.
func (w requestSpec) build(ctx context.Context, stdin io.Reader) (a *scgiRequest, closed func(), err error) {
	a = &scgiRequest{body: http.NoBody}
	closed = func() {}
	if a.req, err = w.request(); err != nil {
		return nil, nil, err
	}
	if w.hasData {
		b, err := orEnd(ctx, func() (body, error) { return load(w.data, stdin) })
		if err != nil {
			return nil, nil, err
		}
		a.body, a.length, closed = b.Reader, b.length, b.close
	}
	if err = a.setVars(w.env); err != nil {
		closed()
		return nil, nil, err
	}
	return a, closed, nil
}

// request builds what a web server would have got from a browser.
func (w requestSpec) request() (*http.Request, error) {
	r := &http.Request{Method: w.method, Header: http.Header{}, Host: "localhost", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if w.method == "" {
		r.Method = http.MethodGet
		if w.hasData {
			r.Method = http.MethodPost
		}
	}
	r.RequestURI = w.uri
	if scheme, rest, ok := strings.Cut(w.uri, "://"); ok && (scheme == "http" || scheme == "https") {
		host, path, _ := strings.Cut(rest, "/")
		r.Host, r.RequestURI = host, "/"+path
	}
	if !strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != "*" {
		return nil, fmt.Errorf("the URI %q does not begin with /", w.uri)
	}
	r.URL = targetURL(r.RequestURI)
	if strings.HasPrefix(w.uri, "https://") {
		r.URL.Scheme = "https"
	}
	for _, line := range w.headers {
		if err := addHeader(r, line); err != nil {
			return nil, err
		}
	}
	if w.hasData && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r, nil
}

// targetURL reads a request target, and takes one that is not well formed as
// it is: to send such a thing is a use of this command.
func targetURL(target string) *url.URL {
	if u, err := url.ParseRequestURI("http://localhost" + target); err == nil {
		return &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	}
	path, query, _ := strings.Cut(target, "?")
	return &url.URL{Path: path, RawQuery: query}
}

// withoutVar are fields that scgi.Vars leaves out: they would get lost
// without a word.
var withoutVar = []string{"Connection", "Content-Length", "Keep-Alive", "Proxy", "Proxy-Authenticate",
	"Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// addHeader takes a field as typed. Fields that would get lost on the way are
// refused: somebody would look for the fault in the application.
func addHeader(r *http.Request, line string) error {
	name, value, ok := strings.Cut(line, ":")
	letter := func(c rune) bool {
		return c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	if !ok || name == "" || strings.ContainsFunc(name, func(c rune) bool { return !letter(c) }) {
		return fmt.Errorf("the header field %q is not \"Name: value\"", line)
	}
	name = http.CanonicalHeaderKey(name)
	if slices.Contains(withoutVar, name) {
		return fmt.Errorf("a web server does not pass the header field %s on; --env sets any variable", name)
	}
	value = strings.TrimSpace(value)
	if name == "Host" {
		r.Host = value
		return nil
	}
	r.Header.Add(name, value)
	return nil
}

// A body is that of a request.
type body struct {
	io.Reader
	length int64
	close  func()
}

func textBody(text []byte) body { return body{bytes.NewReader(text), int64(len(text)), func() {}} }

// load takes the body from where data says. A pipe may keep it waiting.
func load(data string, stdin io.Reader) (b body, err error) {
	name, isFile := strings.CutPrefix(data, "@")
	if !isFile {
		return textBody([]byte(data)), nil
	}
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return b, fmt.Errorf("cannot read the data: %w", err)
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return body{f, info.Size(), func() { f.Close() }}, nil
		}
		defer f.Close()
		from = f
	}
	all, err := io.ReadAll(io.LimitReader(from, dataMax+1))
	switch {
	case err != nil:
		return b, fmt.Errorf("cannot read the data: %w", err)
	case len(all) > dataMax:
		return b, fmt.Errorf("the data is longer than %d bytes and no regular file, so its length is not known", dataMax)
	}
	return textBody(all), nil
}

// setVars makes the variables, and those of env over them.
func (a *scgiRequest) setVars(env []string) error {
	vars := append([]scgi.Var{{Name: "CONTENT_LENGTH", Value: strconv.FormatInt(a.length, 10)}, {Name: "SCGI", Value: "1"}},
		scgi.Vars(a.req)...)
	vars = append(vars, scgi.Var{Name: "REMOTE_ADDR", Value: "127.0.0.1"})
	for _, e := range env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return fmt.Errorf("the variable %q is not NAME=VALUE", e)
		}
		if name == "REQUEST_METHOD" {
			a.req.Method = value
		}
		v := scgi.Var{Name: name, Value: value}
		if i := slices.IndexFunc(vars, func(v scgi.Var) bool { return v.Name == name }); i >= 0 {
			vars[i] = v
		} else {
			vars = append(vars, v)
		}
	}
	if _, err := scgi.AppendHeader(nil, vars); err != nil {
		var bad *scgi.SyntaxError
		if errors.As(err, &bad) {
			return fmt.Errorf("this request cannot be sent: %s", bad.Reason)
		}
		return err
	}
	a.vars = vars
	return nil
}
