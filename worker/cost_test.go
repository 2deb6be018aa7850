package worker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/worker/link"
	"github.com/scgid/scgid/worker/scgi"
)

// What a small request must be done with. Beside the master's calls that keeps
// a request below sixteen.
var smallRequest = map[string]float64{
	"recvmsg":  1, // the connection
	"recvfrom": 1, // the request
	"sendmsg":  1, // the reply
	"shutdown": 1,
	"close":    1,
	"sendto":   1, // DONE
}

// runtimes are the calls of Go's scheduler: a few in a hundred requests, more
// while strace holds up every thread and the machine is busy. They are not held
// against a request.
var runtimes = map[string]bool{
	"futex": true, "nanosleep": true, "sched_yield": true, "getpid": true, "tgkill": true, "rt_sigreturn": true, "madvise": true, "epoll_pwait": true,
}

// mostOthers bounds what else a process does while it runs, per request.
const mostOthers = 0.5

func TestASmallRequestTakesSixSystemCalls(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes calls of its own")
	}
	few, many := countCalls(t, 100), countCalls(t, 1100)
	other := 0.0
	for name, n := range many {
		calls := float64(n-few[name]) / 1000
		want, ours := smallRequest[name]
		switch {
		case runtimes[name]:
		case !ours:
			other += calls
		case calls > want+0.05 || calls < want-0.05:
			t.Errorf("%s: %.2f a request, want %v", name, calls, want)
		}
	}
	if other > mostOthers {
		t.Errorf("%.2f other calls a request, want at most %v: %v", other, mostOthers, many)
	}
}

// countCalls returns how many system calls of each name a worker makes that
// answers n requests, from its start to its end.
func countCalls(t *testing.T, n int) map[string]int {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs strace")
		}
		t.Skip("needs strace")
	}
	counts := filepath.Join(t.TempDir(), "counts")
	m, fd := newMaster(t)
	end := os.NewFile(uintptr(fd), "worker's end")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(strace, "-f", "-c", "-o", counts, self)
	cmd.Env = append(os.Environ(), modeEnv+"=serve", link.EnvFD+"=3", link.EnvProtocol+"=1")
	cmd.ExtraFiles = []*os.File{end}
	var says bytes.Buffer
	cmd.Stderr = &says
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end.Close()
	select {
	case <-m.ready:
	case <-m.closed:
		cmd.Wait()
		t.Skipf("needs the right to trace: %s", &says)
	}
	for range n {
		client, accepted := rawPair(t)
		conn, err := netConn(client)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(request("/", "")) // before it is passed, as with the real master
		if _, err := m.pass(accepted); err != nil {
			t.Fatal(err)
		}
		if reply, err := io.ReadAll(conn); !strings.HasSuffix(string(reply), "answer to /\n") {
			t.Fatalf("reply %q, error %v", reply, err)
		}
		conn.Close()
	}
	m.retire()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &says)
	}
	m.close()
	return readCounts(t, counts)
}

// readCounts reads strace's table: % time, seconds, usecs/call, calls, errors
// (may be blank), name.
func readCounts(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	counts := map[string]int{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		column := strings.Fields(sc.Text())
		if len(column) < 5 || column[len(column)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(column[3]); err == nil { // else it is a ruler
			counts[column[len(column)-1]] = n
		}
	}
	return counts
}

// browserVars are those of a request as nginx passes it on.
func browserVars() (h scgi.Header) {
	for _, line := range strings.Split(`CONTENT_LENGTH 0
QUERY_STRING a=b
REQUEST_METHOD GET
CONTENT_TYPE 
REQUEST_URI /a/b?a=b
DOCUMENT_URI /a/b
DOCUMENT_ROOT /usr/share/nginx/html
SCGI 1
SERVER_PROTOCOL HTTP/1.1
REQUEST_SCHEME http
REMOTE_ADDR 127.0.0.1
REMOTE_PORT 12345
SERVER_PORT 80
SERVER_NAME localhost
HTTP_HOST localhost
HTTP_USER_AGENT Mozilla/5.0 (X11; Linux x86_64) Gecko
HTTP_ACCEPT text/html,*/*
HTTP_ACCEPT_LANGUAGE de,en
HTTP_ACCEPT_ENCODING gzip
HTTP_CONNECTION keep-alive
HTTP_COOKIE a=b; c=d
HTTP_SEC_FETCH_MODE navigate
HTTP_UPGRADE_INSECURE_REQUESTS 1`, "\n") {
		name, value, _ := strings.Cut(line, " ")
		h = append(h, scgi.Var{Name: name, Value: value})
	}
	return h
}

// BenchmarkSmallRequest is a request as it comes from a browser and a reply of
// six bytes, with the link and the connection, and without a master.
func BenchmarkSmallRequest(b *testing.B) {
	s, pass := benchServer(b)
	text, err := scgi.AppendHeader(nil, browserVars())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		pass(text)
		c, err := s.w.Accept()
		if err != nil {
			b.Fatal(err)
		}
		s.serve(c, time.Now())
	}
}

// TestASmallRequestAllocatesLittle bounds what BenchmarkSmallRequest counts; the
// test's own calls are included.
func TestASmallRequestAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s, pass := benchServer(t)
	text, err := scgi.AppendHeader(nil, browserVars())
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(200, func() {
		pass(text)
		c, err := s.w.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s.serve(c, time.Now())
	})
	t.Logf("%v allocations", n)
	if n > 50 {
		t.Errorf("%v allocations for a request, want at most 50", n)
	}
}

// benchServer is a server, and what passes it a connection with text on it.
// What the connection before was given is thrown away first.
func benchServer(t testing.TB) (s *server, pass func(text []byte)) {
	t.Helper()
	master, fd, err := link.Pair()
	if err != nil {
		t.Fatal(err)
	}
	end, err := link.NewEnd(fd)
	if err != nil {
		t.Fatal(err)
	}
	var sender link.Sender
	var receiver link.Receiver
	client := -1
	t.Cleanup(func() { closeFD(client); closeFD(master); end.Close() })
	s = &server{options: newOptions(nil), w: &Worker{end: end}, ctx: t.Context()}
	s.log = log.New(io.Discard, "", 0)
	s.h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "hello\n")
	})
	return s, func(text []byte) {
		if client >= 0 {
			receiver.Receive(master) // DONE
			closeFD(client)
		}
		var accepted int
		client, accepted = rawPair(t)
		if n, errno := send(client, [][]byte{text}); n != len(text) {
			t.Fatal(errno)
		}
		if err := sender.SendConn(master, 1, 0, link.NoSlot, accepted); err != nil {
			t.Fatal(err)
		}
		closeFD(accepted)
	}
}

func rawPair(t testing.TB) (a, b int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}
