package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/compare/servers"
	"github.com/scgid/scgid/worker/scgi"
)

// An answer is what /sleep says, see servers/files/hello.py.
type answer struct {
	pid   int
	begun time.Time // in the server's own clock, which is ours
}

// open sends a whole header to the server and leaves size bytes of the body to
// the caller. A full backlog is waited for.
func open(ctx context.Context, s *servers.Server, uri string, size int) (net.Conn, error) {
	head, err := requestHead(s, uri, size)
	if err != nil {
		return nil, err
	}
	conn, err := s.Dial(ctx)
	for errors.Is(err, syscall.EAGAIN) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		conn, err = s.Dial(ctx)
	}
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if _, err := conn.Write(head); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func requestHead(s *servers.Server, uri string, size int) ([]byte, error) {
	method := "GET"
	if size > 0 {
		method = "POST"
	}
	if s.HTTP() {
		return fmt.Appendf(nil, "%s %s HTTP/1.0\r\nHost: www.example.org\r\nContent-Length: %d\r\n\r\n", method, uri, size), nil
	}
	return scgi.AppendHeader(nil, []scgi.Var{
		{Name: "CONTENT_LENGTH", Value: fmt.Sprint(size)}, {Name: "SCGI", Value: "1"}, {Name: "REQUEST_METHOD", Value: method},
		{Name: "REQUEST_URI", Value: uri}, {Name: "SCRIPT_NAME", Value: ""}, {Name: "PATH_INFO", Value: uri},
		{Name: "QUERY_STRING", Value: ""}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.0"}, {Name: "SERVER_NAME", Value: "www.example.org"},
		{Name: "SERVER_PORT", Value: "80"}, {Name: "HTTP_HOST", Value: "www.example.org"},
	})
}

// finish reads the reply and returns its body. A status that is not 200 is an
// error.
func finish(conn net.Conn) ([]byte, error) {
	defer conn.Close()
	reply, err := io.ReadAll(conn)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(reply, []byte("\r\n"))
	if !bytes.HasPrefix(reply, []byte("Status: 200")) && !bytes.HasPrefix(reply, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(reply, []byte("HTTP/1.0 200")) {
		return nil, fmt.Errorf("the reply begins with %.40q", line)
	}
	_, body, _ := bytes.Cut(reply, []byte("\r\n\r\n"))
	return body, nil
}

// ask sends one request without a body.
func ask(ctx context.Context, s *servers.Server, uri string) ([]byte, error) {
	conn, err := open(ctx, s, uri, 0)
	if err != nil {
		return nil, err
	}
	return finish(conn)
}

// ready asks until there is a good answer, and returns how long that took from
// the start of the server.
func ready(ctx context.Context, s *servers.Server) (time.Duration, error) {
	var last error // but for that of ctx
	for {
		_, err := ask(ctx, s, s.App.URI)
		if err == nil {
			return time.Since(s.Begun), nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-s.Ended():
			return 0, fmt.Errorf("ended instead of answering: %s", s.Says())
		case <-ctx.Done():
			return 0, fmt.Errorf("no good answer in time: %v: %s", last, s.Says())
		case <-time.After(500 * time.Microsecond):
		}
	}
}

// holdTime is how long requests wait for each other to be sent.
const holdTime = 3 * time.Second

// hold sends n requests that keep their workers busy at the same time: none has
// its body before all have been sent. It returns the answers that there were;
// a server that does not know /sleep answers with nothing.
func hold(ctx context.Context, s *servers.Server, n int) (answers []answer) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var opened, done sync.WaitGroup
	var mu sync.Mutex // answers
	opened.Add(n)
	together, release := context.WithTimeout(ctx, holdTime)
	defer release()
	go func() {
		opened.Wait()
		release()
	}()
	for range n {
		done.Add(1)
		go func() {
			defer done.Done()
			conn, err := open(ctx, s, "/sleep", 1)
			opened.Done()
			if err != nil {
				return
			}
			<-together.Done()
			time.Sleep(20 * time.Millisecond) // for the server to take them
			conn.Write([]byte("x"))
			if a, ok := readAnswer(conn); ok {
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, a)
			}
		}()
	}
	done.Wait()
	return answers
}

func readAnswer(conn net.Conn) (a answer, ok bool) {
	body, err := finish(conn)
	if err != nil {
		return a, false
	}
	var ns int64
	if _, err := fmt.Sscan(string(body), &a.pid, &ns); err != nil {
		return a, false
	}
	a.begun = time.Unix(0, ns)
	return a, true
}
