package worker

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// large is more than sockets hold.
const large = 10 << 20

// unfinished is a POST of body that lacks its last byte.
func unfinished(body string) []byte {
	b := post(body)
	return b[:len(b)-1]
}

func largeBody() string { return strings.Repeat("some text that is long \n", large/24) }

func ignoreBody(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) }

func echo(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }

// flushFirst begins its reply before it reads.
func flushFirst(w http.ResponseWriter, r *http.Request) {
	w.(http.Flusher).Flush()
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	fmt.Fprintf(w, "%d %v %x", n, err, sum.Sum(nil))
}

// bothAtOnce reads in one goroutine and writes in another.
func bothAtOnce(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	read := make(chan bool)
	go func() {
		defer close(read)
		io.Copy(sum, r.Body)
	}()
	for range 10 {
		w.Write(make([]byte, 1<<20))
	}
	<-read
	fmt.Fprintf(w, "%x", sum.Sum(nil))
}

func TestClientMaySendAllBeforeItReads(t *testing.T) {
	body := largeBody()
	sum := sha256.Sum256([]byte(body))
	for _, test := range []struct {
		name string
		h    http.HandlerFunc
		want string
	}{
		{"the body is ignored", ignoreBody, string(make([]byte, 1<<20))},
		{"echo", echo, body},
		{"flush first", flushFirst, fmt.Sprintf("%d <nil> %x", len(body), sum)},
		{"both at once", bothAtOnce, string(make([]byte, 10<<20)) + fmt.Sprintf("%x", sum)},
		{"a file", func(w http.ResponseWriter, r *http.Request) {
			copyFile(t, w, os.Args[0])
		}, fileText(t, os.Args[0])},
	} {
		for _, network := range []string{"unix", "tcp"} {
			t.Run(test.name+", "+network, func(t *testing.T) {
				m, _ := serve(t, test.h)
				reply, done := m.exchange(network, post(body))
				_, got, _ := strings.Cut(reply, "\r\n\r\n")
				if got != test.want || done.Code != 200 {
					t.Errorf("CODE=%d, %d bytes, want %d", done.Code, len(got), len(test.want))
				}
			})
		}
	}
}

func fileText(t *testing.T, name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// nginx sends no more of a body than it has when the reply begins.
func TestBodyComesBeforeTheReplyBegins(t *testing.T) {
	gather := func(o *options) { o.gatherGap, o.gatherTime = patience, patience } // however slow this machine is
	body := largeBody()
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.(*reply).body.patience = time.Second
				echo(w, r)
			}, gather)
			conn, _ := m.dial(network)
			sent := sendUntilReplied(t, conn, post(body))
			reply, err := io.ReadAll(conn)
			if _, got, _ := strings.Cut(string(reply), "\r\n\r\n"); err != nil || got != body {
				t.Errorf("%d bytes were sent, %d came back, want %d, error %v", sent, len(got), len(body), err)
			}
		})
	}
}

// sendUntilReplied sends b in parts, and no more once the reply has begun.
func sendUntilReplied(t *testing.T, conn net.Conn, b []byte) (sent int) {
	t.Helper()
	for sent < len(b) && !hasReply(conn) {
		n, err := conn.Write(b[sent:min(sent+1<<14, len(b))])
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	return sent
}

func hasReply(conn net.Conn) bool {
	n := 0
	if raw, err := conn.(syscall.Conn).SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			n, _, _ = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		})
	}
	return n > 0
}

// A body that does not come is not waited for long.
func TestReplyBeginsWithoutTheBody(t *testing.T) {
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
		w.(http.Flusher).Flush()
		got, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v\n", got, err)
	})
	conn, id := m.dial("unix")
	b := post("12345")
	conn.Write(b[:len(b)-2])
	r := bufio.NewReader(conn)
	for readLine(t, r) != "hello\n" {
	}
	conn.Write(b[len(b)-2:])
	if got := readLine(t, r); got != "12345 <nil>\n" {
		t.Errorf("%q", got)
	}
	m.done(id)
}

func TestDeadlinesOfReadsDuringAReply(t *testing.T) {
	for _, test := range []struct {
		name string
		wait time.Duration // as of ReadTimeout
		set  func(*http.ResponseController)
	}{
		{"ReadTimeout", 30 * time.Millisecond, func(*http.ResponseController) {}},
		{"set before", time.Minute, func(c *http.ResponseController) { c.SetReadDeadline(time.Now().Add(30 * time.Millisecond)) }},
		{"set meanwhile", time.Minute, func(c *http.ResponseController) {
			time.AfterFunc(30*time.Millisecond, func() { c.SetReadDeadline(time.Unix(1, 0)) })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			type result struct {
				got      []byte
				err      error
				past, in error // of reads and writes behind the deadline
			}
			results := make(chan result, 1)
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.(*reply).body.patience = test.wait
				c := http.NewResponseController(w)
				c.Flush()
				test.set(c)
				got, err := io.ReadAll(r.Body)
				_, past := r.Body.Read(make([]byte, 1))
				results <- result{got, err, past, c.Flush()}
			})
			conn, _ := m.dial("unix")
			conn.Write(unfinished("body"))
			got := <-results
			if string(got.got) != "bod" || !os.IsTimeout(got.err) || !os.IsTimeout(got.past) || got.in != nil {
				t.Errorf("%q, errors %v, %v and %v; want a timeout twice", got.got, got.err, got.past, got.in)
			}
			conn.Close()
		})
	}
}

