package master

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// modeEnv makes the test binary a worker of a certain kind.
const modeEnv = "SCGID_TEST_WORKER"

func TestMain(m *testing.M) {
	process.Trampoline()
	if mode := os.Getenv(modeEnv); mode != "" {
		workerMain(mode)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A rig is a master under test.
type rig struct {
	*Master
	t      *testing.T
	addr   string
	dir    string
	log    *safeBuffer
	notes  *notes
	result chan error

	hosts   []func(*Host) // change what New gets
	prepare func(*Master) // before Run; may be nil
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// notes is a Notifier that remembers.
type notes struct {
	mu    sync.Mutex
	ready chan struct{}
	said  []string
	pings int
}

func (n *notes) add(s string) { n.mu.Lock(); n.said = append(n.said, s); n.mu.Unlock() }
func (n *notes) Ready(string) { n.add("READY"); close(n.ready) }
func (n *notes) Status(s string) {
	n.add(s)
}
func (n *notes) Extend(time.Duration) {}
func (n *notes) Stopping()            { n.add("STOPPING") }
func (n *notes) Watchdog()            { n.mu.Lock(); n.pings++; n.mu.Unlock() }
func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.said...)
}

// testLog writes lines as text handlers do. A line without a message has that of
// its value, as in package main.
func testLog(to io.Writer) *slog.Logger {
	return slog.New(valueText{slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug})})
}

type valueText struct{ slog.Handler }

func (h valueText) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if text, ok := a.Value.Any().(fmt.Stringer); ok && r.Message == "" {
			r.Message = text.String()
		}
		return true
	})
	return h.Handler.Handle(ctx, r)
}

// settings are those of most tests.
func settings(mode string) Settings {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Settings{
		Limits:      control.Limits{MinWorkers: 1, MaxWorkers: 4, MinIdle: 1, MaxIdle: 4},
		IdleTimeout: time.Minute,
		Command: process.Command{Argv: []string{exe}, Env: append(os.Environ(), modeEnv+"="+mode, "GOCOVERDIR="+os.TempDir(), "GORACE=atexit_sleep_ms=0"),
			NOFILE: process.Unset, Nice: process.Unset, OOMScoreAdjust: process.Unset},
		StartTimeout: 20 * time.Second, StopTimeout: 20 * time.Second,
		HeaderTimeout: 20 * time.Second, MaxHeader: 64 << 10,
		QueueTimeout: 20 * time.Second,
	}
}

// begin runs a master on a Unix socket in a directory of its own.
func begin(t *testing.T, mode string, edit func(*Settings), hosts ...func(*Host)) *rig {
	t.Helper()
	set := settings(mode)
	if edit != nil {
		edit(&set)
	}
	r, listeners := newRig(t, 1)
	r.hosts = hosts
	r.start(set, listeners...)
	return r
}

func (r *rig) start(set Settings, listeners ...Listener) {
	r.t.Helper()
	r.startWith(set, testLog(r.log), listeners...)
}

// startWith is start with a log of the test's own.
func (r *rig) startWith(set Settings, log *slog.Logger, listeners ...Listener) {
	r.t.Helper()
	h := Host{Name: "test", PID: os.Getpid(), Listeners: listeners, Notify: r.notes, Log: log}
	for _, edit := range r.hosts {
		edit(&h)
	}
	m, err := New(h, set)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Master = m
	if r.prepare != nil {
		r.prepare(m)
	}
	go func() { r.result <- m.Run() }()
	r.t.Cleanup(func() {
		r.Finish()
		if r.t.Failed() { // it may hang; the error is known already
			r.Harden()
			r.Harden()
		}
		select {
		case <-r.done:
		case <-time.After(30 * time.Second):
			r.t.Error("the master does not stop")
			r.Harden()
			r.Harden()
			<-r.done
		}
		for _, from := range listeners {
			unix.Close(from.FD)
		}
		if r.t.Failed() {
			lines := r.log.String()
			r.t.Log(lines[max(0, len(lines)-8000):])
		}
	})
}

func listenUnix(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		t.Fatal(err)
	}
	return fd
}

// end waits until the master has left by itself.
func (r *rig) end() error {
	r.t.Helper()
	select {
	case err := <-r.result:
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatal("the master does not leave")
		return nil
	}
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	return r.dialTo(r.addr)
}

// request is a header for this URI, with more variables by pairs.
func request(uri string, more ...string) []byte {
	vars := []scgi.Var{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_METHOD", Value: "GET"}, {Name: "REQUEST_URI", Value: uri}}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i] == "CONTENT_LENGTH" {
			vars[0].Value = more[i+1]
			continue
		}
		vars = append(vars, scgi.Var{Name: more[i], Value: more[i+1]})
	}
	b, err := scgi.AppendHeader(nil, vars)
	if err != nil {
		panic(err)
	}
	return b
}

// answer reads a reply to its end: status line and body.
func answer(c net.Conn) (status, body string, err error) {
	b, err := io.ReadAll(c)
	head, body, _ := strings.Cut(string(b), "\r\n\r\n")
	status, _, _ = strings.Cut(head, "\r\n")
	return strings.TrimPrefix(status, "Status: "), body, err
}

// get sends a request and returns the body of its answer, which must be 200.
func (r *rig) get(uri string, more ...string) string {
	r.t.Helper()
	status, body := r.try(uri, more...)
	if status != "200 OK" {
		r.t.Fatalf("%s: %q", uri, status)
	}
	return body
}

func (r *rig) try(uri string, more ...string) (status, body string) {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	c.Write(request(uri, more...))
	status, body, err := answer(c)
	if err != nil && status == "" {
		status = err.Error()
	}
	return status, body
}

// counters asks for all counts.
func (r *rig) counters() Counters {
	r.t.Helper()
	c, err := r.Counters(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) now() control.Status {
	r.t.Helper()
	s, err := r.Status(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// until asks the loop again and again until cond holds: each question goes
// through the loop, which has then done what it had to do before.
func (r *rig) until(what string, cond func(control.Status, Counters) bool) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if cond(r.now(), r.counters()) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatalf("never: %s: %+v %+v", what, r.now(), r.counters())
}

// held makes a request that stays at its worker until the function returned
// is called.
func (r *rig) held(name string) (c net.Conn, let func()) {
	r.t.Helper()
	fifo := filepath.Join(r.dir, name)
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		r.t.Fatal(err)
	}
	c = r.dial()
	c.Write(request("/fifo/pid", "FIFO", fifo))
	r.until("held", func(control.Status, Counters) bool { _, err := os.Stat(fifo + ".here"); return err == nil })
	return c, func() {
		if err := os.WriteFile(fifo, nil, 0); err != nil {
			r.t.Error(err)
		}
	}
}

// checkFDs fails the test if descriptors are left after it. Call it first.
func checkFDs(t *testing.T) {
	t.Helper()
	before := openFDs(t)
	t.Cleanup(func() {
		if after := openFDs(t); after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
