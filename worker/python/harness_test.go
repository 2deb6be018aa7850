package python_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 30 * time.Second // until a test gives up waiting for an event

// python is Debian's own interpreter, if there is one: the only one that sees
// Debian's packages. PYTHON= names another, for a run with another version.
func python(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("PYTHON"); path != "" {
		return path
	}
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	path, err := exec.LookPath("python3")
	if err != nil {
		need(t, "python3")
	}
	return path
}

// need skips a test for want of a program, except where CI installs it.
func need(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

// worker is one worker process, with the test as its master.
type worker struct {
	t      testing.TB
	cmd    *exec.Cmd
	link   *net.UnixConn
	stderr *log
	ready  string
	exited chan struct{} // closed when cmd has been waited for

	slot string // what CONN says of the page

	mu    sync.Mutex
	next  int
	done  map[int]chan string
	stray []string // messages that answer nothing
}

// log collects a process's stderr.
type log struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	written chan struct{} // closed by the next Write, if somebody waits
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written != nil {
		close(l.written)
		l.written = nil
	}
	return l.buf.Write(p)
}

// more is closed when more is written.
func (l *log) more() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written == nil {
		l.written = make(chan struct{})
	}
	return l.written
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// seqpacket returns both ends of a worker link: ours and the worker's.
func seqpacket(t testing.TB) (*net.UnixConn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socketpair", err))
	}
	return fileConn(t, fds[0]).(*net.UnixConn), os.NewFile(uintptr(fds[1]), "link")
}

// fileConn takes fd.
func fileConn(t testing.TB, fd int) net.Conn {
	t.Helper()
	file := os.NewFile(uintptr(fd), "conn")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// launch starts a program with a link, in testdata, and does not wait for READY.
func launch(t testing.TB, argv ...string) *worker {
	t.Helper()
	return launchWith(t, func(*exec.Cmd) {}, argv...)
}

// launchWith lets change what is started.
func launchWith(t testing.TB, change func(*exec.Cmd), argv ...string) *worker {
	t.Helper()
	ours, theirs := seqpacket(t)
	defer theirs.Close()
	w := &worker{t: t, link: ours, stderr: &log{}, exited: make(chan struct{}), done: map[int]chan string{}}
	w.cmd = exec.Command(argv[0], argv[1:]...)
	w.cmd.Dir = "testdata"
	w.cmd.Stderr = w.stderr
	w.cmd.WaitDelay = 5 * time.Second // processes that the application left may hold stderr
	w.cmd.ExtraFiles = []*os.File{theirs}
	w.cmd.Env = append(os.Environ(), "SCGID_WORKER_FD=3", "SCGID_WORKER=7", "SCGID_GENERATION=2",
		"SCGID_PROTOCOL=1", "SCGID_POOL=wiki", "PYTHONDONTWRITEBYTECODE=1")
	change(w.cmd)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.cmd.Wait()
		close(w.exited)
	}()
	t.Cleanup(func() {
		w.link.Close()
		w.cmd.Process.Kill()
		<-w.exited
	})
	return w
}

// start starts scgi_wsgi.py with an application and waits for READY.
func start(t testing.TB, args ...string) *worker {
	t.Helper()
	w := launch(t, append([]string{python(t), "-S", "../scgi_wsgi.py"}, args...)...)
	w.awaitReady()
	return w
}

// serve starts scgi_wsgi.py with an application of this text, which begins with the
// other names that tests need.
func serve(t testing.TB, text string, args ...string) *worker {
	t.Helper()
	return start(t, append([]string{module(t, prelude+text)}, args...)...)
}

const prelude = `
import os, sys, threading, time
def reply(start, body, *headers):
    start("200 OK", [("Content-Type", "text/plain"), *headers])
    return [body if isinstance(body, bytes) else str(body).encode()]
def application(env, start):
    return globals()["do_" + env["HTTP_X_DO"]](env, start)
def do_hello(env, start):
    return reply(start, "hello")
`

