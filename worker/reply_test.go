package worker

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/worker/scgi"
)

func TestReplyForms(t *testing.T) {
	const html = "Content-Type: text/html; charset=utf-8\r\n"
	plain := "Content-Type: text/plain; charset=utf-8\r\n"
	for _, test := range []struct {
		name, method string
		h            http.HandlerFunc
		want         string
		code         int
	}{
		{"nothing", "GET", func(http.ResponseWriter, *http.Request) {}, "Status: 200 OK\r\nContent-Length: 0\r\n\r\n", 200},
		{"small", "GET", write("hello"), "Status: 200 OK\r\n" + plain + "Content-Length: 5\r\n\r\nhello", 200},
		{"sniffed", "GET", write("<html>"), "Status: 200 OK\r\n" + html + "Content-Length: 6\r\n\r\n<html>", 200},
		{"HEAD", "HEAD", write("hello"), "Status: 200 OK\r\n" + plain + "Content-Length: 5\r\n\r\n", 200},
		{"HEAD without a body", "HEAD", func(http.ResponseWriter, *http.Request) {}, "Status: 200 OK\r\n\r\n", 200},
		{"204", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			w.WriteHeader(204)
			if _, err := io.WriteString(w, "abc"); err != http.ErrBodyNotAllowed {
				t.Errorf("204 with a body: %v", err)
			}
		}, "Status: 204 No Content\r\n\r\n", 204},
		{"304", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
			io.WriteString(w, "abc")
		}, "Status: 304 Not Modified\r\nEtag: \"x\"\r\n\r\n", 304},
		{"unknown status", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(299) },
			"Status: 299 Status 299\r\nContent-Length: 0\r\n\r\n", 299},
		{"informational, then twice", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(404)
			w.WriteHeader(200)
		}, "Status: 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404},
		{"101", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(101) },
			"Status: 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", 500},
		{"fields", "GET", func(w http.ResponseWriter, _ *http.Request) {
			for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade", "Status"} {
				w.Header().Set(name, "x")
			}
			w.Header()["X-Bad"] = []string{"a\r\nSet-Cookie: evil\x00"}
			w.Header()["X Bad: evil\r\n"] = []string{"x"}
			w.Header()["X-Accel-Redirect"] = []string{"/f"}
			w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "x")
			w.Header().Set("Too", "late")
		}, "Status: 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Accel-Redirect: /f\r\nX-Bad: a  Set-Cookie: evil \r\n" +
			"Content-Length: 1\r\n\r\nx", 200},
		{"fields in any case", "GET", func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h["transfer-encoding"], h["status"], h["CONNECTION"] = []string{"chunked"}, []string{"500 evil"}, []string{"x"}
			h["content-type"], h["content-length"] = []string{"x/y"}, []string{"3"}
			h["Set-Cookie"], h["set-cookie"] = []string{"a=1"}, []string{"b=2"}
			if n, err := io.WriteString(w, "abcdef"); n != 3 || err != http.ErrContentLength {
				t.Errorf("wrote %d bytes, error %v", n, err)
			}
		}, "Status: 200 OK\r\nContent-Length: 3\r\nContent-Type: x/y\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nabc", 200},
		{"longer than stated", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			n, err := io.WriteString(w, "abcdef")
			if n != 3 || err != http.ErrContentLength {
				t.Errorf("wrote %d bytes, error %v", n, err)
			}
		}, "Status: 200 OK\r\nContent-Length: 3\r\n" + plain + "\r\nabc", 200},
		{"bad length", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "-3")
			io.WriteString(w, "abc")
		}, "Status: 200 OK\r\n" + plain + "Content-Length: 3\r\n\r\nabc", 200},
		{"flushed", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, "abc")
		}, "Status: 200 OK\r\n\r\nabc", 200},
		{"panic", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Set-Cookie", "a=1")
			io.WriteString(w, "abc")
			panic("on purpose")
		}, "Status: 500 Internal Server Error\r\n" + plain + "Content-Length: 22\r\n\r\nInternal Server Error\n", 500},
		{"panic before anything", "HEAD", func(http.ResponseWriter, *http.Request) { panic("on purpose") },
			"Status: 500 Internal Server Error\r\n" + plain + "Content-Length: 22\r\n\r\n", 500},
		{"bad status", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(7) },
			"Status: 500 Internal Server Error\r\n" + plain + "Content-Length: 22\r\n\r\nInternal Server Error\n", 500},
		{"panic after a flush", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.(http.Flusher).Flush()
			panic("on purpose")
		}, "Status: 201 Created\r\n\r\n", 201},
		{"Goexit", "GET", func(http.ResponseWriter, *http.Request) { runtime.Goexit() },
			"Status: 500 Internal Server Error\r\n" + plain + "Content-Length: 22\r\n\r\nInternal Server Error\n", 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, _ := serve(t, test.h, quiet)
			for range 2 { // the worker lives
				got, done := m.exchange("unix", request("/", "", scgi.Var{Name: "REQUEST_METHOD", Value: test.method}))
				if got != test.want {
					t.Errorf("reply %q\nwant  %q", got, test.want)
				}
				_, body, _ := strings.Cut(test.want, "\r\n\r\n")
				if done.Code != test.code || int(done.Bytes) != len(body) {
					t.Errorf("CODE=%d BYTES=%d, want %d and %d", done.Code, done.Bytes, test.code, len(body))
				}
			}
		})
	}
}

