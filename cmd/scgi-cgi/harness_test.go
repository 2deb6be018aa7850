package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scgid/scgid/worker/link"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test for something that must come.
const patience = 30 * time.Second

// beWorker makes the test binary the worker. Silently is how long that waits for
// clients, and unreadFor for a program that reads nothing.
const (
	beWorker  = "SCGI_CGI_TEST_IS_WORKER"
	silently  = "SCGI_CGI_TEST_SILENCE"
	unreadFor = "SCGI_CGI_TEST_UNREAD"
)

func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), binaryName) {
		beBinary()
		return
	}
	if os.Getenv(beWorker) != "" {
		os.Unsetenv(beWorker)
		o := options{waits: waits{silence: time.Minute, unread: 10 * time.Second}}
		if d, err := time.ParseDuration(os.Getenv(silently)); err == nil {
			o.silence = d
		}
		if d, err := time.ParseDuration(os.Getenv(unreadFor)); err == nil {
			o.unread = d
		}
		execute(o)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A testMaster is the little of a master that one worker needs. Like the real
// one it keeps its descriptor of a connection until DONE.
type testMaster struct {
	t       *testing.T
	fd      int
	cmd     *exec.Cmd
	stderr  *stderrLog
	exited  chan error
	mayFail bool // set at once by a test of that
	slot    int  // of the worker's page, for all connections

	mu   sync.Mutex
	next uint64
	held map[uint64]int // descriptors, guarded by mu
	done map[uint64]chan link.Message
	said chan link.Message // READY and FAILED
}

// startWorker starts scgi-cgi with args and waits for READY.
func startWorker(t *testing.T, args ...string) *testMaster {
	t.Helper()
	return launch(t, args...).awaitReady()
}

// awaitReady waits for READY.
func (m *testMaster) awaitReady() *testMaster {
	t := m.t
	t.Helper()
	select {
	case msg := <-m.said:
		if !msg.Ready {
			t.Fatalf("the worker failed to start: %s", msg.Failed)
		}
	case <-time.After(patience):
		t.Fatalf("the worker is not ready; its log:\n%s", m.stderr)
	}
	return m
}

func launch(t *testing.T, args ...string) *testMaster {
	t.Helper()
	return launchWith(t, nil, args...)
}

// launchWith starts a worker whose standard error is the file, if that is not nil.
func launchWith(t *testing.T, stderr *os.File, args ...string) *testMaster {
	t.Helper()
	return launchChanged(t, func(cmd *exec.Cmd) {
		if stderr != nil {
			cmd.Stderr = stderr
		}
	}, args...)
}

// launchChanged lets change what is started.
func launchChanged(t *testing.T, change func(*exec.Cmd), args ...string) *testMaster {
	t.Helper()
	ours, theirs, err := link.Pair()
	must(t, err)
	m := &testMaster{
		t: t, fd: ours, slot: link.NoSlot, stderr: new(stderrLog), exited: make(chan error, 1),
		held: make(map[uint64]int), done: make(map[uint64]chan link.Message), said: make(chan link.Message, 4),
	}
	file := os.NewFile(uintptr(theirs), "link")
	m.cmd = exec.Command(os.Args[0], args...)
	m.cmd.Env = append(os.Environ(), beWorker+"=1", link.EnvFD+"=3", link.EnvProtocol+"=1", "WORKER_SECRET=secret",
		"GORACE=atexit_sleep_ms=0") // else each race-checked worker lingers for a second
	m.cmd.ExtraFiles = []*os.File{file}
	m.cmd.Stderr = m.stderr
	change(m.cmd)
	// A program may keep stderr open for longer than its worker lives.
	m.cmd.WaitDelay = time.Second
	must(t, m.cmd.Start())
	file.Close()
	go func() { m.exited <- m.cmd.Wait() }()
	listening := make(chan struct{})
	go func() { defer close(listening); m.listen() }()
	t.Cleanup(func() {
		link.Retire(m.fd)
		if err := m.wait(); err != nil && !m.mayFail && !t.Failed() {
			t.Errorf("the worker ended with %v; its log:\n%s", err, m.stderr)
		}
		<-listening
		unix.Close(m.fd)
	})
	return m
}

// wait returns how the worker ended; it may be called again.
func (m *testMaster) wait() error {
	select {
	case err := <-m.exited:
		m.exited <- err
		return err
	case <-time.After(patience):
		m.cmd.Process.Kill()
		return fmt.Errorf("no end; its log:\n%s", m.stderr)
	}
}

// listen takes the worker's messages until its end closes.
func (m *testMaster) listen() {
	var r link.Receiver
	for {
		p := []unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err == unix.EINTR {
			continue
		}
		packet, err := r.Receive(m.fd)
		if err != nil || len(packet) == 0 {
			return
		}
		msg, err := link.Parse(packet)
		if err != nil {
			m.t.Errorf("the worker said %q: %v", packet, err)
			return
		}
		if !msg.HasDone {
			msg.Failed = bytes.Clone(msg.Failed)
			m.said <- msg
			continue
		}
		m.mu.Lock()
		unix.Close(m.held[msg.Done])
		delete(m.held, msg.Done)
		m.done[msg.Done] <- msg
		m.mu.Unlock()
	}
}

// pass gives the worker one end of a connection. It takes fd.
func (m *testMaster) pass(fd int) <-chan link.Message {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	done := make(chan link.Message, 1)
	m.held[m.next], m.done[m.next] = fd, done
	var s link.Sender
	must(m.t, s.SendConn(m.fd, m.next, 0, m.slot, fd))
	return done
}

// connect returns the web server's end of a connection over a Unix socket.
func (m *testMaster) connect() (*net.UnixConn, <-chan link.Message) {
	m.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(m.t, err)
	file := os.NewFile(uintptr(fds[0]), "client")
	defer file.Close()
	c, err := net.FileConn(file)
	must(m.t, err)
	m.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.UnixConn), m.pass(fds[1])
}

