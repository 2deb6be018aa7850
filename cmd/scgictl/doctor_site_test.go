package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/worker"
)

// envWorker makes the test binary a worker. Its value is "good", or why it
// does not start.
const envWorker = "SCGICTL_TEST_WORKER"

func init() {
	if how := os.Getenv(envWorker); how != "" {
		workerMain(how)
		os.Exit(0)
	}
}

// workerMain answers /fail with 500, and /slow?FILE when FILE exists. An odd
// worker says of itself what no terminal should obey, and never answers.
func workerMain(how string) {
	if how == "odd" {
		oddWorker()
	}
	if how != "good" {
		w, err := worker.Open()
		if err != nil {
			panic(err)
		}
		_ = w.Fail(errors.New(how))
		os.Exit(1)
	}
	err := worker.Serve(context.Background(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fail":
			http.Error(w, "it broke", http.StatusInternalServerError)
		case "/django": // with ALLOWED_HOSTS
			if r.Host != "wiki.example.org" {
				http.Error(w, "<h1>Bad Request (400)</h1>", http.StatusBadRequest)
				return
			}
		case "/slow":
			for os.WriteFile(r.URL.RawQuery+".at-work", nil, 0o666) == nil {
				if _, err := os.Stat(r.URL.RawQuery); err == nil {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		w.Header().Set("X-Method", r.Method)
		fmt.Fprintf(w, "answer to %s", r.URL.Path)
	}))
	if err != nil {
		panic(err)
	}
}

// buildScgid builds the master once; it lies beside the scgictl of the tests.
var buildScgid = sync.OnceValues(func() (string, error) {
	ctl, err := exec.LookPath("scgictl")
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(ctl), "scgid")
	out, err := exec.Command("go", "build", "-o", path, "../scgid").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot build scgid: %v\n%s", err, out)
	}
	return path, nil
})

// A site is a real scgid with its configuration.
type site struct {
	t      *testing.T
	dir    string // everybody may search it
	listen string
	conf   string // file
	client *api.Client
	log    *logBuffer
}

// newSite starts scgid and waits until settled says that it is as wanted.
// lines go into [Pool]; how is what the worker does.
func newSite(t *testing.T, how, lines string, settled func(control.Status) bool) *site {
	t.Helper()
	s := &site{t: t, dir: openDir(t), log: &logBuffer{}}
	s.listen = filepath.Join(s.dir, "in", "app.sock")
	if err := os.Mkdir(filepath.Dir(s.listen), 0o755); err != nil {
		t.Fatal(err)
	}
	s.configure(how, "Listen="+s.listen+"\n"+lines)
	s.start(settled)
	return s
}

// openDir is a directory with a path short enough for sockets, which all users
// may pass.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "doc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (s *site) configure(how, lines string) {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	s.conf = filepath.Join(s.dir, "site.conf")
	text := "[Pool]\n" + lines + "\n[Worker]\nExecStart=" + exe + "\nEnvironment=\"" + envWorker + "=" + how + "\"\n" +
		"[Control]\nSocket=" + filepath.Join(s.dir, "control.sock") + "\n"
	if err := os.WriteFile(s.conf, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// start runs scgid serve; with a file, that is its listening socket.
func (s *site) start(settled func(control.Status) bool, inherited ...*os.File) {
	s.t.Helper()
	scgid, err := buildScgid()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(scgid, "serve", "--config", s.conf)
	if len(inherited) > 0 {
		// The shell knows the process that exec keeps.
		cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve --config "$1"`, scgid, s.conf)
		cmd.Env = append(os.Environ(), "LISTEN_FDS="+strconv.Itoa(len(inherited)), "LISTEN_FDNAMES=scgi")
		cmd.ExtraFiles = inherited
	}
	cmd.Stderr, cmd.Stdout = s.log, s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		timer := time.AfterFunc(40*time.Second, func() { cmd.Process.Kill() })
		defer timer.Stop()
		cmd.Wait()
		if s.t.Failed() {
			s.t.Log(s.log.String())
		}
	})
	s.client = api.NewClient(filepath.Join(s.dir, "control.sock"))
	s.until("the pool is as wanted", func() bool {
		st, err := s.client.Status(context.Background())
		return err == nil && settled(st)
	})
}

func serving(st control.Status) bool { return st.State == control.Running && st.Workers.Idle > 0 }
func failing(st control.Status) bool { return st.State == control.Failing }

// until polls for what another process does and cannot tell us.
func (s *site) until(what string, cond func() bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// ctl runs scgictl and returns what it printed and its exit status.
func ctlRun(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("scgictl", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		status = e.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), status
}

// doctor returns what scgictl doctor finds. www-data may be absent, so nobody
// is the web server.
func (s *site) doctor(flags ...string) (diagnosis, int) {
	s.t.Helper()
	args := append([]string{"doctor", "--json", "--config", s.conf, "--web-user", "nobody", "--timeout", "3s"}, flags...)
	out, errs, status := ctlRun(s.t, args...)
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		s.t.Fatalf("%v: %s%s", err, out, errs)
	}
	return d, status
}

// finds checks that exactly the checks called what failed, and that one of
// them says text and has hint.
func (s *site) finds(what []string, text, hint string, flags ...string) {
	s.t.Helper()
	d, status := s.doctor(flags...)
	var failed []string
	found := false
	for _, k := range d.Checks {
		if k.Grade == bad {
			failed = append(failed, k.Check)
			found = found || strings.Contains(k.Text, text) && strings.Contains(k.Hint, hint)
		}
	}
	if !found || status != exitFailed || d.OK || !slices.Equal(failed, what) {
		s.t.Errorf("exit status %d, failed %v, want %v with %q and %q:\n%s", status, failed, what, text, hint, findings(d))
	}
}

func findings(d diagnosis) string {
	var b strings.Builder
	for _, k := range d.Checks {
		fmt.Fprintf(&b, "%s %s: %s -> %s\n", k.Grade, k.Check, k.Text, k.Hint)
	}
	return b.String()
}

// A logBuffer takes what a running scgid writes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
