package scgi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience ends tests that hang. It decides nothing else.
const patience = 20 * time.Second

// serve answers each connection to a Unix socket with handle, which gets the
// request and the connection, and returns the client for it.
func serve(t *testing.T, handle func(*Request, net.Conn)) *Transport {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				q, err := ReadRequest(bufio.NewReader(conn), 0)
				if err != nil {
					t.Errorf("server cannot read request: %v", err)
					return
				}
				handle(q, conn)
			}()
		}
	}()
	return &Transport{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
}

func reply(conn net.Conn, s string) { io.WriteString(conn, s) }

func request(t *testing.T, method string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, "http://example.org/a?b", body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkFDs fails the test if it leaves descriptors open.
func checkFDs(t *testing.T) {
	t.Helper()
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("needs /proc: %v", err)
		}
		return len(all)
	}
	// The runtime opens its poller with the first socket, and keeps it.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	before := count()
	t.Cleanup(func() {
		for end := time.Now().Add(patience); count() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) { // the server's side closes on its own time
				t.Errorf("%d descriptors before, %d after", before, count())
				return
			}
		}
	})
}

// A closeNotice is a body that tells when it was closed.
type closeNotice struct {
	io.Reader
	closed chan struct{}
}

func notice(r io.Reader) *closeNotice { return &closeNotice{r, make(chan struct{}, 9)} }

func (c *closeNotice) Close() error { c.closed <- struct{}{}; return nil }

func (c *closeNotice) wait(t *testing.T) {
	t.Helper()
	select {
	case <-c.closed:
	case <-time.After(patience):
		t.Error("request body was not closed")
	}
}

