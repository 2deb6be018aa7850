package worker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scgid/scgid/worker/link"
	"github.com/scgid/scgid/worker/scgi"
)

func TestServeWithoutAMaster(t *testing.T) {
	if err := Serve(context.Background(), nil); err != link.ErrNoMaster {
		t.Errorf("%v, want link.ErrNoMaster", err)
	}
}

func TestServeSaysReady(t *testing.T) {
	checkFDs(t)
	m, worker := newMaster(t)
	inherit(t, worker)
	ended := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- Serve(ctx, nil, Slots(3)) }()
	if got := <-m.ready; got.Slots != 3 || string(got.DumpSignal) != "USR2" {
		t.Errorf("ready with %d slots, dump signal %q", got.Slots, got.DumpSignal)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	m.close()
}

func TestSlotsAreBounded(t *testing.T) {
	checkFDs(t)
	for _, n := range []int{0, -1, link.MaxSlots + 1} {
		m, worker := newMaster(t)
		inherit(t, worker)
		if err := Serve(context.Background(), nil, Slots(n)); err == nil {
			t.Errorf("%d slots were taken", n)
		}
		m.close()
	}
}

func TestBadRequestsAreAnswered(t *testing.T) {
	m, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		t.Error("the handler was called")
	}, MaxHeader(4096))
	for _, test := range []struct {
		name, request, want string
		code                int
	}{
		{"no netstring", "GET / HTTP/1.1\r\n", "Status: 400 Bad Request\r\n", 400},
		{"wrong comma", "20:CONTENT_LENGTH\x000\x00ab\x00;", "Status: 400 Bad Request\r\n", 400},
		{"no method", "24:CONTENT_LENGTH\x000\x00SCGI\x001\x00,", "Status: 400 Bad Request\r\n", 400},
		{"too large", "99999:", "Status: 431 Request Header Fields Too Large\r\n", 431},
		{"length unknown", "25:CONTENT_LENGTH\x00-1\x00SCGI\x001\x00,", "Status: 411 Length Required\r\n", 411},
	} {
		got, done := m.exchange("unix", []byte(test.request))
		if !strings.HasPrefix(got, test.want) || done.Code != test.code {
			t.Errorf("%s: %q, CODE=%d", test.name, got, done.Code)
		}
	}
	conn, id := m.dial("unix") // a health check
	conn.(*net.UnixConn).CloseWrite()
	if got, _ := io.ReadAll(conn); len(got) > 0 || m.done(id).Code != 0 {
		t.Errorf("nothing was sent, answered with %q", got)
	}
	conn, id = m.dial("unix")
	conn.Write([]byte("100:CONTENT"))
	conn.(*net.UnixConn).CloseWrite()
	if got, _ := io.ReadAll(conn); !strings.HasPrefix(string(got), "Status: 400 ") || m.done(id).Code != 400 {
		t.Errorf("a header that broke off: answered with %q", got)
	}
}

func TestHeaderAndBodyAreWaitedForWithinABound(t *testing.T) {
	failed := make(chan error, 1)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
	}, ReadTimeout(30*time.Millisecond))
	got, _ := m.exchange("unix", []byte("100:CONTENT"))
	if !strings.HasPrefix(got, "Status: 408 ") {
		t.Errorf("a header that does not come: %q", got)
	}
	conn, _ := m.dial("unix")
	head := request("/", "body", scgi.Var{Name: "REQUEST_METHOD", Value: "POST"})
	conn.Write(head[:len(head)-1])
	if err := <-failed; !os.IsTimeout(err) {
		t.Errorf("a body that does not come: %v, want a timeout", err)
	}
	conn.Close()
}

func TestHandlerSetsItsOwnReadDeadline(t *testing.T) {
	failed := make(chan error, 1)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := io.ReadAll(r.Body)
		failed <- err
	})
	conn, _ := m.dial("unix")
	head := request("/", "body", scgi.Var{Name: "REQUEST_METHOD", Value: "POST"})
	conn.Write(head[:len(head)-1])
	if err := <-failed; !os.IsTimeout(err) {
		t.Errorf("%v, want a timeout", err)
	}
	conn.Close()
}

