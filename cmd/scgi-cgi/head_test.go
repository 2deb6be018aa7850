package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/scgid/scgid/worker/scgi"
)

var headTests = []struct {
	in   string
	code int
	out  string // of an error a part of its text
}{
	{"Content-Type: text/plain\n\n", 200, "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n"},
	{"Content-Type:text/plain \r\n\r\n", 200, "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n"},
	{"X-A: 1\r\nX-B: 2\nX-A: 3\n\r\n", 200, "Status: 200 OK\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n"},
	{"Status: 404\n\n", 404, "Status: 404 Not Found\r\n\r\n"},
	{"status: 404 \nX: y\n\n", 404, "Status: 404 Not Found\r\nX: y\r\n\r\n"},
	{"X: y\nStatus: 299 x y\n\n", 299, "Status: 299 x y\r\nX: y\r\n\r\n"},
	{"Status: 799\n\n", 799, "Status: 799\r\n\r\n"},
	{"HTTP/1.1 404 Not here\nX: y\n\n", 404, "Status: 404 Not here\r\nX: y\r\n\r\n"},
	{"HTTP/1.0 200 OK\nStatus: 200 OK\n\n", 200, "Status: 200 OK\r\n\r\n"},
	{"HTTP/1.0 404 A\nStatus: 200 OK\n\n", 404, "Status: 404 A\r\n\r\n"},
	{"Location: http://example.org/\n\n", 302, "Status: 302 Found\r\nLocation: http://example.org/\r\n\r\n"},
	{"Location: /local\n\n", 302, "Location: /local\r\n\r\n"},
	{"Location: /local\nStatus: 200\n\n", 200, "Status: 200 OK\r\nLocation: /local\r\n\r\n"},
	{"Location: /local\nStatus: 303 See Other\n\n", 303, "Status: 303 See Other\r\nLocation: /local\r\n\r\n"},
	{"Connection: close\nKeep-Alive: 5\nTransfer-Encoding: chunked\nX: y\n\n", 200, "Status: 200 OK\r\nX: y\r\n\r\n"},
	{"X-Accel-Redirect: /x\nX-Sendfile: /y\nX-LIGHTTPD-send-file: /z\n\n", 200,
		"Status: 200 OK\r\nX-Accel-Redirect: /x\r\nX-Sendfile: /y\r\nX-LIGHTTPD-send-file: /z\r\n\r\n"},
	{"\n", 0, "no header"},
	{"\r\n", 0, "no header"},
	{"Connection: close\n\n", 0, "no header"},
	{"X: y\n z\n\n", 0, `" z" is no header field`},
	{"X: y\n\tz: a\n\n", 0, `is no header field`},
	{"<html>\n\n", 0, `"<html>" is no header field`},
	{"X y: z\n\n", 0, "is no header field"},
	{": z\n\n", 0, "is no header field"},
	{"X: a\x00b\n\n", 0, "holds a NUL or CR"},
	{"X: a\rY: b\n\n", 0, "holds a NUL or CR"},
	{"Status: 100 Continue\n\n", 0, "is no status"},
	{"Status: 000\n\n", 0, "is no status"},
	{"Status: 20\n\n", 0, "is no status"},
	{"Status: 2000\n\n", 0, "is no status"},
	{"Status: OK\n\n", 0, "is no status"},
	{"HTTP/1.1 100 Continue\n\n", 0, "is no status"},
	{"Status: 200\nStatus: 404\n\n", 0, "two Status fields"},
}

func TestHeads(t *testing.T) {
	for _, test := range headTests {
		if end := headEnd([]byte(test.in+"body\n\n"), 0); end != len(test.in) {
			t.Errorf("%q: the body begins at %d, want %d", test.in, end, len(test.in))
		}
		h, err := parseHead([]byte(test.in), "")
		switch {
		case test.code == 0 && (err == nil || !strings.Contains(err.Error(), test.out)):
			t.Errorf("%q: got %q, %v; want error %q", test.in, h.text, err, test.out)
		case test.code != 0 && (err != nil || h.code != test.code || string(h.text) != test.out):
			t.Errorf("%q: got %d %q, %v", test.in, h.code, h.text, err)
		}
	}
}

func TestHeadIsFoundHoweverItComes(t *testing.T) {
	big := "X-Big: " + strings.Repeat("x", 60000) + "\r\n\r\n"
	for _, in := range []string{"A: b\n\nrest", "A: b\r\n\r\nrest", "A: b\n\r\nrest", "\nrest", "\r\nrest", big + "rest"} {
		b, end, err := readHead(iotest.OneByteReader(strings.NewReader(in)))
		if err != nil || string(b[:end])+"rest" != in {
			t.Errorf("%.20q: %.20q, %v", in, b[:end], err)
		}
		if b, end, err = readHead(strings.NewReader(in)); err != nil || string(b[:end])+"rest" != in {
			t.Errorf("%.20q: %.20q, %v", in, b[:end], err)
		}
	}
	for in, want := range map[string]string{
		"":                         errNothing.Error(),
		"A: b\n":                   "has no end",
		strings.Repeat("x", 70000): errLongHead.Error(),
		"A: " + strings.Repeat("x", maxHead) + "\n\n": errLongHead.Error(),
	} {
		if _, _, err := readHead(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", in, err, want)
		}
	}
}

// What a program can make of its header is always a reply that a client reads.
func FuzzParseHead(f *testing.F) {
	for _, test := range headTests {
		f.Add([]byte(test.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		end := headEnd(in, 0)
		if end < 0 || end > maxHead {
			return
		}
		for from := 0; from <= end; from++ { // wherever the reads were cut
			if headEnd(in[:end-1], 0) >= 0 || from < end && headEnd(in[:end], from) != end {
				t.Fatalf("%q: another end from %d on", in, from)
			}
		}
		h, err := parseHead(in[:end], "")
		if err != nil {
			return
		}
		resp, err := scgi.ReadResponse(bufio.NewReader(bytes.NewReader(h.text)), nil)
		if err != nil {
			if strings.Contains(err.Error(), "Content-Length") {
				return // the program's own affair: it is passed on
			}
			t.Fatalf("%q became %q: %v", in, h.text, err)
		}
		if resp.StatusCode != h.code {
			t.Fatalf("%q: status %d, told %d", in, resp.StatusCode, h.code)
		}
	})
}
