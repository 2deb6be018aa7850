package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// load has clients ask without a pause until the function that it returns is
// called, which says how many were answered and how many not.
func (p *preloading) load(clients int) (end func() (good, bad int64)) {
	var stop atomic.Bool
	var good, bad atomic.Int64
	var done sync.WaitGroup
	for range clients {
		done.Add(1)
		go func() {
			defer done.Done()
			for !stop.Load() {
				if _, err := p.get("/"); err != nil {
					if bad.Add(1) < 5 {
						p.t.Error(err)
					}
				} else {
					good.Add(1)
				}
			}
		}()
	}
	return func() (int64, int64) { stop.Store(true); done.Wait(); return good.Load(), bad.Load() }
}

// While workers are retired and made, what makes them is killed at moments of all
// kinds: before it has an order, with one, between the two forks and after.
func TestAPreloadedProcessThatIsKilledCostsNoRequest(t *testing.T) {
	for _, level := range levels[1:] {
		t.Run(level, func(t *testing.T) {
			kills := 10 * soak()
			p := startPython(t, app(t, helloPID), "app", append(workersAre(4), "--set", "Worker.Preload="+level)...)
			p.ready(4)
			end := p.load(3)
			for n := range kills {
				pid := p.maker()
				workers, err := p.c.Workers(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for i, w := range workers {
					if w.State == "ready" && i <= n%3 {
						if err := p.c.Call(t.Context(), "retire", map[string]any{"worker": w.ID}, nil); err != nil {
							t.Log(err) // it has left
						}
					}
				}
				for range n % 8 { // so that the moment differs
					p.must("/")
				}
				unix.Kill(pid, unix.SIGKILL)
				p.ready(4)
			}
			good, bad := end()
			s := p.status()
			if bad > 0 || s.Requests.Lost > 0 || s.Requests.Refused > 0 || s.Starts.Failed > 0 {
				t.Errorf("%d answered, %d not; %+v, %+v", good, bad, s.Requests, s.Starts)
			}
			t.Logf("%d kills, %d requests, starts: %+v", kills, good, s.Starts)
			p.stop()
		})
	}
}

func TestAReloadBringsNewCodeWhereTheApplicationIsPreloaded(t *testing.T) {
	version := func(n int) string {
		return strings.Replace(helloPID, "str(os.getpid())", strconv.Quote(fmt.Sprint("version ", n)), 1)
	}
	dir := app(t, version(1))
	p := startPython(t, dir, "app", append(workersAre(3), "--set", "Worker.Preload=application")...)
	p.ready(3)
	first := p.maker()
	end := p.load(4)
	for n := 2; n < 6; n++ {
		if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte(version(n)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.c.Call(t.Context(), "reload", nil, nil); err != nil {
			t.Fatal(err)
		}
		if got, want := p.must("/"), fmt.Sprint("version ", n); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if good, bad := end(); bad > 0 || good == 0 {
		t.Errorf("%d answered, %d not", good, bad)
	}
	p.until("the first preloaded process has left", func() bool { return unix.Kill(first, 0) == unix.ESRCH })
	p.stop()
}

func TestAReloadThatCannotLoadTheApplicationChangesNothing(t *testing.T) {
	for _, level := range levels {
		t.Run(level, func(t *testing.T) {
			dir := app(t, helloPID)
			p := startPython(t, dir, "app", append(workersAre(2), "--set", "Worker.Preload="+level)...)
			p.ready(2)
			if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte("print('to the log')\nraise ValueError('no database')\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := p.c.Call(t.Context(), "reload", nil, nil)
			if err == nil || !strings.Contains(err.Error(), "cannot load app: ValueError: no database") || !strings.Contains(err.Error(), "it wrote last") {
				t.Errorf("got %v", err)
			}
			p.must("/")
			if s := p.status(); s.Generation != 1 || s.Workers.Total != 2 || s.Starts.FailuresInRow != 0 {
				t.Errorf("%+v", s)
			}
			p.stop()
		})
	}
}

func TestWhatAForkWouldBreakIsNamedAndTheApplicationNotPreloaded(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"thread":  {"import threading\nthreading.Thread(target=threading.Event().wait, name='beat', daemon=True).start()", "thread 'beat'"},
		"socket":  {"import socket\ns = socket.socket()", "(socket:["},
		"epoll":   {"import select\ns = select.epoll()", "(anon_inode:[eventpoll])"},
		"pipe":    {"import os\ns = os.pipe()", "(pipe:["},
		"file":    {"s = open('data', 'w+')", "/data)"},
		"child":   {"import subprocess\ns = subprocess.Popen(['sleep', '1000'])", "a child process"},
		"hook":    {"def scgi_before_fork():\n    raise ValueError('not now')", "ValueError: not now"},
		"a crowd": {"import os, threading\ns = os.pipe()\nthreading.Thread(target=threading.Event().wait, name='one', daemon=True).start()", "thread 'one', descriptor "},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPython(t, app(t, c.text+"\n"+helloPID), "app", append(workersAre(2), "--set", "Worker.Preload=application")...)
			p.ready(2)
			p.must("/")
			if s := p.status(); s.Preload == nil || s.Preload.Level != "worker" || s.Preload.PID == 0 || s.Starts.Failed != 0 {
				t.Errorf("%+v, %+v", s.Preload, s.Starts)
			}
			if log := p.log.String(); !strings.Contains(log, "the application cannot be preloaded, workers load it themselves: ") || !strings.Contains(log, c.want) {
				t.Errorf("the log is\n%s", log)
			}
			p.stop()
		})
	}
}

func TestFilesThatAreOnlyReadOrAppendedToArePreloaded(t *testing.T) {
	text := "import os\nfiles = open(__file__), open('log', 'a'), open('/dev/urandom', 'rb'), os.open('.', os.O_RDONLY)\n"
	p := startPython(t, app(t, text+helloPID), "app", append(workersAre(2), "--set", "Worker.Preload=application")...)
	p.ready(2)
	if s := p.status(); s.Preload == nil || s.Preload.Level != "application" {
		t.Errorf("%+v\n%s", s.Preload, p.log)
	}
	p.stop()
}

const hooked = `
import os, threading
calls = []
os.register_at_fork(after_in_child=lambda: calls.append("at fork"))
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
def scgi_before_fork():
    stop.set()
    thread.join()
    calls.append("before in %d" % os.getpid())
def scgi_after_fork():
    calls.append("after in %d" % os.getpid())
def application(env, start):
    start("200 OK", [])
    return [(";".join(calls) + ";served by %d" % os.getpid()).encode()]
`

func TestTheApplicationIsCalledBeforeTheFirstForkAndAfterEach(t *testing.T) {
	p := startPython(t, app(t, hooked), "app", append(workersAre(2), "--set", "Worker.Preload=application")...)
	p.ready(2)
	maker, body := p.maker(), p.must("/")
	pid := body[strings.LastIndexByte(body, ' ')+1:]
	want := fmt.Sprintf("before in %d;at fork;at fork;after in %s;served by %s", maker, pid, pid)
	if body != want {
		t.Errorf("got %q, want %q\n%s", body, want, p.log)
	}
	p.stop()
	p = startPython(t, app(t, "def scgi_before_fork(): raise 1\nscgi_after_fork = scgi_before_fork\n"+helloPID), "app", append(workersAre(2), "--set", "Worker.Preload=worker")...)
	p.must("/") // they are for what is preloaded
	p.stop()
}

func TestAHookThatFailsIsAFailedStartAndInTheEndTheApplicationIsNotPreloaded(t *testing.T) {
	p := startPython(t, app(t, "def scgi_after_fork(): raise ValueError('no socket')\n"+helloPID), "app", append(workersAre(1), "--set", "Worker.Preload=application")...)
	p.ready(1)
	p.must("/")
	log := p.log.String()
	if !strings.Contains(log, "cannot call scgi_after_fork: ValueError: no socket") || !strings.Contains(log, "from now on they load it themselves") {
		t.Errorf("the log is\n%s", log)
	}
	if s := p.status(); s.Preload == nil || s.Preload.Level != "worker" || s.Starts.Failed != 3 {
		t.Errorf("%+v %+v", s.Preload, s.Starts)
	}
	p.stop()
}

func TestAnApplicationThatIsMendedStartsWithoutAReload(t *testing.T) {
	for _, level := range levels {
		t.Run(level, func(t *testing.T) {
			releases := t.TempDir()
			current := filepath.Join(releases, "current")
			broken, good := app(t, "import nothing_of_this_name"), app(t, helloPID)
			if err := os.Symlink(broken, current); err != nil {
				t.Fatal(err)
			}
			p := startPythonUntil(t, "could not start", current, "app", append(workersAre(2), "--set", "Worker.Preload="+level)...)
			if err := os.Symlink(good, current+".new"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(current+".new", current); err != nil {
				t.Fatal(err)
			}
			p.ready(2)
			p.must("/")
			p.stop()
		})
	}
}