var quiet = ErrorLog(log.New(io.Discard, "", 0))

func write(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

func TestPanicIsLogged(t *testing.T) {
	var out bytes.Buffer
	m, stop := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("on purpose")
	}, ErrorLog(log.New(&out, "", 0)))
	m.exchange("unix", request("/abort", ""))
	m.exchange("unix", request("/some%0Apath", ""))
	stop()
	got := out.String()
	if !strings.HasPrefix(got, "panic serving GET /some%0Apath: on purpose\n") || !strings.Contains(got, "reply_test.go") {
		t.Errorf("the log has %q", got)
	}
}

func TestFlushReachesTheClientAtOnce(t *testing.T) {
	next := make(chan bool)
	m, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range []string{"one\n", "two\n"} {
			io.WriteString(w, line)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-next
		}
	})
	conn, _ := m.dial("unix")
	conn.Write(request("/", ""))
	r := bufio.NewReader(conn)
	for readLine(t, r) != "\r\n" {
	}
	for _, want := range []string{"one\n", "two\n"} {
		if got := readLine(t, r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		next <- true
	}
}

func TestLargeReplyIsNotHeldBack(t *testing.T) {
	hold := make(chan bool)
	m, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range bufferSize/64 + 1 {
			w.Write(bytes.Repeat([]byte{'x'}, 64))
		}
		<-hold
	})
	conn, _ := m.dial("unix")
	conn.Write(request("/", ""))
	r := bufio.NewReader(conn)
	for readLine(t, r) != "\r\n" {
	}
	if n, err := io.CopyN(io.Discard, r, bufferSize); err != nil {
		t.Errorf("%d bytes came, error %v", n, err)
	}
	close(hold)
}

func TestWriteDeadlineEndsAStuckWrite(t *testing.T) {
	failed := make(chan error, 1)
	m, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := w.Write(make([]byte, 64<<20))
		failed <- err
	})
	conn, _ := m.dial("unix")
	conn.Write(request("/", ""))
	if err := <-failed; !os.IsTimeout(err) {
		t.Errorf("%v, want a timeout", err)
	}
}

func TestFilesGoBySendfile(t *testing.T) {
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	name := filepath.Join(t.TempDir(), "f.bin")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			m, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				file, err := os.Open(name)
				if err != nil {
					t.Error(err)
					return
				}
				defer file.Close()
				switch r.URL.Path {
				case "/serve":
					http.ServeContent(w, r, "f.bin", time.Time{}, file)
				case "/copy": // without a type
					io.Copy(w, file)
				case "/short":
					w.Header().Set("Content-Length", "1000")
					w.Header().Set("Content-Type", "x/y")
					if _, err := io.Copy(w, file); err != http.ErrContentLength {
						t.Errorf("%v, want http.ErrContentLength", err)
					}
				case "/direct":
					conn := w.(*reply).conn
					w.Header().Set("Content-Type", "x/y")
					w.(http.Flusher).Flush()
					if n, err := conn.sendFile(file, 1<<62); n != int64(len(content)) || err != nil {
						t.Errorf("%d bytes, error %v", n, err)
					}
				}
			})
			for _, test := range []struct {
				path, span string
				want       []byte
			}{
				{"/serve", "", content}, {"/serve", "bytes=1000000-2999999", content[1000000:3000000]}, {"/copy", "", content},
				{"/short", "", content[:1000]}, {"/direct", "", content},
			} {
				r, _ := http.NewRequest("GET", "http://h"+test.path, nil)
				if test.span != "" {
					r.Header.Set("Range", test.span)
				}
				resp, err := m.client(network).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, test.want) {
					t.Errorf("%s %s: %d bytes of %d, error %v", test.path, test.span, len(got), len(test.want), err)
				}
			}
		})
	}
}
