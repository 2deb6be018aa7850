package load

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/scgid/scgid/worker/scgi"
)

// serve answers each connection with answer, which closes it or leaves that to
// the end of the test.
func serve(t *testing.T, network, addr string, answer func(*net.TCPConn, *net.UnixConn)) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Add(1)
	go func() {
		defer all.Done()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Add(1)
			go func() {
				defer all.Done()
				defer conn.Close()
				tcp, _ := conn.(*net.TCPConn)
				unix, _ := conn.(*net.UnixConn)
				answer(tcp, unix)
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return ln
}

// serveUnix serves on a socket of the test's own and returns its address.
func serveUnix(t *testing.T, answer func(conn *net.UnixConn)) string {
	path := socketPath(t)
	serve(t, "unix", path, func(_ *net.TCPConn, conn *net.UnixConn) { answer(conn) })
	return path
}

func socketPath(t *testing.T) string { return filepath.Join(t.TempDir(), "s") }

// reading returns an answer that reads the whole request, then sends text.
func reading(text string) func(*net.UnixConn) {
	return func(conn *net.UnixConn) {
		if readAll(conn) == nil {
			io.WriteString(conn, text)
		}
	}
}

func readAll(conn io.Reader) error {
	req, err := scgi.ReadRequest(bufio.NewReader(conn), 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

// runLoad runs l to its end and checks that its counts agree.
func runLoad(t *testing.T, l *Load) *Result {
	t.Helper()
	res, err := l.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if n := sumOfClients(res); n != res.Requests || res.Requests != res.OK+res.Failed || l.Done() != n {
		t.Errorf("%d requests, %d ok, %d failed, %d by clients, %d done", res.Requests, res.OK, res.Failed, n, l.Done())
	}
	return res
}

func sumOfClients(r *Result) (n int64) {
	for _, c := range r.PerClient {
		n += c
	}
	return n
}

// wantAll fails unless every request ended as kind k.
func wantAll(t *testing.T, r *Result, n int64, k kind) {
	t.Helper()
	got := r.Errors[k.String()]
	if k == good {
		got = r.OK
	}
	if r.Requests != n || got != n {
		t.Errorf("%d requests, %d %v; errors %v, %v", r.Requests, got, k, r.Errors, r.Examples)
	}
	if k != good && r.Examples[k.String()] == "" {
		t.Errorf("no example of %v", k)
	}
}

// openFiles counts this process's descriptors but the one that counts them.
func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
