package floor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/cost"
	"github.com/scgid/scgid/cmd/scgibench/load"
	"golang.org/x/sys/unix"
)

// programs builds both, or skips.
func programs(t *testing.T) Programs {
	t.Helper()
	p, err := Build(t.TempDir())
	if errors.Is(err, ErrNoCompiler) && os.Getenv("CI") != "true" {
		t.Skip("needs gcc")
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// dispatcher starts it and returns its pid when it listens.
func dispatcher(t *testing.T, program, addr string, workers int, command ...string) int {
	t.Helper()
	cmd := exec.Command(program, append([]string{addr, fmt.Sprint(workers)}, command...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("dispatcher said %q, %v", line, err)
	}
	return cmd.Process.Pid
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestDispatcherAnswersEveryRequest(t *testing.T) {
	p := programs(t)
	text := "Hello from the floor"
	for _, addr := range []string{filepath.Join(t.TempDir(), "s"), "@scgibench-floor-" + fmt.Sprint(os.Getpid()), freePort(t)} {
		dispatcher(t, p.Dispatcher, addr, 8)
		l := &load.Load{Address: addr, Clients: 32, Requests: 2000, Timeout: time.Minute, Expect: load.Expect{Body: &text}}
		res, err := l.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if res.OK != 2000 {
			t.Errorf("%s: %d of 2000 good; %v", addr, res.OK, res.Examples)
		}
	}
}

// cpuOf is the CPU of the dispatcher's tree for n requests.
func cpuOf(t *testing.T, pid int, addr string, n int64) time.Duration {
	t.Helper()
	before, err := cost.Take(pid)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&load.Load{Address: addr, Clients: 4, Requests: n, Timeout: time.Minute}).Run(context.Background())
	if err != nil || res.OK != n {
		t.Fatalf("%+v, %v", res, err)
	}
	after, err := cost.Take(pid)
	if err != nil {
		t.Fatal(err)
	}
	return after.Since(before).Tree.CPU
}

func TestDispatcherBurnsWhatItIsTold(t *testing.T) {
	p := programs(t)
	addr := filepath.Join(t.TempDir(), "s")
	t.Setenv("FLOOR_BURN_US", "5000")
	pid := dispatcher(t, p.Dispatcher, addr, 2)
	const n = 50
	if used := cpuOf(t, pid, addr, n); used < n*5*time.Millisecond || used > n*6*time.Millisecond {
		t.Errorf("%v for %d requests of 5 ms", used, n)
	}
}

func TestDispatcherExecutesTheProgram(t *testing.T) {
	p := programs(t)
	addr, seen := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "seen")
	if err := unix.Mkfifo(seen, 0o600); err != nil {
		t.Fatal(err)
	}
	dispatcher(t, p.Dispatcher, addr, 1, "/bin/sh", "-c", `readlink /proc/self/fd/$FLOOR_LINK_FD >$0; exec cat <&$FLOOR_LINK_FD`, seen)
	text, err := os.ReadFile(seen)
	if err != nil || !strings.HasPrefix(string(text), "socket:") {
		t.Errorf("the program's link is %q, %v", text, err)
	}
}

func TestSpawnRunsTheProgramUntilTheTimeIsOver(t *testing.T) {
	p := programs(t)
	out, err := exec.Command(p.Spawn, "50", "/bin/echo", "hello").Output()
	var runs, us int
	if n, _ := fmt.Sscan(string(out), &runs, &us); err != nil || n != 2 || runs < 1 || us < 50_000 {
		t.Errorf("%q, %v", out, err)
	}
	for _, bad := range [][]string{{"10", "/bin/false"}, {"10", "/bin/true"}, {"10", "/does/not/exist"}, {"0", "/bin/echo"}} {
		if out, err := exec.Command(p.Spawn, bad...).Output(); err == nil {
			t.Errorf("%v: %q", bad, out)
		}
	}
}

func TestDispatcherReadsTheWholeBody(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "s")
	dispatcher(t, programs(t).Dispatcher, addr, 2)
	l := &load.Load{Address: addr, Clients: 3, Requests: 30, Body: 1 << 20, Timeout: time.Minute}
	res, err := l.Run(context.Background())
	if err != nil || res.OK != 30 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestDispatcherOutlivesBadRequests(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "s")
	dispatcher(t, programs(t).Dispatcher, addr, 1)
	for _, bad := range []string{"", "x", "99999999999999", "1:,", "4:ab", "20:" + strings.Repeat("x", 20) + ",", strings.Repeat("9", 11) + ":" + strings.Repeat("x", 1<<20)} {
		conn, err := net.Dial("unix", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, bad)
		conn.(*net.UnixConn).CloseWrite()
		if got, _ := io.ReadAll(conn); len(got) > 0 {
			t.Errorf("%.20q is answered with %q", bad, got)
		}
		conn.Close()
	}
	res, err := (&load.Load{Address: addr, Requests: 1}).Run(context.Background())
	if err != nil || res.OK != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

// A worker is the C worker with the test as its master.
type worker struct {
	cmd  *exec.Cmd
	link int
}

func startWorker(t *testing.T, program string) *worker {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "link")
	defer theirs.Close()
	cmd := exec.Command(program)
	cmd.Env = []string{"SCGID_WORKER_FD=3"}
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &worker{cmd, pair[0]}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); unix.Close(w.link) })
	if err := unix.SetsockoptTimeval(w.link, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *worker) want(t *testing.T, message string) {
	t.Helper()
	buf := make([]byte, 100)
	n, err := unix.Read(w.link, buf)
	if err != nil || string(buf[:n]) != message {
		t.Fatalf("message %q, %v; want %q", buf[:max(n, 0)], err, message)
	}
}

