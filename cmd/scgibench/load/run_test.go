package load

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEveryKindOfAddressIsReached(t *testing.T) {
	answer := func(tcp *net.TCPConn, unix *net.UnixConn) {
		var conn net.Conn = tcp
		if tcp == nil {
			conn = unix
		}
		if readAll(conn) == nil {
			io.WriteString(conn, plain)
		}
	}
	path := socketPath(t)
	serve(t, "unix", path, answer)
	abstract := "@scgibench-test-" + filepath.Base(filepath.Dir(filepath.Dir(path)))
	serve(t, "unix", abstract, answer)
	v4 := serve(t, "tcp", "127.0.0.1:0", answer).Addr().String()
	addrs := []string{path, "unix:" + path, abstract, v4}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		addrs = append(addrs, serve(t, "tcp", "[::1]:0", answer).Addr().String())
	}
	for _, addr := range addrs {
		l := &Load{Address: addr, Clients: 4, Threads: 2, Requests: 200, Expect: Expect{Body: str("hello")}}
		wantAll(t, runLoad(t, l), 200, good)
	}
}

func TestFailuresAreCountedByKind(t *testing.T) {
	for _, test := range []struct {
		name   string
		want   kind
		expect Expect
		answer func(*net.UnixConn)
	}{
		{"closed without reply", empty, Expect{}, reading("")},
		{"cut in the header", short, Expect{}, reading("Status: 200 OK\r\n")},
		{"cut in the body", short, Expect{}, reading(plain[:len(plain)-1])},
		{"no header", header, Expect{}, reading("hello\n\n")},
		{"error page", status, Expect{}, reading("Status: 503 Busy\r\n\r\n")},
		{"other length", length, Expect{Length: num(6)}, reading(plain)},
		{"other body", body, Expect{Body: str("hallo")}, reading(plain)},
		{"closed with the request unread", reset, Expect{}, func(conn *net.UnixConn) { conn.Read(make([]byte, 1)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &Load{Address: serveUnix(t, test.answer), Clients: 3, Requests: 30, Expect: test.expect}
			wantAll(t, runLoad(t, l), 30, test.want)
		})
	}
}

func TestBadStatusesAreCountedByCode(t *testing.T) {
	l := &Load{Address: serveUnix(t, reading("Status: 503 Busy\r\n\r\n")), Requests: 7}
	res := runLoad(t, l)
	if res.BadStatuses[503] != 7 || res.Statuses[503] != 7 || len(res.BadStatuses) != 1 {
		t.Errorf("bad %v of %v", res.BadStatuses, res.Statuses)
	}
}

func TestTCPResetIsCounted(t *testing.T) {
	ln := serve(t, "tcp", "127.0.0.1:0", func(tcp *net.TCPConn, _ *net.UnixConn) {
		if readAll(tcp) == nil {
			tcp.SetLinger(0)
		}
	})
	wantAll(t, runLoad(t, &Load{Address: ln.Addr().String(), Clients: 2, Requests: 10}), 10, reset)
}

func TestNobodyListeningIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	ln.Close()
	for _, addr := range []string{socketPath(t), closed} {
		wantAll(t, runLoad(t, &Load{Address: addr, Clients: 2, Requests: 6}), 6, refused)
	}
}

