package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// answering listens and gives each connection this reply, whatever it asks.
func answering(t *testing.T, reply func(net.Conn)) *Client {
	t.Helper()
	path := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			reply(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return NewClient(path)
}

// says reads the request's head and answers with text.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, text)
	}
}

func TestClientTellsWhoAnswersWrongly(t *testing.T) {
	dir := shortDir(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/stale", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The application of one pool would have root steer another.
	other := serve(t, me(), nil)
	if err := os.Symlink(other.socket, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		client *Client
		code   string
	}{
		{"a link", NewClient(dir + "/link"), control.CodeProtocol},
		{"a directory", NewClient(dir), control.CodeProtocol},
		{"a directory, with a slash", NewClient(dir + "/"), control.CodeProtocol},
		{"a file", NewClient(dir + "/file"), control.CodeProtocol},
		{"nothing there", NewClient(dir + "/none"), control.CodeNotRunning},
		{"no directory", NewClient(dir + "/none/sock"), control.CodeNotRunning},
		{"stale", NewClient(dir + "/stale"), control.CodeNotRunning},
		{"closes", answering(t, says("")), control.CodeOver},
		{"closes at once", answering(t, func(net.Conn) {}), control.CodeOver},
		{"closes in its head", answering(t, says("HTTP/1.1 200 OK\r\nConte")), control.CodeProtocol},
		{"closes in its body", answering(t, says("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{")), control.CodeOver},
		{"no HTTP", answering(t, says("220 mail.example.com ESMTP\r\n")), control.CodeProtocol},
		{"no JSON", answering(t, says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")), control.CodeProtocol},
		{"another server", answering(t, says("HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello")), control.CodeProtocol},
		{"no problem of ours", answering(t, says("HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}")), control.CodeProtocol},
		{"a head without end", answering(t, endless), control.CodeOver},
		{"full", answering(t, func(c net.Conn) { _, _ = c.Write(rejection) }), control.CodeBusy},
	} {
		_, err := tt.client.Status(soon(t))
		if e, ok := err.(*control.Error); !ok || e.Code != tt.code || strings.Contains(e.Text, "\x1b") {
			t.Errorf("%s: %#v, want %s", tt.name, err, tt.code)
		}
		if strings.Contains(err.Error(), "is a link") != (tt.name == "a link") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// endless sends a header that does not end.
func endless(c net.Conn) {
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
	for {
		if _, err := io.WriteString(c, "X-A: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
			return
		}
	}
}

func TestClientMayNotConnect(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("needs a user other than root")
	}
	path := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err = NewClient(path).Status(soon(t))
	if e, ok := err.(*control.Error); !ok || e.Code != control.CodeDenied {
		t.Errorf("%v", err)
	}
}

func TestClientWaitsNoLongerThanItsContext(t *testing.T) {
	hold := make(chan struct{})
	silent := answering(t, func(net.Conn) { <-hold })
	defer close(hold)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := silent.Status(ctx)
	if e, ok := err.(*control.Error); !ok || e.Code != control.CodeTimeout {
		t.Errorf("time limit: %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := silent.Status(ctx); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPeerIsWhoListens(t *testing.T) {
	noLeft(t)
	s := serve(t, me(), nil)
	peer, err := s.client.Peer(soon(t))
	if err != nil || peer.PID != os.Getpid() || peer.UID != uint32(os.Getuid()) {
		t.Errorf("%+v, %v", peer, err)
	}
	wrong := errors.New("another process listens")
	c := NewClient(s.socket)
	c.Verify(func(p Peer) error {
		if p.PID != os.Getpid()+1 {
			return wrong
		}
		return nil
	})
	before := s.pool.Calls
	if err := c.Call(soon(t), "pause", nil, nil); err != wrong || s.pool.Calls != before {
		t.Errorf("a listener that is not believed was asked: %v", err)
	}
}

// TestClientWaitsForRoomInTheBacklog fills the kernel's queue.
func TestClientWaitsForRoomInTheBacklog(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 1) }); err != nil {
		t.Fatal(err)
	}
	var queued []net.Conn
	for {
		c, err := net.Dial("unix", path)
		if err != nil {
			break
		}
		queued = append(queued, c)
	}
	got := make(chan error, 1)
	go func() {
		c, _, err := NewClient(path).dial(soon(t))
		if err == nil {
			c.Close()
		}
		got <- err
	}()
	for range queued {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	for _, c := range queued {
		c.Close()
	}
}

func TestDurationsAreSentInSeconds(t *testing.T) {
	got := make(chan string, 1)
	c := answering(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	})
	if err := c.Call(soon(t), "pause", control.PauseArgs{Limit: control.Seconds(1500 * time.Millisecond)}, nil); err != nil {
		t.Fatal(err)
	}
	if body := <-got; body != `{"limit":1.5}` {
		t.Error(body)
	}
}
