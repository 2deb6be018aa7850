package python_test

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

const sigUSR1 = syscall.SIGUSR1

// awaitLog waits for a text in the log.
func (w *worker) awaitLog(text string) {
	w.t.Helper()
	late := time.After(patience)
	for {
		more := w.stderr.more()
		if strings.Contains(w.stderr.String(), text) {
			return
		}
		select {
		case <-more:
		case <-late:
			w.t.Fatalf("no %q in the log:\n%s", text, w.stderr)
		}
	}
}

const endApp = `
import atexit, concurrent.futures, signal
stop = threading.Event()
def last():
    print("exit function in", threading.current_thread().name, file=sys.stderr)
atexit.register(last)
def do_thread(env, start):
    threading.Thread(target=stop.wait, name="poller\n1").start()
    return reply(start, "started")
def do_short(env, start):
    threading.Thread(target=lambda: (time.sleep(0.3), os.write(2, b"thread finished\n"))).start()
    return reply(start, "started")
def do_pool(env, start):
    global pool
    pool = concurrent.futures.ThreadPoolExecutor(2)
    return reply(start, pool.submit(int).result())
def do_stuck(env, start):
    atexit.register(stop.wait)
    return reply(start, "registered")
def do_fails(env, start):
    def fails():
        raise ValueError("in an exit function")
    atexit.register(fails)
    return reply(start, "registered")
`

// Exit functions run at every orderly end, in the main thread, and threads of the
// application are named where they would keep it.
func TestExitFunctionsRun(t *testing.T) {
	for _, test := range []struct {
		do      []string
		log     string
		signals int // SIGTERMs
		within  time.Duration
	}{
		{[]string{"hello"}, "exit function in MainThread", 0, 20 * time.Second},
		{[]string{"hello"}, "exit function in MainThread", 1, 20 * time.Second},
		{[]string{"short"}, "thread finished\nexit function in MainThread", 0, 20 * time.Second},
		{[]string{"pool"}, "exit function in MainThread", 0, 20 * time.Second},
		{[]string{"thread", "pool"}, "threads of the application: poller\\n1\nexit function in MainThread", 0, 20 * time.Second},
		{[]string{"thread"}, "threads of the application: poller\\n1\nexit function in MainThread", 2, 20 * time.Second},
		{[]string{"stuck"}, "exit function in MainThread", 2, 20 * time.Second},
		{[]string{"fails"}, "ValueError: in an exit function", 0, 20 * time.Second},
		{[]string{"fails"}, "exit function in MainThread", 0, 20 * time.Second},
	} {
		for _, threads := range []string{"1", "2"} {
			w := serve(t, endApp, "--threads", threads)
			for _, do := range test.do {
				w.ask(get(do))
			}
			begin := time.Now()
			if test.signals == 0 {
				w.link.CloseWrite()
			}
			for n := range test.signals {
				w.cmd.Process.Signal(syscall.SIGTERM)
				if n+1 < test.signals {
					w.idle() // it has left its loop
				}
			}
			if code := w.exit(); code != 0 {
				t.Errorf("%v: exit status %d", test, code)
			}
			if !strings.Contains(w.stderr.String(), test.log) {
				t.Errorf("%v, threads %s:\n%s", test, threads, w.stderr)
			}
			if took := time.Since(begin); took > test.within {
				t.Errorf("%v, threads %s: took %v", test, threads, took)
			}
		}
	}
}

// idle waits until the worker has shut its side of the link for reading.
func (w *worker) idle() {
	w.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := w.link.Write([]byte("NEWS=1")); err != nil {
			time.Sleep(300 * time.Millisecond) // nothing tells of the wait that follows
			return
		}
	}
}

const goneApp = `
closed = []
class Chunks:
    def __init__(self, *chunks): self.chunks = chunks
    def __iter__(self):
        for chunk in self.chunks: yield chunk
        while True:
            time.sleep(0.02)
            yield b""
    def close(self): closed.append(1); print("close was called", file=sys.stderr)
def do_silent(env, start):
    start("200 OK", [])
    return Chunks(b"begun") if env["HTTP_X_HOW"] == "begun" else Chunks()
def do_write(env, start):
    write = start("200 OK", [])
    while True:
        time.sleep(0.02)
        write(b"")
def do_half(env, start):
    "Goes on for a client that has only ended its own side."
    start("200 OK", [])
    def chunks():
        for _ in range(40):
            time.sleep(0.02)
            yield b""
        yield b"whole"
    return chunks()
`

// A client that leaves is noticed where nothing is sent, within a second.
func TestClientThatLeavesASilentGenerator(t *testing.T) {
	for _, threads := range []string{"1", "2"} {
		w := serve(t, goneApp, "--threads", threads)
		for _, how := range []string{"begun", "nothing"} {
			for _, do := range []string{"silent", "write"} {
				r := w.open(false)
				io.WriteString(r.conn, get(do, "HTTP_X_HOW", how))
				if how == "begun" && do == "silent" {
					io.ReadFull(r.conn, make([]byte, 10))
				}
				r.conn.Close()
				left := time.Now()
				r.wait()
				if took := time.Since(left); took > time.Second {
					t.Errorf("%s %s: noticed after %v", do, how, took)
				}
			}
		}
		r := w.open(false)
		io.WriteString(r.conn, get("half"))
		r.conn.(interface{ CloseWrite() error }).CloseWrite()
		if reply := r.read(); body(reply) != "whole" {
			t.Errorf("a client that reads on: %q", reply)
		}
		r.wait()
		w.stop()
		if n := strings.Count(w.stderr.String(), "close was called"); n != 2 || strings.Contains(w.stderr.String(), "exception") {
			t.Errorf("threads %s: %s", threads, w.stderr)
		}
	}
}