func TestRoundTrip(t *testing.T) {
	checkFDs(t)
	client := &http.Client{Transport: serve(t, func(q *Request, conn net.Conn) {
		b, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		reply(conn, "Status: 201 Made\r\nX-Uri: "+q.Header.Get("REQUEST_URI")+"\r\n\r\n"+q.Header.Get("REQUEST_METHOD")+" "+string(b))
	})}
	p, err := client.Post("http://example.org/a?b", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Body.Close()
	b, err := io.ReadAll(p.Body)
	if p.Status != "201 Made" || p.Header.Get("X-Uri") != "/a?b" || string(b) != "POST body" || err != nil {
		t.Errorf("%s %v %q, %v", p.Status, p.Header, b, err)
	}
}

func TestRoundTripSendsVarsThatOverride(t *testing.T) {
	got := make(chan Header, 1)
	tr := serve(t, func(q *Request, conn net.Conn) {
		got <- q.Header
		reply(conn, "Status: 200 OK\r\n\r\n")
	})
	tr.Vars = []Var{{"SCRIPT_NAME", "/app"}, {"REMOTE_USER", "me"}, {"HTTP_HOST", "other"}}
	p, err := tr.RoundTrip(request(t, "GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	p.Body.Close()
	h := <-got
	checkVars(t, h, map[string]string{"SCRIPT_NAME": "/app", "REMOTE_USER": "me", "HTTP_HOST": "other", "PATH_INFO": "/a", "SCGI": "1"})
	if h[0] != (Var{"CONTENT_LENGTH", "0"}) || h[1] != (Var{"SCGI", "1"}) {
		t.Errorf("header begins with %q", h[:2])
	}
}

func TestTenMegabytesBothWaysDoNotDeadlock(t *testing.T) {
	const size = 10 << 20
	for _, echo := range []bool{true, false} { // as it comes, or reply first and only then read
		tr := serve(t, func(q *Request, conn net.Conn) {
			reply(conn, "Status: 200 OK\r\n\r\n")
			if echo {
				io.Copy(conn, q.Body)
				return
			}
			conn.Write(make([]byte, size))
			if n, err := io.Copy(io.Discard, q.Body); n != size || err != nil {
				t.Errorf("server got %d bytes, %v", n, err)
			}
		})
		sent := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		if !echo {
			clear(sent)
		}
		p, err := tr.RoundTrip(request(t, "POST", bytes.NewReader(sent)))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		n, err := io.Copy(sum, p.Body)
		p.Body.Close()
		if want := sha256.Sum256(sent); n != size || err != nil || !bytes.Equal(sum.Sum(nil), want[:]) {
			t.Errorf("echo %v: %d bytes, %v; or they changed", echo, n, err)
		}
	}
}

func TestAnAnswerBeforeTheBodyWasReadArrives(t *testing.T) {
	checkFDs(t)
	tr := serve(t, func(q *Request, conn net.Conn) {
		reply(conn, "Status: 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		conn.(*net.UnixConn).CloseWrite()
		io.CopyN(io.Discard, q.Body, 1<<20) // then close with bytes unread
	})
	body := notice(bytes.NewReader(make([]byte, 10<<20)))
	r := request(t, "POST", body)
	r.ContentLength = 10 << 20
	p, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(p.Body)
	if p.StatusCode != 413 || string(b) != "no" || err != nil {
		t.Errorf("%s %q, %v", p.Status, b, err)
	}
	p.Body.Close()
	body.wait(t)
}

// A stuckBody gives nothing until it is closed.
type stuckBody struct{ closed chan struct{} }

func (s stuckBody) Read([]byte) (int, error) { <-s.closed; return 0, errors.New("closed") }
func (s stuckBody) Close() error             { close(s.closed); return nil }

func TestClosingTheReplyClosesABodyThatIsStuck(t *testing.T) {
	tr := serve(t, func(q *Request, conn net.Conn) { reply(conn, "Status: 413 Too Large\r\n\r\n") })
	body := stuckBody{make(chan struct{})}
	r := request(t, "POST", body)
	r.ContentLength = 1 << 20
	p, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	p.Body.Close()
	select {
	case <-body.closed:
	case <-time.After(patience):
		t.Error("request body was not closed")
	}
}

func TestCancelEndsEveryStage(t *testing.T) {
	checkFDs(t)
	silent := make(chan struct{}, 1) // the server has the request
	wait := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	stages := map[string]func(*Request, net.Conn){
		"before the reply": func(q *Request, conn net.Conn) { silent <- struct{}{}; wait(conn) },
		"in its header":    func(q *Request, conn net.Conn) { reply(conn, "Status: 200"); silent <- struct{}{}; wait(conn) },
		"in its body": func(q *Request, conn net.Conn) {
			reply(conn, "Status: 200 OK\r\n\r\nhi")
			silent <- struct{}{}
			wait(conn)
		},
	}
	for name, handle := range stages {
		tr := serve(t, handle)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-silent; cancel() }()
		p, err := tr.RoundTrip(request(t, "GET", nil).WithContext(ctx))
		if err == nil {
			_, err = io.ReadAll(p.Body)
			p.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCancelEndsASilentBody(t *testing.T) {
	for _, length := range []int64{-1, 5} {
		tr := serve(t, func(q *Request, conn net.Conn) { io.Copy(io.Discard, q.Body) })
		pr, pw := io.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		r := request(t, "POST", pr).WithContext(ctx)
		r.ContentLength = length
		go func() { pw.Write([]byte("x")); cancel() }()
		if _, err := tr.RoundTrip(r); !errors.Is(err, context.Canceled) {
			t.Errorf("length %d: %v", length, err)
		}
		if _, err := pw.Write([]byte("y")); err == nil { // hangs if the body stays open
			pw.Write([]byte("z"))
		}
	}
}

func TestBodiesOfUnknownLengthAreHeldWithinABound(t *testing.T) {
	tr := serve(t, func(q *Request, conn net.Conn) {
		n, err := io.Copy(io.Discard, q.Body)
		if n != q.ContentLength || err != nil {
			t.Errorf("server got %d of %d bytes, %v", n, q.ContentLength, err)
		}
		reply(conn, "Status: 200 OK\r\nX-Length: "+q.Header.Get("CONTENT_LENGTH")+"\r\n\r\n")
	})
	for size, want := range map[int]string{0: "0", 5: "5", MaxBufferedBody: "1048576", MaxBufferedBody + 1: ""} {
		body := notice(bytes.NewReader(make([]byte, size)))
		r := request(t, "POST", body)
		r.ContentLength = -1
		p, err := tr.RoundTrip(r)
		if want == "" {
			if err != ErrBodyLength {
				t.Errorf("%d bytes: %v", size, err)
			}
		} else if err != nil {
			t.Errorf("%d bytes: %v", size, err)
		} else {
			if got := p.Header.Get("X-Length"); got != want {
				t.Errorf("%d bytes: sent %s", size, got)
			}
			p.Body.Close()
		}
		body.wait(t)
	}
}

func TestABodyThatEndsEarlyFailsTheRequest(t *testing.T) {
	checkFDs(t)
	tr := serve(t, func(q *Request, conn net.Conn) {
		if _, err := io.ReadAll(q.Body); err != io.ErrUnexpectedEOF {
			t.Errorf("server: %v", err)
		}
	})
	body := notice(strings.NewReader("short"))
	r := request(t, "POST", body)
	r.ContentLength = 10
	if _, err := tr.RoundTrip(r); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "request body") {
		t.Error(err)
	}
	body.wait(t)
}

func TestRoundTripErrorsCloseEverything(t *testing.T) {
	checkFDs(t)
	dead := func(context.Context) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(t.TempDir(), "absent"))
	}
	for name, tt := range map[string]struct {
		tr   *Transport
		want func(error) bool
	}{
		"no server": {&Transport{Dial: dead}, func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		"NUL":       {&Transport{Dial: dead, Vars: []Var{{"A", "\x00"}}}, func(err error) bool { var bad *SyntaxError; return errors.As(err, &bad) }},
		"length":    {&Transport{Dial: dead, Vars: []Var{{"CONTENT_LENGTH", "9"}}}, func(err error) bool { return err == errLengthTwice }},
		"closed": {serve(t, func(q *Request, conn net.Conn) { io.ReadAll(q.Body) }),
			func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"no CGI": {serve(t, func(q *Request, conn net.Conn) { io.ReadAll(q.Body); reply(conn, "nonsense\n") }),
			func(err error) bool { return strings.Contains(err.Error(), "has no end; the output begins") }},
	} {
		body := notice(strings.NewReader("body"))
		r := request(t, "POST", body)
		r.ContentLength = 4
		if _, err := tt.tr.RoundTrip(r); err == nil || !tt.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		body.wait(t)
	}
}

func TestMaxResponseHeaderIsHeld(t *testing.T) {
	tr := serve(t, func(q *Request, conn net.Conn) { reply(conn, "X: "+strings.Repeat("y", 200)+"\r\n\r\n") })
	tr.MaxResponseHeader = 100
	if _, err := tr.RoundTrip(request(t, "GET", nil)); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Error(err)
	}
	tr.MaxResponseHeader = 300
	p, err := tr.RoundTrip(request(t, "GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	p.Body.Close()
}

func TestClosingTheBodyClosesTheConnection(t *testing.T) {
	closed := make(chan struct{})
	tr := serve(t, func(q *Request, conn net.Conn) {
		reply(conn, "Status: 200 OK\r\n\r\nendless")
		io.Copy(io.Discard, conn) // ends when the client closes
		close(closed)
	})
	p, err := tr.RoundTrip(request(t, "GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("the server still waits")
	}
}

// The way a small HTTP front uses it.
func TestReverseProxyOverSCGI(t *testing.T) {
	tr := serve(t, func(q *Request, conn net.Conn) {
		b, _ := io.ReadAll(q.Body)
		reply(conn, "Content-Type: text/plain\r\n\r\n"+q.Header.Get("REQUEST_URI")+" "+q.Header.Get("PATH_INFO")+" "+q.Header.Get("REMOTE_ADDR")+" "+string(b))
	})
	front := httptest.NewServer(&httputil.ReverseProxy{Transport: tr, Rewrite: func(*httputil.ProxyRequest) {}})
	defer front.Close()
	u, _ := url.Parse(front.URL + "/a%2Fb//c?d")
	p, err := front.Client().Post(u.String(), "text/plain", io.MultiReader(strings.NewReader("chunked"))) // no length known
	if err != nil {
		t.Fatal(err)
	}
	defer p.Body.Close()
	b, err := io.ReadAll(p.Body)
	if want := "/a%2Fb//c?d /a/b//c 127.0.0.1 chunked"; string(b) != want || err != nil {
		t.Errorf("%s %q, %v; want %q", p.Status, b, err, want)
	}
}
