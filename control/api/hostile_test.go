package api

import (
	"bufio"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// memory is what Go holds, in bytes.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func TestGarbageIsAnsweredAndServiceGoesOn(t *testing.T) {
	noLeft(t)
	s := serve(t, me(), nil)
	random := rand.New(rand.NewSource(1))
	for _, raw := range []string{
		"\x00\x01\x02\r\n\r\n", "\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "24:CONTENT_LENGTH\x000\x00SCGI\x001\x00,",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{}",
		"POST /v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		c := s.dial()
		_, _ = io.WriteString(c, raw)
		_ = c.(*net.UnixConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
	for range 300 {
		c := s.dial()
		junk := make([]byte, random.Intn(4096))
		random.Read(junk)
		_, _ = c.Write(junk)
		c.Close()
	}
	// Those that wait in the backlog still count for this user.
	until(t, "it serves", func() bool { _, err := s.client.Status(soon(t)); return err == nil })
	if s.pool.St.State != control.Running {
		t.Errorf("the pool is %s", s.pool.St.State)
	}
}

func TestHalfARequestIsCut(t *testing.T) {
	t.Parallel()
	s := serve(t, me(), nil)
	for name, raw := range map[string]string{
		"nothing":       "",
		"half a header": "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-A: ",
		"half a body":   "POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
		"refused body":  "POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			c, began := s.dial(), time.Now()
			_, _ = io.WriteString(c, raw)
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("not ended by the server: %v", err)
			}
			if took := time.Since(began); took > bodyTime+3*time.Second {
				t.Errorf("ended after %v", took)
			}
		})
	}
}

func TestHeaderIsBounded(t *testing.T) {
	s := serve(t, me(), nil)
	if r, _ := s.say(get("/v1/status", "X-Long: "+strings.Repeat("x", 10<<10))); r.StatusCode != http.StatusOK {
		t.Errorf("10 KiB: %s", r.Status)
	}
	if r, _ := s.say(get("/v1/status", "X-Long: "+strings.Repeat("x", 17<<10))); r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("17 KiB: %s", r.Status)
	}
}

// TestAGigabyteOfBodyCostsNothing sends until the server has had enough.
func TestAGigabyteOfBodyCostsNothing(t *testing.T) {
	for name, chunked := range map[string]bool{"length": false, "chunked": true} {
		for _, path := range []string{"/v1/pause", "/v1/nothing", "/v1/status"} {
			t.Run(name+path, func(t *testing.T) {
				s := serve(t, me(), nil)
				before := allocated()
				sent, status := sendGigabyte(s, path, chunked)
				if sent > 4<<20 {
					t.Errorf("the server took %d bytes", sent)
				}
				if grown := allocated() - before; grown > 4<<20 {
					t.Errorf("%d bytes allocated", grown)
				}
				if path == "/v1/pause" && status != http.StatusRequestEntityTooLarge || status < 400 {
					t.Errorf("status %d", status)
				}
				s.serves()
			})
		}
	}
}

// allocated is all that was ever allocated, in bytes.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func sendGigabyte(s *site, path string, chunked bool) (sent int, status int) {
	c := s.dial()
	defer c.Close()
	head := "Content-Length: 1073741824\r\n\r\n"
	if chunked {
		head = "Transfer-Encoding: chunked\r\n\r\n40000000\r\n"
	}
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\n%s", path, head)
	block := []byte(strings.Repeat(" ", 64<<10))
	for sent < 1<<30 {
		n, err := c.Write(block)
		sent += n
		if err != nil {
			break
		}
	}
	if r, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
		status = r.StatusCode
	}
	return sent, status
}