// This client reads while it writes; TestClientMaySendAllBeforeItReads has one
// that does not.
func TestLargeBodiesBothWays(t *testing.T) {
	const size = 10 << 20
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/echo" {
			io.Copy(w, r.Body)
			return
		}
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%d %v %x\n", n, err, sum.Sum(nil))
		w.Write(bytes.Repeat([]byte("0123456789abcdef"), size/16))
	}, Slots(2))
	body := bytes.Repeat([]byte("some text that is long \n"), size/24)
	for _, network := range []string{"unix", "tcp"} {
		for _, path := range []string{"/echo", "/sum"} {
			resp, err := m.client(network).Post("http://h"+path, "text/plain", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			want := string(body)
			if path == "/sum" {
				want = fmt.Sprintf("%d <nil> %x\n", len(body), sha256.Sum256(body)) + strings.Repeat("0123456789abcdef", size/16)
			}
			if err != nil || string(got) != want {
				t.Errorf("%s %s: %d bytes, want %d, error %v", network, path, len(got), len(want), err)
			}
		}
	}
}

func TestReplySurvivesAnUnreadBody(t *testing.T) {
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no", http.StatusRequestEntityTooLarge)
	})
	for _, network := range []string{"unix", "tcp"} {
		for _, size := range []int{1, 5000, 10 << 20} {
			body := strings.Repeat("x", size)
			got, done := m.exchange(network, request("/", body, scgi.Var{Name: "REQUEST_METHOD", Value: "POST"}))
			if !strings.HasPrefix(got, "Status: 413 ") || !strings.HasSuffix(got, "no\n") || done.Code != 413 {
				t.Errorf("%s, %d bytes: %q", network, size, got)
			}
		}
	}
}

func TestReplySurvivesMoreBodyThanStated(t *testing.T) {
	m, _ := serve(t, write("fine"))
	for _, network := range []string{"unix", "tcp"} {
		conn, id := m.dial(network)
		conn.Write(append(request("/", ""), "and more"...))
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(got), "fine") {
			t.Errorf("%s: %q, error %v", network, got, err)
		}
		conn.Close() // which ends the drain
		m.done(id)
	}
}

// The surplus lies in the socket when the handler has read the last byte of
// the body, and the client is slow.
func TestReplySurvivesMoreBodyThanWasRead(t *testing.T) {
	const size = 150_000
	reply := strings.Repeat("0123456789", 10_000)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.ReadFull(r.Body, make([]byte, size)); err != nil {
			t.Errorf("%d bytes of the body, error %v", n, err)
		}
		io.WriteString(w, reply)
	}, Slots(2))
	ids := make(map[net.Conn]uint64)
	for _, network := range []string{"unix", "tcp"} {
		conn, id := m.dial(network)
		conn.Write(append(post(strings.Repeat("b", size)), strings.Repeat("s", 100)...))
		ids[conn] = id
	}
	for conn, id := range ids {
		m.done(id)
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(got), "\r\n\r\n"+reply) {
			t.Errorf("%s: %d bytes, error %v", conn.LocalAddr().Network(), len(got), err)
		}
	}
}

func TestBodyBelongsToTheHandlerOnlyWhileItRuns(t *testing.T) {
	bodies := make(chan io.ReadCloser, 1)
	writers := make(chan http.ResponseWriter, 1)
	started := make(chan bool)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		bodies <- r.Body
		writers <- w
		go func() { // left behind in a read
			close(started)
			io.ReadAll(r.Body)
		}()
		<-started
	})
	conn, id := m.dial("unix")
	head := request("/", "body", scgi.Var{Name: "REQUEST_METHOD", Value: "POST"})
	conn.Write(head[:len(head)-1])
	if got, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(got), "Status: 200") {
		t.Errorf("%q, error %v", got, err)
	}
	conn.Close()
	m.done(id)
	if _, err := (<-bodies).Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Errorf("read after the handler returned: %v", err)
	}
	if _, err := (<-writers).Write([]byte("x")); err != errOver {
		t.Errorf("write after the handler returned: %v", err)
	}
}