func TestLaterDeadlineRevivesReadsDuringAReply(t *testing.T) {
	timedOut := make(chan error, 1)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		c.Flush()
		c.SetReadDeadline(time.Now())
		_, err := r.Body.Read(make([]byte, 9))
		c.SetReadDeadline(time.Time{})
		timedOut <- err
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v", b, err)
	})
	conn, _ := m.dial("unix")
	b := post("x")
	conn.Write(b[:len(b)-1])
	if err := <-timedOut; !os.IsTimeout(err) {
		t.Errorf("%v, want a timeout", err)
	}
	conn.Write(b[len(b)-1:])
	if got, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(got), "x <nil>") {
		t.Errorf("%q, error %v", got, err)
	}
}

// The wait for a body leaves time to write.
func TestWriteDeadlineIncludesTheWaitForABody(t *testing.T) {
	failed := make(chan error, 1)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		c.SetWriteDeadline(time.Now().Add(drainTime * 3 / 4))
		failed <- c.Flush()
	})
	conn, _ := m.dial("unix")
	b := post(strings.Repeat("x", 1<<20))
	conn.Write(b[:1<<10])
	for trickle := time.NewTicker(newOptions(nil).gatherGap / 4); ; conn.Write([]byte("x")) {
		select {
		case <-trickle.C:
			continue
		case err := <-failed:
			if err != nil {
				t.Error(err)
			}
		}
		break
	}
	conn.Close()
}

func TestBodyThatCannotBeKept(t *testing.T) {
	t.Setenv("TMPDIR", "/nonexistent")
	failed := make(chan error, 1)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 1<<20))
		_, err := io.Copy(io.Discard, r.Body)
		failed <- err
	})
	reply, _ := m.exchange("unix", post(largeBody()))
	if _, got, _ := strings.Cut(reply, "\r\n\r\n"); len(got) != 1<<20 {
		t.Errorf("%d bytes, want %d", len(got), 1<<20)
	}
	if err := <-failed; !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "cannot keep the request's body: ") {
		t.Errorf("the handler read on and got %v", err)
	}
}

func TestBodyThatBreaksOffDuringAReply(t *testing.T) {
	failed := make(chan error, 1)
	m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		got, err := io.ReadAll(r.Body)
		failed <- fmt.Errorf("%s: %w", got, err)
	})
	conn, _ := m.dial("unix")
	conn.Write(unfinished("body"))
	conn.(*net.UnixConn).CloseWrite()
	if err := <-failed; !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(err.Error(), "bod: ") {
		t.Errorf("%v, want io.ErrUnexpectedEOF", err)
	}
}

// What receives ahead waits for the client when it is sending, and for a
// reader when it is not; either way it ends with the request.
func TestReadingAheadEndsWithTheRequest(t *testing.T) {
	for _, test := range []struct{ name, rest string }{
		{"waiting for the client", ""},
		{"waiting for a reader", strings.Repeat("x", 400_000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := make(chan bool)
			hold := make(chan bool)
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				close(began)
				<-hold
			})
			conn, id := m.dial("unix")
			b := unfinished(test.rest + "body")
			conn.Write(b[:len(b)-len(test.rest)])
			<-began
			if !isReadingAhead() {
				t.Error("nothing reads ahead")
			}
			sent := make(chan bool)
			go func() {
				conn.Write(b[len(b)-len(test.rest):])
				close(sent)
			}()
			close(hold)
			<-sent
			if got, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(got), "Status: 200") {
				t.Errorf("%q, error %v", got, err)
			}
			conn.Close()
			m.done(id)
			if isReadingAhead() {
				t.Error("something still reads ahead")
			}
		})
	}
}

func isReadingAhead() bool {
	var b bytes.Buffer
	dumpStacks(&b)
	return strings.Contains(b.String(), "(*body).readAhead")
}

func TestWhoReadsFirstPaysNothing(t *testing.T) {
	for _, test := range []struct {
		name, body string
		h          http.HandlerFunc
	}{
		{"no body", "", func(http.ResponseWriter, *http.Request) {}},
		{"read whole", largeBody(), func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }},
		{"came with the header", "small", func(http.ResponseWriter, *http.Request) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ahead := make(chan bool, 1)
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				test.h(w, r)
				w.Write(make([]byte, 1<<20))
				ahead <- w.(*reply).body.ahead
			})
			reply, _ := m.exchange("unix", post(test.body))
			if _, got, _ := strings.Cut(reply, "\r\n\r\n"); len(got) != 1<<20 || <-ahead {
				t.Errorf("%d bytes, or a goroutine was started to read ahead", len(got))
			}
		})
	}
}
