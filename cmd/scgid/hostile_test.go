package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// beAttacker makes the test binary one who attacks the control socket that it
// names, until its standard input ends.
const beAttacker = "TEST_BE_ATTACKER"

// A damage is what attackers did.
type damage struct{ Halves, Garbage, Bodies, Bytes, Readers, Asked int64 }

func (d *damage) add(more damage) {
	d.Halves += more.Halves
	d.Garbage += more.Garbage
	d.Bodies += more.Bodies
	d.Bytes += more.Bytes
	d.Readers += more.Readers
	d.Asked += more.Asked
}

// attack does everything at once that the control socket must bear.
func attack(socket string) {
	var over atomic.Bool
	var mu sync.Mutex
	var sum damage
	var all sync.WaitGroup
	reading := make(chan struct{})
	readers := func(socket string, over *atomic.Bool) damage {
		return readers(socket, over, sync.OnceFunc(func() { close(reading) }))
	}
	for i, way := range []func(string, *atomic.Bool) damage{readers, halves, garbage, bodies, bodies, askers} {
		all.Add(1)
		go func() {
			defer all.Done()
			did := way(socket, &over)
			mu.Lock()
			defer mu.Unlock()
			sum.add(did)
		}()
		if i == 0 {
			<-reading // later there is no room for readers
		}
	}
	fmt.Println("at work")
	_, _ = io.Copy(io.Discard, os.Stdin)
	over.Store(true)
	all.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(sum)
}

// connect connects as soon as the backlog has room; nil when it is over. It
// keeps the backlog full, but does not make and close sockets in vain as fast as
// it can: that costs everybody on the machine, whatever the socket is.
func connect(socket string, over *atomic.Bool) net.Conn {
	for !over.Load() {
		conn, err := dialPatiently(socket)
		if err == nil {
			return conn
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return nil
		}
	}
	return nil
}