func TestContextEndsWhenTheClientLeaves(t *testing.T) {
	for _, test := range []struct {
		name, network, body string
		leave               func(net.Conn)
	}{
		{"unix", "unix", "", func(c net.Conn) { c.Close() }},
		{"unix, after the body", "unix", "a body", func(c net.Conn) { c.Close() }},
		{"tcp reset", "tcp", "", func(c net.Conn) {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}},
		{"unix, half-closed first", "unix", "", func(c net.Conn) {
			c.(*net.UnixConn).CloseWrite()
			c.Close()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			reading := make(chan bool, 1)
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.ReadAll(r.Body)
				reading <- true
				select {
				case <-r.Context().Done():
					w.WriteHeader(499)
				case <-time.After(patience):
				}
			})
			conn, id := m.dial(test.network)
			conn.Write(request("/", test.body, scgi.Var{Name: "REQUEST_METHOD", Value: "POST"}))
			<-reading
			test.leave(conn)
			if done := m.done(id); done.Code != 499 {
				t.Errorf("CODE=%d: the context did not end", done.Code)
			}
		})
	}
}

// The client is watched only when somebody asks, and there are many ways to ask.
func TestContextEndsHoweverItIsLookedAt(t *testing.T) {
	for name, ends := range map[string]func(context.Context) bool{
		"Err":   func(ctx context.Context) bool { return ctx.Err() == context.Canceled },
		"Cause": func(ctx context.Context) bool { return context.Cause(ctx) == context.Canceled },
		"AfterFunc": func(ctx context.Context) bool {
			called := make(chan bool)
			defer context.AfterFunc(ctx, func() { close(called) })()
			return isClosed(called)
		},
		"WithCancel": func(ctx context.Context) bool {
			ctx, cancel := context.WithCancel(context.WithValue(ctx, varsKey{}, nil))
			defer cancel()
			return isClosed(ctx.Done())
		},
		"WithTimeout": func(ctx context.Context) bool {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			return isClosed(ctx.Done())
		},
	} {
		t.Run(name, func(t *testing.T) {
			running, left := make(chan bool), make(chan bool)
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				running <- true
				<-left
				if ends(r.Context()) { // once, and late
					w.WriteHeader(499)
				}
			})
			conn, id := m.dial("unix")
			conn.Write(request("/", ""))
			<-running
			conn.Close()
			close(left)
			if done := m.done(id); done.Code != 499 {
				t.Errorf("CODE=%d: the context did not end", done.Code)
			}
		})
	}
}

func isClosed[T any](c <-chan T) bool {
	select {
	case <-c:
		return true
	case <-time.After(patience):
		return false
	}
}

// Web servers close as soon as they have the reply that was stated.
func TestContextOutlivesAReplyThatWasSentWhole(t *testing.T) {
	const size = 4 << 20 // more than sockets hold
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, method string
		code, body   int // of which the client reads the body, then leaves
		h            func(w http.ResponseWriter)
		want         string
	}{
		{"length", "GET", 200, size, func(w http.ResponseWriter) { w.Write(make([]byte, size)) }, "<nil>"},
		{"length, in parts", "POST", 200, size, func(w http.ResponseWriter) {
			w.Write(make([]byte, size-1))
			w.Write(make([]byte, 1))
		}, "<nil>"},
		{"file", "GET", 200, size, func(w http.ResponseWriter) { copyFile(t, w, file) }, "<nil>"},
		{"HEAD", "HEAD", 200, 0, func(http.ResponseWriter) {}, "<nil>"},
		{"204", "GET", 204, 0, func(http.ResponseWriter) {}, "<nil>"},
		{"304", "GET", 304, 0, func(http.ResponseWriter) {}, "<nil>"},
		{"a byte too few", "GET", 200, size - 1, func(w http.ResponseWriter) { w.Write(make([]byte, size-1)) }, "context canceled"},
		{"left in the middle", "GET", 200, 1, func(w http.ResponseWriter) {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			io.CopyN(w, zeros{}, size-1)
		}, "context canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			left, found := make(chan bool), make(chan error, 1)
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Length", strconv.Itoa(size))
				w.Header().Set("Content-Type", "x/y")
				w.WriteHeader(test.code)
				test.h(w)
				w.(http.Flusher).Flush()
				<-left
				wait := patience
				if test.want == "<nil>" { // that something does not happen can only be waited for
					wait = 100 * time.Millisecond
				}
				select {
				case <-r.Context().Done():
				case <-time.After(wait):
				}
				found <- r.Context().Err()
			})
			conn, _ := m.dial("unix")
			conn.Write(request("/", "body", scgi.Var{Name: "REQUEST_METHOD", Value: test.method}))
			r := bufio.NewReader(conn)
			for readLine(t, r) != "\r\n" {
			}
			if _, err := io.CopyN(io.Discard, r, int64(test.body)); err != nil {
				t.Error(err)
			}
			conn.Close()
			close(left)
			if err := <-found; fmt.Sprint(err) != test.want {
				t.Errorf("the context: %v, want %s", err, test.want)
			}
		})
	}
}

