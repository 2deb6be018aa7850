package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/scgid/scgid/worker/scgi"
)

var headTests = []struct {
	in   string
	code int
	out  string // of an error a part of its text
	odd  bool   // something was passed over
}{
	{"Content-Type: text/plain\n\n", 200, "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n", false},
	{"Content-Type:text/plain \r\n\r\n", 200, "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n", false},
	{"X-A: 1\r\nX-B: 2\nX-A: 3\n\r\n", 200, "Status: 200 OK\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n", false},
	{"Status: 404\n\n", 404, "Status: 404 Not Found\r\n\r\n", false},
	{"status: 404 \nX: y\n\n", 404, "Status: 404 Not Found\r\nX: y\r\n\r\n", false},
	{"X: y\nStatus: 299 x y\n\n", 299, "Status: 299 x y\r\nX: y\r\n\r\n", false},
	{"Status: 799\n\n", 799, "Status: 799\r\n\r\n", false},
	{"HTTP/1.1 404 Not here\nX: y\n\n", 404, "Status: 404 Not here\r\nX: y\r\n\r\n", false},
	{"HTTP/1.0 200 OK\nStatus: 200 OK\n\n", 200, "Status: 200 OK\r\n\r\n", false},
	{"HTTP/1.0 404 A\nStatus: 200 OK\n\n", 404, "Status: 404 A\r\n\r\n", false},
	{"Location: http://example.org/\n\n", 302, "Status: 302 Found\r\nLocation: http://example.org/\r\n\r\n", false},
	{"Location: /local\n\n", 302, "Location: /local\r\n\r\n", false},
	{"Location: /local\nStatus: 200\n\n", 200, "Status: 200 OK\r\nLocation: /local\r\n\r\n", false},
	{"Location: /local\nStatus: 303 See Other\n\n", 303, "Status: 303 See Other\r\nLocation: /local\r\n\r\n", false},
	{"Connection: close\nKeep-Alive: 5\nTransfer-Encoding: chunked\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", false},
	{"X-Accel-Redirect: /x\nX-Sendfile: /y\nX-LIGHTTPD-send-file: /z\n\n", 200,
		"Status: 200 OK\r\nX-Accel-Redirect: /x\r\nX-Sendfile: /y\r\nX-LIGHTTPD-send-file: /z\r\n\r\n", false},
	{"\n", 0, "no header", false},
	{"\r\n", 0, "no header", false},
	{"Connection: close\n\n", 0, `no header but Connection; the output begins "Connection: close\n\n"`, false},
	{"X: y\n z\n\n", 0, `" z" is not a header field`, false},
	{"X: y\n\tz: a\n\n", 0, `is not a header field`, false},
	{"<html>\n\n", 0, `"<html>" is not a header field`, false},
	{"X y: z\n\n", 0, "is not a header field", false},
	{": z\n\n", 0, "is not a header field", false},
	{"X: a\x00b\n\n", 0, "holds a NUL or CR", false},
	{"X: a\rY: b\n\n", 0, "holds a NUL or CR", false},
	{"Status: 100 Continue\n\n", 0, "is not the status", false},
	{"Status: 000\n\n", 0, "is not the status", false},
	{"Status: 20\n\n", 0, "is not the status", false},
	{"Status: 2000\n\n", 0, "is not the status", false},
	{"Status: OK\n\n", 0, "is not the status", false},
	{"HTTP/1.1 100 Continue\n\n", 0, "is not the status", false},
	{"Status: 404: Gone away\nX: y\n\n", 404, "Status: 404 : Gone away\r\nX: y\r\n\r\n", true},
	{"Status: 200OK\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"Status: 099x\n\n", 0, "is not the status", false},
	// As Python's cgitb begins; a field whose name is not a token.
	{"<!--: spam\nContent-Type: text/html\n\n", 200, "Status: 200 OK\r\nContent-Type: text/html\r\n\r\n", true},
	{"Warning, something odd\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"X: y\nbad name: z\n: z\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"X : y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"Status\t: 404\nX: y\n\n", 404, "Status: 404 Not Found\r\nX: y\r\n\r\n", true},
	{"Status: 200\nStatus: 404\n\n", 404, "Status: 404 Not Found\r\n\r\n", true},
	{"Status: 200\nX: y\nStatus: 404 Gone\nStatus: 410\n\n", 410, "Status: 410 Gone\r\nX: y\r\n\r\n", true},
	{"Status: 200\nStatus: OK\n\n", 0, "is not the status", false},
	{"HTTP/2 404\nX: y\n\n", 404, "Status: 404 Not Found\r\nX: y\r\n\r\n", true},
	{"X: y\nHTTP/1.1 404 Not Found\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"Content-Length: 5\ncontent-length: 5\n\n", 200, "Status: 200 OK\r\nContent-Length: 5\r\n\r\n", false},
	{"Content-Length: 5\nX: y\nContent-Length: 6\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"Status: 204\nContent-Length: 5\n\n", 204, "Status: 204 No Content\r\n\r\n", false},
	{"Status: 304\nContent-Length: 5\n\n", 304, "Status: 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false},
	{"Content-Length: -1\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"Content-Length:\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"Content-Length: 99999999999999999999\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", true},
	{"Transfer-Encoding: Chunked\nContent-Length: 5\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", false},
	{"Transfer-Encoding: identity\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n", false},
	{"Transfer-Encoding: gzip, chunked\nX: y\n\n", 0, `cannot be decoded; the output begins "Transfer-Encoding: gzip, chunked\nX: y\n\n"`, false},
	{"Transfer-Encoding: chunked\nTransfer-Encoding: chunked\nX: y\n\n", 0, "cannot be decoded", false},
}

// headOf makes the web server's header of a program's.
func headOf(in, site string) (head, error) {
	h, err := scgi.ReadReplyHead(bufio.NewReader(strings.NewReader(in)), 0)
	if err != nil {
		return head{}, err
	}
	return makeHead(h, site)
}

func TestHeads(t *testing.T) {
	for _, test := range headTests {
		h, err := headOf(test.in, "")
		switch {
		case test.code == 0 && (err == nil || !strings.Contains(err.Error(), test.out)):
			t.Errorf("%q: got %q, %v; want error %q", test.in, h.text, err, test.out)
		case test.code != 0 && (err != nil || h.code != test.code || string(h.text) != test.out):
			t.Errorf("%q: got %d %q, %v", test.in, h.code, h.text, err)
		case test.code != 0 && (len(h.odd) > 0) != test.odd:
			t.Errorf("%q: the log is told %q", test.in, h.odd)
		}
	}
}

// What a program can make of its header is always a reply that a client reads.
func FuzzMakeHead(f *testing.F) {
	for _, test := range headTests {
		f.Add([]byte(test.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := headOf(string(in), "")
		if err != nil {
			return
		}
		resp, err := scgi.ReadResponse(bufio.NewReader(bytes.NewReader(h.text)), nil)
		if err != nil {
			t.Fatalf("%q became %q: %v", in, h.text, err)
		}
		if resp.StatusCode != h.code || resp.ContentLength != h.length && !neverBody(h.code) {
			t.Fatalf("%q: status %d, told %d; length %d, told %d", in, resp.StatusCode, h.code, resp.ContentLength, h.length)
		}
		if h.chunked && h.length >= 0 || resp.Header["Transfer-Encoding"] != nil {
			t.Fatalf("%q became %q", in, h.text)
		}
	})
}
