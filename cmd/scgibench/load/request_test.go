package load

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/scgid/scgid/worker/scgi"
)

// wire is the whole request as it is sent in pieces of n bytes.
func wire(t *testing.T, l *Load, n int) []byte {
	t.Helper()
	req, err := l.request()
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for int64(len(all)) < req.size {
		b := req.after(int64(len(all)))
		all = append(all, b[:min(n, len(b))]...)
	}
	if int64(len(all)) != req.size {
		t.Fatalf("%d bytes, want %d", len(all), req.size)
	}
	return all
}

// variables takes a request apart by the words of the SCGI specification.
func variables(t *testing.T, wire []byte) (vars map[string]string, body []byte) {
	t.Helper()
	digits, rest, _ := bytes.Cut(wire, []byte(":"))
	n, err := strconv.Atoi(string(digits))
	if err != nil || rest[n] != ',' {
		t.Fatalf("not a netstring: %.40q", wire)
	}
	fields := strings.Split(string(rest[:n]), "\x00")
	vars = map[string]string{}
	for i := 0; i+1 < len(fields); i += 2 {
		vars[fields[i]] = fields[i+1]
	}
	if fields[0] != "CONTENT_LENGTH" {
		t.Errorf("first variable is %s", fields[0])
	}
	return vars, rest[n+1:]
}

func TestRequestHoldsWhatWasAskedFor(t *testing.T) {
	l := &Load{URI: "/a/b?c=d", Body: 200_000,
		Vars: []scgi.Var{{Name: "HTTP_HOST", Value: "other"}, {Name: "NEW", Value: "1"}}}
	vars, body := variables(t, wire(t, l, 1000))
	for name, want := range map[string]string{
		"CONTENT_LENGTH": "200000", "SCGI": "1", "REQUEST_METHOD": "POST", "REQUEST_URI": "/a/b?c=d",
		"PATH_INFO": "/a/b", "QUERY_STRING": "c=d", "HTTP_HOST": "other", "NEW": "1",
	} {
		if vars[name] != want {
			t.Errorf("%s is %q, want %q", name, vars[name], want)
		}
	}
	if len(body) != 200_000 || !bytes.Equal(body, bytes.Repeat([]byte("0123456789abcde\n"), 12_500)) {
		t.Errorf("the body has %d bytes or is not the pattern", len(body))
	}
}

func TestRequestIsThatOfAUsualWebServer(t *testing.T) {
	vars, body := variables(t, wire(t, &Load{}, 1<<20))
	if len(vars) != 22 || vars["REQUEST_METHOD"] != "GET" || len(body) != 0 {
		t.Errorf("%d variables, method %s, %d bytes of body", len(vars), vars["REQUEST_METHOD"], len(body))
	}
}

func TestRequestIsRefusedBeforeItIsSent(t *testing.T) {
	for _, v := range []scgi.Var{{Name: "CONTENT_LENGTH", Value: "1"}, {Name: "A", Value: "\x00"}, {Name: "", Value: "x"}} {
		l := &Load{Address: "/x", Requests: 1, Vars: []scgi.Var{v}}
		if l.Check() == nil {
			t.Errorf("%q is accepted", v)
		}
	}
}

func TestAddressesAreTold(t *testing.T) {
	for _, s := range []string{"/run/x", "unix:/run/x", "unix:x", "@x", "unix:@x", "127.0.0.1:1", "[::1]:1", "localhost:1", ":4000"} {
		if _, err := resolve(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "x", "@", "unix:", "127.0.0.1", "127.0.0.1:0", "1:x", "/" + strings.Repeat("x", 108), "/a\x00b"} {
		if _, err := resolve(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestWhatCannotBeMeantIsRefused(t *testing.T) {
	for _, l := range []*Load{
		{}, {Clients: -1, Requests: 1}, {Clients: MaxClients + 1, Requests: 1}, {Requests: -1}, {Duration: -1},
		{Requests: 1, Pause: -1}, {Requests: 1, Timeout: -1}, {Requests: 1, Body: -1}, {Requests: 1, Body: MaxBody + 1},
		{Requests: 1, Clients: 2, Threads: 3},
	} {
		l.Address = "/x"
		if err := l.Check(); err == nil {
			t.Errorf("accepted: clients %d, requests %d", l.Clients, l.Requests)
		}
	}
}

func TestHTTPIsSentToAWebServer(t *testing.T) {
	l := &Load{Address: "/s", Requests: 1, HTTP: true, URI: "/rows?a=b", Body: 3}
	run, err := l.prepare()
	if err != nil {
		t.Fatal(err)
	}
	text := string(run.req.after(0))
	if !strings.HasPrefix(text, "POST /rows?a=b HTTP/1.0\r\n") || !strings.Contains(text, "\r\nContent-Length: 3\r\n") ||
		!strings.HasSuffix(text, "\r\n\r\n012") {
		t.Errorf("%q", text)
	}
	l.Vars = []scgi.Var{{Name: "A", Value: "b"}}
	if err := l.Check(); err == nil {
		t.Error("variables are accepted")
	}
}