// connectTCP is connect over TCP.
func (m *testMaster) connectTCP() (*net.TCPConn, <-chan link.Message) {
	m.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(m.t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	must(m.t, err)
	m.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	a, err := l.Accept()
	must(m.t, err)
	defer a.Close()
	file, err := a.(*net.TCPConn).File()
	must(m.t, err)
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	must(m.t, err)
	return c.(*net.TCPConn), m.pass(fd)
}

// await waits for a message, most often DONE.
func (m *testMaster) await(done <-chan link.Message) link.Message {
	m.t.Helper()
	select {
	case msg := <-done:
		return msg
	case <-time.After(patience):
		m.t.Fatalf("no message; the worker's log:\n%s", m.stderr)
	}
	return link.Message{}
}

// ask sends a whole request, then reads the whole reply, as Apache does. vars
// are NAME=VALUE.
func (m *testMaster) ask(body string, vars ...string) reply {
	m.t.Helper()
	c, done := m.connect()
	writeRequest(m.t, c, body, vars...)
	text, err := io.ReadAll(c)
	must(m.t, err)
	m.await(done)
	return readReply(m.t, text)
}

func writeRequest(t *testing.T, w io.Writer, body string, vars ...string) {
	t.Helper()
	_, err := w.Write(append(requestHeader(t, len(body), vars...), body...))
	must(t, err)
}

func requestHeader(t *testing.T, length int, vars ...string) []byte {
	t.Helper()
	h := []scgi.Var{{Name: "CONTENT_LENGTH", Value: strconv.Itoa(length)}}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		h = append(h, scgi.Var{Name: name, Value: value})
	}
	if !strings.Contains(strings.Join(vars, " "), "REQUEST_METHOD=") {
		h = append(h, scgi.Var{Name: "REQUEST_METHOD", Value: "GET"})
	}
	b, err := scgi.AppendHeader(nil, h)
	must(t, err)
	return b
}

// A reply is what the web server got.
type reply struct {
	code int // of Status, 0 without
	head string
	body string
}

func readReply(t *testing.T, text []byte) reply {
	t.Helper()
	head, body, ok := strings.Cut(string(text), "\r\n\r\n")
	if !ok {
		t.Fatalf("the reply %.200q has no header", text)
	}
	r := reply{head: head + "\r\n", body: body}
	if status, ok := r.field("Status"); ok {
		r.code, _ = strconv.Atoi(status[:3])
	}
	return r
}

func (r reply) field(name string) (string, bool) {
	for _, line := range strings.Split(r.head, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return value, true
		}
	}
	return "", false
}

// A stderrLog collects the worker's standard error.
type stderrLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *stderrLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *stderrLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wantLog waits until the worker's log has text.
func (m *testMaster) wantLog(text string) {
	m.t.Helper()
	if !eventually(func() bool { return strings.Contains(m.stderr.String(), text) }) {
		m.t.Errorf("the log has no %q:\n%s", text, m.stderr)
	}
}

// endLog ends the worker and returns all of its log.
func (m *testMaster) endLog() string {
	m.t.Helper()
	must(m.t, link.Retire(m.fd))
	must(m.t, m.wait())
	return m.stderr.String()
}

// wantNoLog ends the worker, the log of which must be empty.
func (m *testMaster) wantNoLog() {
	m.t.Helper()
	if log := m.endLog(); log != "" {
		m.t.Errorf("the log says %s", log)
	}
}

// eventually asks until it is so, for what gives no event to wait for.
func eventually(so func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if so() {
			return true
		}
	}
	return so()
}

// install writes an executable file beneath dir.
func install(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o755))
	return path
}

// fifo makes a named pipe that both sides wait at.
func fifo(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, unix.Mkfifo(path, 0o600))
	return path
}

// tell writes to a named pipe at which a program waits, or will.
func (m *testMaster) tell(path, text string) {
	m.t.Helper()
	m.meet(path, func() error { return os.WriteFile(path, []byte(text), 0) })
}

// hear reads what a program writes to a named pipe.
func (m *testMaster) hear(path string) (text string) {
	m.t.Helper()
	m.meet(path, func() error {
		b, err := os.ReadFile(path)
		text = string(b)
		return err
	})
	return text
}

// meet bounds what waits for the other side of a named pipe.
func (m *testMaster) meet(path string, do func() error) {
	m.t.Helper()
	met := make(chan error, 1)
	go func() { met <- do() }()
	select {
	case err := <-met:
		must(m.t, err)
	case <-time.After(patience):
		m.t.Fatalf("no program came to %s; the worker's log:\n%s", path, m.stderr)
	}
}

// gone waits until the processes have ended; a zombie has.
func gone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err == unix.ESRCH {
			continue
		}
		must(t, err)
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(p, int(patience.Milliseconds()))
			if err == unix.EINTR {
				continue
			}
			if n == 0 {
				t.Errorf("process %d lives on", pid)
			}
			break
		}
		unix.Close(fd)
	}
}

// needs skips a test, or fails it where everything should be installed.
func needs(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
