package load

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/scgid/scgid/worker/scgi"
)

// A request is the bytes that every connection sends. The body is one chunk
// over and over, so that a large body costs no memory.
type request struct {
	head  []byte // header block and the beginning of the body
	chunk []byte // the rest of the body, over and over
	size  int64
}

const chunkSize = 64 << 10

// request builds what a web server's usual parameters would make of the Load.
func (l *Load) request() (*request, error) {
	head, err := l.head()
	if err != nil {
		return nil, err
	}
	chunk := bytes.Repeat([]byte("0123456789abcde\n"), chunkSize/16)
	size := int64(len(head)) + l.Body
	head = append(head, chunk[:min(l.Body, chunkSize)]...)
	return &request{head, chunk, size}, nil
}

// after is what comes after the first sent bytes: at least one byte while
// there is one.
func (r *request) after(sent int64) []byte {
	if sent < int64(len(r.head)) {
		return r.head[sent:]
	}
	at := (sent - int64(len(r.head))) % chunkSize
	return r.chunk[at:min(chunkSize, at+r.size-sent)]
}

// head is what comes before the body.
func (l *Load) head() ([]byte, error) {
	method, uri := l.method(), cmp.Or(l.URI, "/")
	if l.HTTP {
		return fmt.Appendf(nil, "%s %s HTTP/1.0\r\nHost: www.example.org\r\nUser-Agent: scgibench\r\n"+
			"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n"+
			"Content-Length: %d\r\n\r\n", method, uri, l.Body), nil
	}
	vars, err := l.vars(method, uri)
	if err != nil {
		return nil, err
	}
	head, err := scgi.AppendHeader(nil, vars)
	if err != nil {
		return nil, fmt.Errorf("cannot build the request: %v", err)
	}
	return head, nil
}

func (l *Load) method() string {
	switch {
	case l.Method != "":
		return l.Method
	case l.Body > 0:
		return "POST"
	}
	return "GET"
}

func (l *Load) vars(method, uri string) ([]scgi.Var, error) {
	path, query, _ := strings.Cut(uri, "?")
	vars := []scgi.Var{
		{Name: "CONTENT_LENGTH", Value: strconv.FormatInt(l.Body, 10)},
		{Name: "SCGI", Value: "1"},
		{Name: "REQUEST_METHOD", Value: method},
		{Name: "REQUEST_URI", Value: uri},
		{Name: "QUERY_STRING", Value: query},
		{Name: "SCRIPT_NAME", Value: ""},
		{Name: "PATH_INFO", Value: path},
		{Name: "DOCUMENT_URI", Value: path},
		{Name: "DOCUMENT_ROOT", Value: "/var/www/html"},
		{Name: "CONTENT_TYPE", Value: contentType(l.Body)},
		{Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"},
		{Name: "REQUEST_SCHEME", Value: "http"},
		{Name: "REMOTE_ADDR", Value: "192.0.2.17"},
		{Name: "REMOTE_PORT", Value: "52814"},
		{Name: "SERVER_ADDR", Value: "192.0.2.1"},
		{Name: "SERVER_PORT", Value: "80"},
		{Name: "SERVER_NAME", Value: "www.example.org"},
		{Name: "HTTP_HOST", Value: "www.example.org"},
		{Name: "HTTP_USER_AGENT", Value: "scgibench"},
		{Name: "HTTP_ACCEPT", Value: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		{Name: "HTTP_ACCEPT_LANGUAGE", Value: "en-GB,en;q=0.5"},
		{Name: "HTTP_ACCEPT_ENCODING", Value: "gzip, deflate"},
	}
	for _, v := range l.Vars {
		if v.Name == "CONTENT_LENGTH" {
			return nil, fmt.Errorf("CONTENT_LENGTH is the size of the body and cannot be set apart from it")
		}
		vars = set(vars, v)
	}
	return vars, nil
}

func contentType(body int64) string {
	if body == 0 {
		return ""
	}
	return "application/octet-stream"
}

// set replaces the variable of that name, or adds it.
func set(vars []scgi.Var, v scgi.Var) []scgi.Var {
	for i := range vars {
		if vars[i].Name == v.Name {
			vars[i].Value = v.Value
			return vars
		}
	}
	return append(vars, v)
}
