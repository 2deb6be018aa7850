package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// A preloading is a scgid that serves a Python application.
type preloading struct {
	*server
	c   *api.Client
	dir string // the application's
}

// startPython runs an application with scgi_wsgi, until a worker is ready. dir has
// its files.
func startPython(t *testing.T, dir, app string, flags ...string) *preloading {
	t.Helper()
	return startPythonUntil(t, "worker is ready", dir, app, flags...)
}

// startPythonUntil waits until the log has the text.
func startPythonUntil(t *testing.T, text, dir, app string, flags ...string) *preloading {
	t.Helper()
	python := "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		python = need(t, "python3")
	}
	own := t.TempDir()
	socket := filepath.Join(own, "control.sock")
	p := &preloading{
		server: &server{t: t, addr: filepath.Join(own, "s"), log: &logBuffer{}, exited: make(chan error, 1)},
		c:      api.NewClient(socket), dir: dir,
	}
	args := append([]string{"run", "--name", "test", "--listen", p.addr, "--set", "Control.Socket=" + socket,
		"--set", "Worker.WorkingDirectory=" + dir}, flags...)
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PYTHON") })
	cmd := exec.Command(self(t), append(args, "--", python, wsgi(t), app)...)
	cmd.Env = append(env, beScgid+"=1", "PYTHONDONTWRITEBYTECODE=1")
	p.start(cmd, text)
	return p
}

// wsgi is the path of scgi_wsgi.py.
func wsgi(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../worker/python/scgi_wsgi.py")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// levels are those of Preload=.
var levels = []string{"no", "worker", "application"}

// workersAre are the flags of a pool of so many.
func workersAre(n int) []string {
	var all []string
	for _, key := range []string{"MinWorkers", "MaxWorkers", "MaxIdle"} {
		all = append(all, "--set", "Pool."+key+"="+strconv.Itoa(n))
	}
	return append(all, "--set", "Pool.MinIdle=0")
}

// app writes the module app.py into a new directory.
func app(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// helloPID is an application that answers with the pid of its worker.
const helloPID = `
import os
def application(env, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
`

// get returns the body of an answer, or why there is none.
func (p *preloading) get(uri string) (string, error) {
	c, err := net.Dial("unix", p.addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(exchangeWithin))
	b, err := scgi.AppendHeader(nil, []scgi.Var{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "SCGI", Value: "1"}, {Name: "REQUEST_METHOD", Value: "GET"},
		{Name: "REQUEST_URI", Value: uri}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "SERVER_NAME", Value: "test"}, {Name: "SERVER_PORT", Value: "80"}})
	if err != nil {
		return "", err
	}
	if _, err := c.Write(b); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c)
	head, body, ok := strings.Cut(string(text), "\r\n\r\n")
	if err == nil && (!ok || !strings.HasPrefix(head, "Status: 200 ")) {
		err = fmt.Errorf("answer %.200q", text)
	}
	return body, err
}

func (p *preloading) must(uri string) string {
	p.t.Helper()
	body, err := p.get(uri)
	if err != nil {
		p.t.Fatal(err)
	}
	return body
}

func (p *preloading) status() control.Status {
	p.t.Helper()
	s, err := p.c.Status(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// ready waits until n workers are, and none is on its way.
func (p *preloading) ready(n int) {
	p.t.Helper()
	p.until(fmt.Sprint(n, " workers are ready"), func() bool {
		w := p.status().Workers
		return w.Idle+w.Busy == n && w.Starting == 0
	})
}

// maker is the pid of the preloaded process; it waits for one.
func (p *preloading) maker() (pid int) {
	p.t.Helper()
	p.until("there is a preloaded process", func() bool {
		if s := p.status().Preload; s != nil {
			pid = s.PID
		}
		return pid != 0
	})
	return pid
}

func (p *preloading) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(unix.SIGTERM)
	if err := p.wait(); err != nil {
		p.t.Error(err)
	}
}

// seen is what an application has seen of one worker.
type seen struct {
	PID     int
	ID, Var string
	Import  map[string]any
	Request map[string]any
}

// look has each of n workers say what it sees.
func look(t *testing.T, level string, n int) (all []seen) {
	t.Helper()
	dir, err := filepath.Abs("testdata/preload")
	if err != nil {
		t.Fatal(err)
	}
	flags := append(workersAre(n), "--set", "Worker.Preload="+level, "--set", "Worker.Nice=3", "--set", "Worker.OOMScoreAdjust=333", "--set", "Worker.LimitNOFILE=777",
		"--set", fmt.Sprintf("Worker.Environment=POINTS_DIR=%s POINTS_ALL=%d LC_ALL=C.UTF-8", t.TempDir(), n))
	p := startPython(t, dir, "points", flags...)
	p.ready(n)
	if level != "no" {
		p.maker()
	}
	answers := make([]string, n)
	var done sync.WaitGroup
	for i := range n {
		done.Add(1)
		go func() {
			defer done.Done()
			var err error
			if answers[i], err = p.get("/"); err != nil {
				t.Error(err)
			}
		}()
	}
	done.Wait()
	for _, text := range answers {
		var s seen
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if parent := int(s.Import["parent"].(float64)); level != "application" && parent != p.cmd.Process.Pid {
			t.Errorf("%s: the parent of a worker is %d, not the master", level, parent)
		}
		if parent := int(s.Request["parent"].(float64)); parent != p.cmd.Process.Pid {
			t.Errorf("%s: the parent of a worker is %d, not the master", level, parent)
		}
		delete(s.Import, "parent")
		delete(s.Request, "parent")
		all = append(all, s)
	}
	p.stop()
	return all
}

// With the application preloaded its import sees the preloaded process. That one
// is no worker: it has no thread and no descriptors for signals.
var importedBefore = []string{"tasks", "descriptors", "status.SigCgt"}

func TestAForkedWorkerIsAsAnExecutedOne(t *testing.T) {
	want := look(t, "no", 3)
	for _, level := range levels {
		for _, got := range look(t, level, 3) {
			n := 0
			for _, stage := range []struct {
				name      string
				got, want map[string]any
			}{{"import", got.Import, want[0].Import}, {"request", got.Request, want[0].Request}} {
				for key := range stage.want {
					n++
					if level == "application" && stage.name == "import" && slices.Contains(importedBefore, key) {
						continue
					}
					if !reflect.DeepEqual(stage.got[key], stage.want[key]) {
						t.Errorf("%s, %s: %s is\n%v, of an executed worker\n%v", level, stage.name, key, stage.got[key], stage.want[key])
					}
				}
			}
			if n < 200 || got.ID != got.Var {
				t.Errorf("%d points compared; the worker is %q, and %q in the environ", n, got.Var, got.ID)
			}
		}
	}
}
