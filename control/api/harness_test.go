package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/controltest"
	"github.com/scgid/scgid/control/metrics"
)

const childEnv = "SCGID_API_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "verbs":
		callAll(os.Args[1])
	case "flood":
		flood(os.Args[1])
	default:
		code := m.Run()
		if scratch != "" {
			os.RemoveAll(scratch)
		}
		os.Exit(code)
	}
}

// A site is a server in front of a pool in memory.
type site struct {
	*Server
	t      *testing.T
	pool   *controltest.Pool
	socket string
	client *Client
	done   chan error // of Serve

	mu  sync.Mutex
	log []string
}

// shortDir returns a directory that everybody may enter.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// me is what a pool of this process's user grants: everything to itself.
func me() control.Access {
	return control.Access{OwnUID: uint32(os.Getuid()), OwnFull: true, Group: -1, ReadGroup: -1}
}

// serve serves a pool in memory until the test ends.
func serve(t *testing.T, access control.Access, who func(*net.UnixConn) (control.Caller, error)) *site {
	t.Helper()
	s := &site{t: t, pool: newMemPool(), done: make(chan error, 1)}
	s.socket = filepath.Join(shortDir(t), "wiki", SocketName)
	s.client = NewClient(s.socket)
	s.Server = NewServer(Options{Pool: s.pool, Access: access, Metrics: metrics.Handler(s.pool.Metrics, "wiki", "1.2"), Log: s.logf})
	s.who = who
	l, err := Listen(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(soon(t)); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-s.done; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func (s *site) logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *site) lines() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, "\n")
}

// soon is a context for what must not hang.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dial connects to the site; the test closes it.
func (s *site) dial() net.Conn {
	s.t.Helper()
	c, _, err := NewClient(s.socket).dial(soon(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// say sends raw and reads one reply with its body.
func (s *site) say(raw string) (*http.Response, string) {
	s.t.Helper()
	c := s.dial()
	defer c.Close()
	_, _ = io.WriteString(c, raw)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatalf("%.60q: %v", raw, err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatalf("%.60q: %v", raw, err)
	}
	return r, string(body)
}

func get(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(headers, "Connection: close"), "\r\n") + "\r\n\r\n"
}

func post(path, body string, headers ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" +
		strings.Join(append(headers, fmt.Sprintf("Content-Length: %d", len(body)), "Connection: close"), "\r\n") + "\r\n\r\n" + body
}

// serves fails the test unless the site answers at once.
func (s *site) serves() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if _, err := s.client.Status(ctx); err != nil {
		s.t.Errorf("the server does not go on: %v", err)
	}
}

// until waits for a condition that another goroutine brings about.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}

// noLeft fails the test when it ends with more goroutines or descriptors than
// it began with. It must be called first.
func noLeft(t *testing.T) {
	t.Helper()
	// The runtime's poller keeps descriptors from its first use on.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	fds, routines := countFDs(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			f, g := countFDs(t), runtime.NumGoroutine()
			if f <= fds && g <= routines {
				return
			}
			if time.Now().After(end) {
				stacks := make([]byte, 64<<10)
				t.Errorf("%d descriptors and %d goroutines, %d and %d before\n%s", f, g, fds, routines, stacks[:runtime.Stack(stacks, true)])
				return
			}
		}
	})
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// as returns a command that runs this test binary as another user.
func as(t *testing.T, uid uint32, gids []uint32, mode, socket string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	binary, err := reachable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, socket)
	cmd.Dir = "/"
	cmd.Env = []string{childEnv + "=" + mode, "GORACE=atexit_sleep_ms=0"}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gids[0], Groups: gids[1:]}}
	return cmd
}

// reachable is a copy of this binary: where go test puts it no other user can
// go. TestMain removes it.
var reachable = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		return "", err
	}
	scratch = dir
	binary := filepath.Join(dir, "api.test")
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	return binary, copyFile("/proc/self/exe", binary)
})

var scratch string

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// An answer is what a caller got from one call.
type answer struct {
	Code   string // of the error, or empty
	Status *control.Status
}

// arguments are valid ones, for each verb that has any.
var arguments = map[string]any{
	"scale": map[string]any{"max_workers": 6}, "pause": map[string]any{"limit": 5}, "retire": control.WorkerArgs{Worker: 1},
	"kill": control.WorkerArgs{Worker: 2}, "dump": control.WorkerArgs{Worker: 2}, "log-level": map[string]any{"level": "debug"},
	"stop": control.StopArgs{Now: true},
}

// callAll calls everything, the stop last, and prints the answers.
func callAll(socket string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, all := NewClient(socket), map[string]answer{}
	code := func(err error) answer {
		if err == nil {
			return answer{}
		}
		return answer{Code: control.AsError(err).Code}
	}
	for _, v := range control.Verbs() {
		switch v.Name {
		case "stop":
		case "status":
			s, err := c.Status(ctx)
			all[v.Name] = code(err)
			if err == nil {
				all[v.Name] = answer{Status: &s}
			}
		case "dump", "kill": // in this order, which is not the table's
		default:
			all[v.Name] = code(c.Call(ctx, v.Name, arguments[v.Name], nil))
		}
	}
	for _, name := range []string{"dump", "kill"} {
		all[name] = code(c.Call(ctx, name, arguments[name], nil))
	}
	all["GET log-level"] = code(c.Call(ctx, "log-level", nil, nil))
	_, err := c.Metrics(ctx)
	all["metrics"] = code(err)
	began := fmt.Errorf("it began")
	err = c.EventsFrom(ctx, func() error { return began }, nil)
	if err == began {
		err = nil
	}
	all["events"] = code(err)
	all["verbs"] = code(c.do(ctx, http.MethodGet, pathVerbs, nil, nil))
	all["stop"] = code(c.Call(ctx, "stop", arguments["stop"], nil))
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		os.Exit(1)
	}
}

// flood opens 2,000 connections that say nothing, prints how many were turned
// away, and holds the others until its stdin ends.
func flood(socket string) {
	var open []net.Conn
	for len(open) < 2000 {
		c, _, err := NewClient(socket).dial(context.Background())
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		open = append(open, c)
	}
	away := 0
	for _, c := range open {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, _ := c.Read(make([]byte, 12)); n > 0 {
			away++
		}
	}
	fmt.Println(away)
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(open)
}