// dialPatiently waits in connect(2) while the backlog is full; for a tenth of a
// second, then the error is EAGAIN.
func dialPatiently(socket string) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), socket)
	defer f.Close()
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// halves makes connections that begin a request and hold many of them.
func halves(socket string, over *atomic.Bool) (d damage) {
	var held []net.Conn
	for {
		conn := connect(socket, over)
		if conn == nil {
			return d
		}
		d.Halves++
		_, _ = io.WriteString(conn, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Half: ")
		if held = append(held, conn); len(held) > 5 {
			held[0].Close()
			held = held[1:]
		}
	}
}

// garbage sends what is no HTTP.
func garbage(socket string, over *atomic.Bool) (d damage) {
	junk := []byte(strings.Repeat("\x00\xff{garbage}\r\n", 300))
	for {
		conn := connect(socket, over)
		if conn == nil {
			return d
		}
		_, _ = conn.Write(junk)
		d.Garbage++
		conn.Close()
	}
}

// bodies sends a GiB, or as much as is taken, over and over.
func bodies(socket string, over *atomic.Bool) (d damage) {
	block := make([]byte, 64<<10)
	for {
		conn := connect(socket, over)
		if conn == nil {
			return d
		}
		_, _ = io.WriteString(conn, "POST /v1/scale HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
		for sent := 0; sent < 1<<30 && !over.Load(); {
			n, err := conn.Write(block)
			sent += n
			d.Bytes += int64(n)
			if err != nil {
				break
			}
		}
		d.Bodies++
		conn.Close()
	}
}

// askers ask again and again on one connection, without waiting for the answers.
func askers(socket string, over *atomic.Bool) (d damage) {
	const request = "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
	for {
		conn := connect(socket, over)
		if conn == nil {
			return d
		}
		go io.Copy(io.Discard, conn)
		for !over.Load() {
			n, err := io.WriteString(conn, strings.Repeat(request, 100))
			if d.Asked += int64(n / len(request)); err != nil {
				break
			}
		}
		conn.Close()
	}
}

// readers follow the events and read none of them. They call begun when as many
// as they hold at a time are there, or can no longer be.
func readers(socket string, over *atomic.Bool, begun func()) (d damage) {
	defer begun()
	var held []net.Conn
	for {
		conn := connect(socket, over)
		if conn == nil {
			return d
		}
		_ = conn.(*net.UnixConn).SetReadBuffer(1024)
		_, _ = io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
		head := make([]byte, 12)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(conn, head); err == nil && string(head) == "HTTP/1.1 200" {
			d.Readers++
		}
		if held = append(held, conn); len(held) > 8 {
			begun()
			held[0].Close()
			held = held[1:]
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// startAttack starts attackers of these users; what it returns ends them and
// says what they did. It returns when they have begun. They get only what
// processor time nobody else wants: what is measured is the master, not them.
func startAttack(t *testing.T, program, socket string, uids ...uint32) (end func() damage) {
	t.Helper()
	type attacker struct {
		cmd *exec.Cmd
		in  io.Closer
		out *bufio.Reader
	}
	var all []attacker
	for _, uid := range uids {
		cmd := exec.Command(need(t, "chrt"), "--idle", "0", program)
		cmd.Dir = "/"
		cmd.Env = []string{beAttacker + "=" + socket}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
		a := attacker{cmd, in, bufio.NewReader(out)}
		if _, err := a.out.ReadString('\n'); err != nil {
			t.Fatalf("the attacker: %v", err)
		}
		all = append(all, a)
	}
	return func() (sum damage) {
		for _, a := range all {
			a.in.Close()
			var did damage
			if err := json.NewDecoder(a.out).Decode(&did); err != nil {
				t.Errorf("the attacker: %v", err)
			}
			sum.add(did)
			a.cmd.Wait()
		}
		return sum
	}
}

// latencies sends requests at a steady rate for a while, and has the limits
// changed meanwhile so that there are events.
func (s *server) latencies(c *api.Client, d time.Duration) []time.Duration {
	s.t.Helper()
	const clients, pause = 4, 5 * time.Millisecond
	var mu sync.Mutex
	var took []time.Duration
	var all sync.WaitGroup
	for end := time.Now().Add(d); len(took) == 0; {
		for range clients {
			all.Add(1)
			go func() {
				defer all.Done()
				for time.Now().Before(end) {
					began := time.Now()
					text, err := exchange(s.addr, "/nap")
					one := time.Since(began)
					if err != nil || text != "Status: 200 OK\r\n\r\n/nap" {
						s.t.Errorf("a request failed: %q, %v", text, err)
					}
					mu.Lock()
					took = append(took, one)
					mu.Unlock()
					time.Sleep(pause)
				}
			}()
		}
		for n := 0; time.Now().Before(end); n++ {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = c.Call(ctx, "scale", map[string]any{"max_workers": 6 + n%2}, nil) // turned away now and then
			cancel()
			time.Sleep(10 * time.Millisecond)
		}
		all.Wait()
	}
	return took
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}

// peak is the most memory that the master has had, in bytes.
func (s *server) peak() int {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "status"))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			n, _ := strconv.Atoi(f[1])
			return n << 10
		}
	}
	s.t.Fatal("no VmHWM")
	return 0
}

// Whatever the pool's own user and others do to the control socket, requests
// through the pool take no longer, by their 99th percentile with and without the
// attack in one run, and the master's memory is bounded.
func TestAnAttackOnTheControlSocketDelaysNoRequest(t *testing.T) {
	const own, other = 1, 2
	s, c := asUser(t, own, "MinWorkers=6", "MaxWorkers=6", "MaxIdle=6")
	program := forAll(t, ownDir(t, own), self(t))
	s.until("all are ready", func() bool { return s.status(c).Workers.Idle == 6 })
	const part = 500 * time.Millisecond
	s.latencies(c, part)
	before := s.peak()
	var did damage
	// What else runs here may fall on one side: then once more.
	for try := 1; ; try++ {
		var quiet, attacked []time.Duration
		for range 4 {
			quiet = append(quiet, s.latencies(c, part)...)
			end := startAttack(t, program, c.Socket(), own, other)
			attacked = append(attacked, s.latencies(c, part)...)
			did.add(end())
		}
		a, b := p99(quiet), p99(attacked)
		t.Logf("p99 of %d requests %v, under the attack of %d %v: %.2f times",
			len(quiet), a.Round(10*time.Microsecond), len(attacked), b.Round(10*time.Microsecond), float64(b)/float64(a))
		if float64(b) <= 1.5*float64(a) {
			break
		}
		if try == 3 {
			t.Errorf("the p99 was more than 1.5 times that without the attack in all %d tries", try)
			break
		}
	}
	for did.Halves+did.Garbage < 5000 {
		end := startAttack(t, program, c.Socket(), own, other)
		time.Sleep(time.Second)
		did.add(end())
	}
	t.Logf("the attack: %d half requests, %d of garbage, %d bodies of 1 GiB of which %d MiB were taken, %d readers who did not read, %d requests on few connections",
		did.Halves, did.Garbage, did.Bodies, did.Bytes>>20, did.Readers, did.Asked)
	if did.Bodies == 0 || did.Readers == 0 || did.Asked == 0 {
		t.Errorf("the attack was none: %+v", did)
	}
	after := s.peak()
	t.Logf("the master's memory: %d MiB before, %d MiB at most", before>>20, after>>20)
	if after > before+48<<20 {
		t.Error("the master's memory grew")
	}
	if st := s.status(c); st.State != control.Running || st.Requests.Lost+st.Requests.Refused > 0 {
		t.Errorf("afterwards: %+v", st)
	}
}