// unix(7), connect: EAGAIN without waiting when the backlog is full.
func TestFullBacklogIsCounted(t *testing.T) {
	path := socketPath(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	first, err := net.Dial("unix", path) // the only one there is room for
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	wantAll(t, runLoad(t, &Load{Address: path, Clients: 3, Requests: 9}), 9, backlog)
}

func TestNoAnswerIsATimeout(t *testing.T) {
	addr := serveUnix(t, func(conn *net.UnixConn) { io.Copy(io.Discard, conn) })
	wantAll(t, runLoad(t, &Load{Address: addr, Clients: 3, Requests: 6, Timeout: 20 * time.Millisecond}), 6, timeout)
}

// A reply without its end is none: the end of file is the end of the reply.
func TestReplyWithoutEndIsATimeout(t *testing.T) {
	addr := serveUnix(t, func(conn *net.UnixConn) {
		reading(plain)(conn)
		io.Copy(io.Discard, conn)
	})
	wantAll(t, runLoad(t, &Load{Address: addr, Requests: 2, Timeout: 20 * time.Millisecond}), 2, timeout)
}

func TestLargeBodiesGoBothWays(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 100_000)
	reply := "Status: 200 OK\r\nContent-Length: 1600000\r\n\r\n" + big
	for _, network := range []string{"unix", "tcp"} {
		addr := socketPath(t)
		if network == "tcp" {
			addr = "127.0.0.1:0"
		}
		ln := serve(t, network, addr, func(tcp *net.TCPConn, unix *net.UnixConn) {
			var conn net.Conn = tcp
			if tcp == nil {
				conn = unix
			}
			if readAll(conn) == nil {
				io.WriteString(conn, reply)
			}
		})
		l := &Load{Address: ln.Addr().String(), Clients: 3, Requests: 9, Body: 3 << 20, Expect: Expect{Body: str(sumOf(big))}}
		res := runLoad(t, l)
		wantAll(t, res, 9, good)
		if res.BytesSent < 9*3<<20 || res.BytesReceived != 9*int64(len(reply)) {
			t.Errorf("%d bytes sent, %d received", res.BytesSent, res.BytesReceived)
		}
	}
}

// A server may refuse a body that it does not read.
func TestReplyBeforeTheBodyIsReadCounts(t *testing.T) {
	addr := serveUnix(t, func(conn *net.UnixConn) {
		conn.Read(make([]byte, 1))
		io.WriteString(conn, "Status: 413 Too Large\r\n\r\n")
		conn.CloseWrite()
		conn.CloseRead()
		io.Copy(io.Discard, conn)
	})
	l := &Load{Address: addr, Clients: 2, Requests: 20, Body: 8 << 20, Expect: Expect{Status: 413}}
	wantAll(t, runLoad(t, l), 20, good)
}

func TestRequestsAreSharedByAllClients(t *testing.T) {
	l := &Load{Address: serveUnix(t, reading(plain)), Clients: 5, Threads: 2, Requests: 5, Pause: time.Hour}
	res := runLoad(t, l)
	for i, n := range res.PerClient {
		if n != 1 {
			t.Errorf("client %d: %d requests", i, n)
		}
	}
}

func TestDurationEndsTheRun(t *testing.T) {
	l := &Load{Address: serveUnix(t, reading(plain)), Clients: 2, Duration: 30 * time.Millisecond, Pause: time.Millisecond}
	res := runLoad(t, l)
	if res.OK == 0 || res.Failed != 0 || res.Unfinished != 0 {
		t.Errorf("%d ok, %d failed, %d unfinished", res.OK, res.Failed, res.Unfinished)
	}
}

// The end of the context is not the server's fault: no request fails for it.
func TestContextEndsTheRunWithoutErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var arrived atomic.Int32
	addr := serveUnix(t, func(conn *net.UnixConn) {
		readAll(conn)
		if arrived.Add(1) == 3 {
			cancel()
		}
		io.Copy(io.Discard, conn)
	})
	res, err := (&Load{Address: addr, Clients: 3, Duration: time.Hour}).Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if res.Unfinished != 3 || res.Requests != 0 {
		t.Errorf("%d unfinished, %d requests", res.Unfinished, res.Requests)
	}
}

func TestContextWakesSleepingClients(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	addr := serveUnix(t, func(conn *net.UnixConn) {
		reading(plain)(conn)
		cancel()
	})
	res, err := (&Load{Address: addr, Requests: 2, Pause: time.Hour}).Run(ctx)
	if err != nil || res.OK != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRunLeavesNoDescriptor(t *testing.T) {
	path := socketPath(t)
	before := openFiles(t)
	for range 20 {
		runLoad(t, &Load{Address: path, Clients: 4, Threads: 2, Requests: 8})
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