func copyFile(t *testing.T, w io.Writer, name string) {
	file, err := os.Open(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	if _, err := io.Copy(w, file); err != nil {
		t.Error(err)
	}
}

// zeros gives them in small pieces, so that many writes are made.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return min(len(p), 999), nil }

func TestHalfCloseIsNotGone(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				// That something does not happen can only be waited for.
				select {
				case <-r.Context().Done():
					io.WriteString(w, "gone")
				case <-time.After(100 * time.Millisecond):
					io.WriteString(w, "here")
				}
			})
			conn, _ := m.dial(network)
			conn.Write(request("/", ""))
			conn.(interface{ CloseWrite() error }).CloseWrite()
			if got, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(got), "here") {
				t.Errorf("%q, error %v", got, err)
			}
		})
	}
}

func TestSlotsServeAtATimeAndNoMore(t *testing.T) {
	const slots, requests = 4, 12
	var mu sync.Mutex
	now, most := 0, 0
	full := make(chan bool)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now++
		if most = max(most, now); now == slots {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		<-full
		mu.Lock()
		now--
		mu.Unlock()
	}, Slots(slots))
	var ids []uint64
	for range requests {
		conn, id := m.dial("unix")
		conn.Write(request("/", ""))
		ids = append(ids, id)
	}
	for _, id := range ids {
		m.done(id)
	}
	mu.Lock()
	defer mu.Unlock()
	if most != slots {
		t.Errorf("%d at a time, want %d", most, slots)
	}
}

func TestServeFinishesWhatItHolds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(m *master, cancel func())
	}{
		{"end of file", func(m *master, _ func()) { m.retire() }},
		{"context", func(_ *master, cancel func()) { cancel() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkFDs(t)
			m, worker := newMaster(t)
			inherit(t, worker)
			started, hold := make(chan bool, 9), make(chan bool)
			ctx, cancel := context.WithCancel(context.WithValue(context.Background(), varsKey{}, "kept"))
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				ended <- Serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					started <- true
					<-hold
					fmt.Fprint(w, r.Context().Err())
				}))
			}()
			<-m.ready
			var conns []net.Conn
			for range 3 { // one in work, two in the link
				conn, _ := m.dial("unix")
				conn.Write(request("/", ""))
				conns = append(conns, conn)
			}
			<-started
			test.end(m, cancel)
			close(hold)
			for _, conn := range conns {
				if got, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(got), "\r\n<nil>") {
					t.Errorf("%q, error %v", got, err)
				}
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			m.close()
		})
	}
}

func TestServeOutlivesItsMaster(t *testing.T) {
	checkFDs(t)
	m, worker := newMaster(t)
	inherit(t, worker)
	started, hold := make(chan bool), make(chan bool)
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(context.Background(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			started <- true
			<-hold
			io.WriteString(w, "late")
		}))
	}()
	<-m.ready
	conn, _ := m.dial("unix")
	conn.Write(request("/", ""))
	<-started
	m.close()
	close(hold)
	if got, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(got), "late") {
		t.Errorf("%q, error %v", got, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServeEndsWithAnErrorWhenTheMasterBreaksTheProtocol(t *testing.T) {
	checkFDs(t)
	m, worker := newMaster(t)
	inherit(t, worker)
	ended := make(chan error, 1)
	go func() { ended <- Serve(context.Background(), nil, Slots(3)) }()
	<-m.ready
	m.file.Write([]byte("CONN=1")) // without a descriptor
	var violation *link.ParseError
	if err := <-ended; !errors.As(err, &violation) {
		t.Errorf("%v, want a *link.ParseError", err)
	}
	m.close()
}

func TestRequestsLeaveNoDescriptor(t *testing.T) {
	m, _ := serve(t, write("x"), Slots(2)) // which counts
	client := m.client("unix")
	for range 1000 {
		resp, err := client.Get("http://h/")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