// scgiWSGI is the worker's absolute path.
func scgiWSGI(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("scgi_wsgi.py")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// startIn starts the worker in a directory, with site-packages and more variables.
func startIn(t testing.TB, dir string, env []string, args ...string) *worker {
	t.Helper()
	script := scgiWSGI(t)
	w := launchWith(t, func(cmd *exec.Cmd) {
		cmd.Dir = dir
		cmd.Env = append(cmd.Env, env...)
	}, append([]string{python(t), script}, args...)...)
	w.awaitReady()
	return w
}

// says asks and wants this body.
func (w *worker) says(do, want string) {
	w.t.Helper()
	if reply, _ := w.ask(get(do)); body(reply) != want {
		w.t.Errorf("%s: %.2000q, want %q\n%s", do, reply, want, w.stderr)
	}
}

func (w *worker) awaitReady() {
	w.t.Helper()
	if w.ready = w.message(); !strings.HasPrefix(w.ready, "READY=1") {
		w.t.Fatalf("first message is %q\n%s", w.ready, w.stderr)
	}
	go w.receive()
}

// message returns the next message; "" at the end of file.
func (w *worker) message() string {
	w.t.Helper()
	buf := make([]byte, 4096)
	w.link.SetReadDeadline(time.Now().Add(patience))
	n, err := w.link.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		w.t.Fatalf("reading the link: %v\n%s", err, w.stderr)
	}
	return string(buf[:n])
}

func (w *worker) receive() {
	w.link.SetReadDeadline(time.Time{})
	buf := make([]byte, 4096)
	for {
		n, err := w.link.Read(buf)
		if n <= 0 || err != nil {
			return
		}
		w.deliver(string(buf[:n]))
	}
}

func (w *worker) deliver(text string) {
	first, _, _ := strings.Cut(text, "\n")
	id, err := strconv.Atoi(strings.TrimPrefix(first, "DONE="))
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting, ok := w.done[id]
	if err != nil || !ok {
		w.stray = append(w.stray, text)
		return
	}
	delete(w.done, id) // a second DONE is a stray
	waiting <- text
}

// pass gives the worker a connection. It takes fd only if there is no error; like
// the master it keeps its descriptor until DONE.
func (w *worker) pass(fd int) (*request, error) {
	w.mu.Lock()
	w.next++
	r := &request{w: w, id: w.next, fd: fd, done: make(chan string, 1)}
	w.done[r.id] = r.done
	w.mu.Unlock()
	text := fmt.Sprintf("CONN=%d\nWAITED=1500%s", r.id, w.slot)
	if _, _, err := w.link.WriteMsgUnix([]byte(text), unix.UnixRights(fd), nil); err != nil {
		return nil, err
	}
	return r, nil
}

// request is one connection in a worker's hands.
type request struct {
	w    *worker
	id   int
	fd   int // the master's descriptor
	conn net.Conn
	done chan string
}

// wait returns the DONE message and closes the master's descriptor.
func (r *request) wait() string {
	r.w.t.Helper()
	select {
	case text := <-r.done:
		unix.Close(r.fd)
		return text
	case <-time.After(patience):
		r.w.t.Fatalf("no DONE for %d\n%s", r.id, r.w.stderr)
	}
	return ""
}

// open passes one end of a new connection and returns the other.
func (w *worker) open(tcp bool) *request {
	w.t.Helper()
	client, fd := streamPair(w.t)
	if tcp {
		client.Close()
		unix.Close(fd)
		client, fd = tcpPair(w.t)
	}
	client.SetDeadline(time.Now().Add(patience))
	r, err := w.pass(fd)
	if err != nil {
		w.t.Fatalf("passing: %v\n%s", err, w.stderr)
	}
	r.conn = client
	w.t.Cleanup(func() { client.Close() })
	return r
}

func streamPair(t testing.TB) (net.Conn, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socketpair", err))
	}
	return fileConn(t, fds[0]), fds[1]
}

func tcpPair(t testing.TB) (net.Conn, int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	return client, blockingCopy(t, server.(syscall.Conn))
}

