package scgi

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// replyTests: a status of 0 means that the reply is refused.
var replyTests = []struct {
	name, method, in string
	status           string
	body             string
	length           int64
	bodyErr          error
}{
	{"plain", "GET", "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nhi", "200 OK", "hi", -1, nil},
	{"LF only", "GET", "Status: 404 Not Found\nContent-Type: text/plain\n\nhi\n", "404 Not Found", "hi\n", -1, nil},
	{"no status", "GET", "Content-Type: text/plain\r\n\r\nhi", "200 OK", "hi", -1, nil},
	{"status without text", "GET", "Status: 200\r\n\r\n", "200 OK", "", -1, nil},
	{"status with a space", "GET", "Status: 404 \r\n\r\n", "404 Not Found", "", -1, nil},
	{"status of its own", "GET", "Status: 299 x\r\n\r\n", "299 x", "", -1, nil},
	{"status in lower case, not first", "GET", "X: y\r\nstatus: 418 Tea\r\n\r\n", "418 Tea", "", -1, nil},
	{"status line", "GET", "HTTP/1.1 503 Busy\r\nX: y\r\n\r\nhi", "503 Busy", "hi", -1, nil},
	{"status line alone", "GET", "HTTP/1.0 200\n\nhi", "200 OK", "hi", -1, nil},
	{"status line and Status", "GET", "HTTP/1.1 201 A\r\nStatus: 202 B\r\n\r\n", "201 A", "", -1, nil},
	{"Location alone", "GET", "Location: /x\r\n\r\n", "302 Found", "", -1, nil},
	{"Location with 200", "GET", "Status: 200 OK\r\nLocation: /x\r\n\r\n", "200 OK", "", -1, nil},
	{"Location with 201", "GET", "Location: /x\r\nStatus: 201 Created\r\n\r\n", "201 Created", "", -1, nil},
	{"Location with body", "GET", "Location: /x\r\n\r\ngone", "302 Found", "gone", -1, nil},
	{"length fits", "GET", "Content-Length: 2\r\n\r\nhi", "200 OK", "hi", 2, nil},
	{"length too short", "GET", "Content-Length: 2\r\n\r\nhim", "200 OK", "hi", 2, nil},
	{"length too long", "GET", "Content-Length: 9\r\n\r\nhi", "200 OK", "hi", 9, io.ErrUnexpectedEOF},
	{"length 0", "GET", "Content-Length: 0\r\n\r\nhi", "200 OK", "", 0, nil},
	{"length twice, same", "GET", "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "200 OK", "hi", 2, nil},
	{"HEAD with body", "HEAD", "Content-Length: 2\r\n\r\nhi", "200 OK", "", 2, nil},
	{"HEAD without length", "HEAD", "Status: 200\r\n\r\nhi", "200 OK", "", -1, nil},
	{"204 with body", "GET", "Status: 204\r\n\r\nhi", "204 No Content", "", 0, nil},
	{"304 with body", "GET", "Status: 304\r\nContent-Length: 2\r\n\r\nhi", "304 Not Modified", "", 0, nil},
	{"header over a page", "GET", "X: " + strings.Repeat("x", 8192) + "\r\n\r\nhi", "200 OK", "hi", -1, nil},
	{"encoding not decoded", "GET", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 OK", "0\r\n\r\n", -1, nil},
	{"NUL and CR in body", "GET", "X: y\r\n\r\n\x00\r\x00", "200 OK", "\x00\r\x00", -1, nil},

	{name: "nothing"},
	{name: "no end of header", in: "Status: 200 OK\r\n"},
	{name: "line breaks off", in: "Status: 20"},
	{name: "empty header", in: "\r\nhi"},
	{name: "no header at all", in: "<html>\n</html>\n\n"},
	{name: "no colon", in: "X: y\r\nnonsense\r\n\r\n"},
	{name: "status line not first", in: "X: y\r\nHTTP/1.1 200 OK\r\n\r\n"},
	{name: "other protocol", in: "HTTP/2.0 200 OK\r\n\r\n"},
	{name: "empty name", in: ": y\r\n\r\n"},
	{name: "name with space", in: "X : y\r\n\r\n"},
	{name: "folded line", in: "X: y\r\n z: w\r\n\r\n"},
	{name: "NUL in header", in: "X: \x00\r\n\r\n"},
	{name: "CR in header", in: "X: a\rb\r\n\r\n"},
	{name: "status 100", in: "Status: 100 Continue\r\n\r\nStatus: 200 OK\r\n\r\n"},
	{name: "status 101", in: "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
	{name: "status 000", in: "Status: 000\r\n\r\n"},
	{name: "status empty", in: "Status:\r\n\r\n"},
	{name: "status +20", in: "Status: +20\r\n\r\n"},
	{name: "status of 4 digits", in: "Status: 2000\r\n\r\n"},
	{name: "status in words", in: "Status: OK\r\n\r\n"},
	{name: "bad Status after a status line", in: "HTTP/1.1 200 OK\r\nStatus: x\r\n\r\n"},
	{name: "two Status fields", in: "Status: 200 OK\r\nStatus: 404 Not Found\r\n\r\n"},
	{name: "negative length", in: "Content-Length: -1\r\n\r\n"},
	{name: "length with sign", in: "Content-Length: +1\r\n\r\n"},
	{name: "huge length", in: "Content-Length: 99999999999999999999\r\n\r\n"},
	{name: "two lengths", in: "Content-Length: 1\r\nContent-Length: 2\r\n\r\nhi"},
	{name: "huge header", in: strings.Repeat("X: y\r\n", 12000) + "\r\n"},
	{name: "huge line", in: "X: " + strings.Repeat("y", 70000) + "\r\n\r\n"},
}

func TestReadResponse(t *testing.T) {
	for _, tt := range replyTests {
		t.Run(tt.name, func(t *testing.T) {
			req := &http.Request{Method: tt.method}
			p, err := ReadResponse(bufio.NewReader(iotest.HalfReader(strings.NewReader(tt.in))), req)
			if tt.status == "" {
				if err == nil {
					t.Errorf("%s, want an error", p.Status)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Status != tt.status || p.ContentLength != tt.length || p.Request != req {
				t.Errorf("status %q, length %d; want %q, %d", p.Status, p.ContentLength, tt.status, tt.length)
			}
			if b, err := io.ReadAll(p.Body); string(b) != tt.body || err != tt.bodyErr {
				t.Errorf("body %q, %v; want %q, %v", b, err, tt.body, tt.bodyErr)
			}
			if p.Header["Status"] != nil {
				t.Error("Status is among the header fields")
			}
		})
	}
}

func TestReadResponsePassesFieldsOn(t *testing.T) {
	in := "Status: 200 OK\r\nX-Accel-Redirect: /files/a\r\nX-Sendfile:/srv/a\r\nX-LIGHTTPD-send-file: \t/srv/b \r\n" +
		"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nLocation: /x y\r\nEmpty:\r\n\r\n"
	p, err := ReadResponse(bufio.NewReader(strings.NewReader(in)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"X-Accel-Redirect": "/files/a", "X-Sendfile": "/srv/a", "X-Lighttpd-Send-File": "/srv/b",
		"Set-Cookie": "a=1|b=2", "Location": "/x y", "Empty": "",
	} {
		if got := strings.Join(p.Header[name], "|"); got != want || p.Header[name] == nil {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestReadResponseGivesTheHeadAtOnce(t *testing.T) {
	r, w := io.Pipe()
	go w.Write([]byte("Status: 200 OK\r\n\r\n")) // and nothing more for now
	p, err := ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { w.Write([]byte("later")); w.Close() }()
	if b, err := io.ReadAll(p.Body); string(b) != "later" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// However the bytes come, a header ends where its empty line ends.
func TestReplyHeadLeavesTheBodyUnread(t *testing.T) {
	big := "X-Big: " + strings.Repeat("x", 60000) + "\r\n\r\n"
	for _, in := range []string{"A: b\n\n", "A: b\r\n\r\n", "A: b\n\r\n", big} {
		for _, r := range []io.Reader{strings.NewReader(in + "rest"), iotest.OneByteReader(strings.NewReader(in + "rest"))} {
			b := bufio.NewReader(r)
			h, err := ReadReplyHead(b, 0)
			if err != nil || len(h.Fields) != 1 || h.Odd != nil {
				t.Errorf("%.20q: %v", in, err)
			}
			if rest, err := io.ReadAll(b); string(rest) != "rest" || err != nil {
				t.Errorf("%.20q: the rest is %q, %v", in, rest, err)
			}
		}
	}
}

func TestARefusedReplyHeadShowsHowTheOutputBegins(t *testing.T) {
	for in, want := range map[string]string{
		"<html>\n\nhi": `"<html>" is not a header field; the output begins "<html>\n\nhi"`,
		"oops":         `the header of its reply has no end; the output begins "oops"`,
		"\x1b[2J\n\n":  `"\x1b[2J" is not a header field; the output begins "\x1b[2J\n\n"`,
		"\n":           `its reply has no header; the output begins "\n"`,
	} {
		_, err := ReadReplyHead(bufio.NewReader(strings.NewReader(in)), 0)
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", in, err, want)
		}
	}
	_, err := ReadReplyHead(bufio.NewReader(strings.NewReader(strings.Repeat("x", 70000))), 0)
	if bad := new(HeadError); !errors.As(err, &bad) || len(bad.Begin) != maxBegin {
		t.Errorf("got %.100v", err)
	}
	if _, err := ReadReplyHead(bufio.NewReader(strings.NewReader("")), 0); err != io.EOF {
		t.Errorf("nothing: %v", err)
	}
}