// TestFloodOfOneUser has another user hold 2,000 connections; root is served
// while it does.
func TestFloodOfOneUser(t *testing.T) {
	noLeft(t)
	s := serve(t, control.Access{OwnUID: ownUID, Group: -1, ReadGroup: -1}, nil)
	before := memory()
	cmd := as(t, otherUID, []uint32{otherUID}, "flood", s.socket)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	asked, stop := make(chan int), make(chan struct{})
	go func() {
		n := 0
		for {
			s.serves()
			n++
			select {
			case <-stop:
				asked <- n
				return
			default:
			}
		}
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	t.Logf("root was served %d times meanwhile", <-asked)
	if away, err := strconv.Atoi(strings.TrimSpace(line)); err != nil || away != 2000-maxConnsUser {
		t.Errorf("turned away: %s, want %d", line, 2000-maxConnsUser)
	}
	if after := memory(); after > before+8<<20 {
		t.Errorf("memory grew from %d to %d bytes", before, after)
	}
	s.serves()
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Asking again on the same connection is asking again: only who may change the
// pool may do so as fast as they like.
func TestRequestsOnOneConnectionKeepTheirPace(t *testing.T) {
	noLeft(t)
	const tries = 3 * userBurst
	for level, access := range map[string]control.Access{
		"name": {OwnUID: ownUID, Group: -1, ReadGroup: -1}, "read": {OwnUID: otherUID, Group: -1, ReadGroup: -1},
		"change": {OwnUID: otherUID, OwnFull: true, Group: -1, ReadGroup: -1},
	} {
		s := serve(t, access, func(*net.UnixConn) (control.Caller, error) { return control.Caller{UID: otherUID}, nil })
		c := s.dial()
		go io.WriteString(c, strings.Repeat("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", tries))
		answered, last := 0, 0
		for in := bufio.NewReader(c); ; {
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if last = r.StatusCode; last == http.StatusOK {
				answered++
			}
			if answered == tries || r.Close {
				break
			}
		}
		switch {
		case level == "change" && answered != tries:
			t.Errorf("%s: %d of %d answered", level, answered, tries)
		case level != "change" && (last != http.StatusServiceUnavailable || answered > userBurst+5*userRate || answered < userBurst):
			t.Errorf("%s: %d of %d answered, then status %d", level, answered, tries, last)
		}
	}
}

// Who knows no more than the name keeps out nobody who may read, with however
// many user ids.
func TestUsersWhoKnowTheNameKeepOutNoReader(t *testing.T) {
	noLeft(t)
	var uid atomic.Uint32
	uid.Store(1000)
	s := serve(t, control.Access{OwnUID: ownUID, Group: -1, ReadGroup: -1}, func(*net.UnixConn) (control.Caller, error) {
		return control.Caller{UID: uid.Load()}, nil
	})
	refused := false
	for range 10 * othersBurst {
		uid.Add(1)
		if r, _ := s.say(get("/v1/status")); r.StatusCode == http.StatusServiceUnavailable {
			refused = true
			break
		}
	}
	if !refused {
		t.Error("the flood was none")
	}
	uid.Store(ownUID)
	if r, body := s.say(get("/v1/status")); r.StatusCode != http.StatusOK {
		t.Errorf("a reader got %d: %s", r.StatusCode, body)
	}
}

// TestFloodOfManyUsers gives each connection a user of its own, as somebody
// with a range of subordinate ids can: each kind of caller leaves room for
// those who may do more, and root always comes in.
func TestFloodOfManyUsers(t *testing.T) {
	var uid, level atomic.Uint32
	s := serve(t, control.Access{OwnUID: ownUID, Group: groupID, ReadGroup: readID},
		func(*net.UnixConn) (control.Caller, error) {
			who := control.Caller{UID: uid.Load()}
			switch control.Level(level.Load()) {
			case control.LevelChange:
				who.GIDs = []uint32{groupID}
			case control.LevelRead:
				who.GIDs = []uint32{readID}
			}
			return who, nil
		})
	before := memory()
	next := uint32(100000)
	for _, tt := range []struct {
		level control.Level
		held  int // connections in all, after this level's flood
	}{{control.LevelName, maxConnsName}, {control.LevelRead, maxConnsRead}, {control.LevelChange, maxConnsOthers}} {
		level.Store(uint32(tt.level))
		for range 400 {
			next++
			uid.Store(next)
			c := s.dial()
			if away := turnedAwayOrHeld(t, s, c); away {
				c.Close()
			}
		}
		if n := s.connections(); n != tt.held {
			t.Errorf("%v: %d connections are held, want %d", tt.level, n, tt.held)
		}
		uid.Store(0)
		s.serves()
	}
	// Root's own connections are bounded too.
	for range maxConns {
		if c := s.dial(); turnedAwayOrHeld(t, s, c) {
			c.Close()
		}
	}
	if n := s.connections(); n != maxConns {
		t.Errorf("%d connections are held, want %d", n, maxConns)
	}
	if after := memory(); after > before+16<<20 {
		t.Errorf("memory grew from %d to %d bytes", before, after)
	}
}

// turnedAwayOrHeld waits until the server has decided about c.
func turnedAwayOrHeld(t *testing.T, s *site, c net.Conn) (away bool) {
	t.Helper()
	// Idle connections are not answered, so that one asks for something.
	_, _ = io.WriteString(c, "GET /v1/verbs HTTP/1.1\r\nHost: x\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode == http.StatusServiceUnavailable
}

// connections are those that the server holds.
func (s *site) connections() int {
	s.Server.mu.Lock()
	g := s.admissions[0]
	s.Server.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

func TestPlacesAreGivenBack(t *testing.T) {
	s := serve(t, control.Access{OwnUID: ownUID, Group: -1, ReadGroup: -1}, func(*net.UnixConn) (control.Caller, error) {
		return control.Caller{UID: otherUID}, nil
	})
	for range 10 * maxConnsUser {
		s.serves()
	}
	until(t, "all connections are closed", func() bool { return s.connections() == 0 })
	g := s.admissions[0]
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.byUser) != 0 || g.byLevel != [3]int{} {
		t.Errorf("still counted: %v %v", g.byUser, g.byLevel)
	}
}

func TestOneWhoCannotBeNamedIsIgnored(t *testing.T) {
	var fail atomic.Bool
	fail.Store(true)
	s := serve(t, me(), func(u *net.UnixConn) (control.Caller, error) {
		if fail.Swap(false) {
			return control.Caller{}, os.NewSyscallError("getsockopt(SO_PEERCRED)", os.ErrInvalid)
		}
		return callerOf(u)
	})
	if n, err := s.dial().Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d, %v", n, err)
	}
	s.serves()
	if want := "control: cannot read the credentials of a client: getsockopt(SO_PEERCRED): invalid argument, ignoring this client"; s.lines() != want {
		t.Errorf("log: %s", s.lines())
	}
}

// A poor listener is short of descriptors for a while.
type poor struct {
	net.Listener
	left int
}

func (p *poor) Accept() (net.Conn, error) {
	if p.left--; p.left >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", unix.EMFILE)}
	}
	return p.Listener.Accept()
}

func TestShortageOfDescriptorsPasses(t *testing.T) {
	noLeft(t)
	path := filepath.Join(shortDir(t), SocketName)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	log := make(chan string, 10)
	s := NewServer(Options{Pool: newMemPool(), Access: me(), Log: func(f string, a ...any) { log <- fmt.Sprintf(f, a...) }})
	done := make(chan error)
	go func() { done <- s.Serve(&poor{l, 3}) }()
	if _, err := NewClient(path).Status(soon(t)); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(soon(t)); err != nil {
		t.Error(err)
	}
	if err := <-done; err != http.ErrServerClosed {
		t.Error(err)
	}
	if line := <-log; len(log) != 0 || line != "control: accept unix: accept4: too many open files, trying again until it works" {
		t.Errorf("%q and %d lines more", line, len(log))
	}
}