func blockingCopy(t testing.TB, conn syscall.Conn) int {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(os.NewSyscallError("fcntl", err))
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	return fd
}

// scgi encodes a request; pairs are names and values in turn.
func scgi(body string, pairs ...string) string {
	all := append([]string{"CONTENT_LENGTH", strconv.Itoa(len(body)), "SCGI", "1"}, pairs...)
	return netstring(strings.Join(all, "\x00")+"\x00") + body
}

func netstring(block string) string {
	return fmt.Sprintf("%d:%s,", len(block), block)
}

// get is the request that most tests begin with.
func get(do string, pairs ...string) string {
	return post(do, "", pairs...)
}

func post(do, body string, pairs ...string) string {
	method := "GET"
	if body != "" {
		method = "POST"
	}
	all := []string{"REQUEST_METHOD", method, "REQUEST_URI", "/a/b?q=1", "DOCUMENT_URI", "/a/b",
		"QUERY_STRING", "q=1", "SERVER_PROTOCOL", "HTTP/1.1", "SERVER_NAME", "example.org", "SERVER_PORT", "80",
		"HTTP_HOST", "example.org", "HTTP_X_DO", do}
	for i := 0; i < len(pairs); i += 2 {
		all = replace(all, pairs[i], pairs[i+1])
	}
	return scgi(body, all...)
}

// absent as a value leaves the variable out.
const absent = "\x01"

func replace(all []string, name, value string) []string {
	for i := 0; i < len(all); i += 2 {
		if all[i] == name && value == absent {
			return append(all[:i:i], all[i+2:]...)
		}
		if all[i] == name {
			all[i+1] = value
			return all
		}
	}
	if value == absent {
		return all
	}
	return append(all, name, value)
}

// ask sends a request and returns the raw reply and the DONE message.
func (w *worker) ask(request string) (string, string) {
	w.t.Helper()
	r := w.open(false)
	if _, err := io.WriteString(r.conn, request); err != nil {
		w.t.Fatal(err)
	}
	reply := r.read()
	r.conn.Close() // as front ends do; else a drain would wait for it
	return reply, r.wait()
}

// read returns all that comes until the end of file. The master still holds its
// descriptor then, so the end must have come by shutdown.
func (r *request) read() string {
	r.w.t.Helper()
	reply, err := io.ReadAll(r.conn)
	if err != nil {
		r.w.t.Fatalf("reading the reply after %d bytes: %v\n%s", len(reply), err, r.w.stderr)
	}
	return string(reply)
}

func body(reply string) string {
	_, body, _ := strings.Cut(reply, "\r\n\r\n")
	return body
}

func header(reply, name string) string {
	head, _, _ := strings.Cut(reply, "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n") {
		if key, value, ok := strings.Cut(line, ": "); ok && strings.EqualFold(key, name) {
			return value
		}
	}
	return absent
}

// exit waits for the process's end and returns its exit status; -1 for a signal.
func (w *worker) exit() int {
	w.t.Helper()
	select {
	case <-w.exited:
	case <-time.After(patience):
		w.t.Fatalf("the worker did not exit\n%s", w.stderr)
	}
	return w.cmd.ProcessState.ExitCode()
}

// stop ends the link, as the master retires a worker, and wants exit 0.
func (w *worker) stop() {
	w.t.Helper()
	w.link.CloseWrite()
	if code := w.exit(); code != 0 {
		w.t.Fatalf("exit status %d\n%s", code, w.stderr)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.stray) > 0 {
		w.t.Fatalf("messages that answer nothing: %q", w.stray)
	}
}

// silent stops the worker and wants nothing in its log.
func (w *worker) silent() {
	w.t.Helper()
	w.stop()
	if text := w.stderr.String(); text != "" {
		w.t.Errorf("the log is not empty:\n%s", text)
	}
}

func (w *worker) wantLog(text string) {
	w.t.Helper()
	w.stop()
	if !strings.Contains(w.stderr.String(), text) {
		w.t.Errorf("no %q in the log:\n%s", text, w.stderr)
	}
}