// pass gives the worker a connection that has sent a request, keeps the
// master's duplicate open, and returns the client's end.
func (w *worker) pass(t *testing.T, id int) net.Conn {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[1]) })
	f := os.NewFile(uintptr(pair[0]), "client")
	defer f.Close()
	client, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	io.WriteString(client, "24:CONTENT_LENGTH\x000\x00SCGI\x001\x00,")
	note := fmt.Appendf(nil, "CONN=%d\nWAITED=17", id)
	if err := unix.Sendmsg(w.link, note, unix.UnixRights(pair[1]), nil, 0); err != nil {
		t.Fatal(err)
	}
	return client
}

func wantReply(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(got), "\r\n\r\nHello from the floor") {
		t.Errorf("reply %q, %v", got, err)
	}
}

func TestWorkerSpeaksTheLinkProtocol(t *testing.T) {
	w := startWorker(t, programs(t).Worker)
	w.want(t, "READY=1")
	for id := 1; id <= 1000; id *= 10 {
		client := w.pass(t, id)
		wantReply(t, client) // ends although the master's duplicate is open
		w.want(t, fmt.Sprintf("DONE=%d", id))
	}
	unix.Shutdown(w.link, unix.SHUT_WR)
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("at the end of the link: %v", err)
	}
}

func TestWorkerFinishesWhatItHoldsAtSIGTERM(t *testing.T) {
	w := startWorker(t, programs(t).Worker)
	w.want(t, "READY=1")
	w.cmd.Process.Signal(syscall.SIGSTOP) // so that the packets queue
	one, two := w.pass(t, 1), w.pass(t, 2)
	w.cmd.Process.Signal(syscall.SIGTERM)
	w.cmd.Process.Signal(syscall.SIGCONT)
	wantReply(t, one)
	wantReply(t, two)
	w.want(t, "DONE=1")
	w.want(t, "DONE=2")
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestWorkerSaysWhatItNeeds(t *testing.T) {
	cmd := exec.Command(programs(t).Worker)
	cmd.Env = []string{}
	text, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(text), "SCGID_WORKER_FD is not set") {
		t.Errorf("%q, %v", text, err)
	}
}

// The generator shares the machine with what it measures: nothing is allocated
// for a request, so there is no garbage collection during a run.
func TestLoadAllocatesNothingPerRequest(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "s")
	dispatcher(t, programs(t).Dispatcher, addr, 4)
	allocations := func(requests int64) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		res, err := (&load.Load{Address: addr, Clients: 8, Requests: requests, Timeout: time.Minute}).Run(context.Background())
		runtime.ReadMemStats(&after)
		if err != nil || res.OK != requests {
			t.Fatalf("%+v, %v", res, err)
		}
		return after.Mallocs - before.Mallocs
	}
	allocations(100)
	few, many := allocations(100), allocations(2100)
	if many > few+200 {
		t.Errorf("%d allocations for 2,100 requests, %d for 100", many, few)
	}
}
