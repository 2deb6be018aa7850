package python_test

import (
	"io"
	"os"
	"strings"
	"testing"
)

const forkApp = `
import signal, subprocess
fifo = os.environ.get("FIFO")
def ended(pid, start):
    if pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return reply(start, code)
def do_return(env, start):
    pid = os.fork()
    return ended(pid, start) or reply(start, "child")
def do_raise(env, start):
    pid = os.fork()
    if not pid:
        raise ValueError("raised in the child")
    return ended(pid, start)
def do_exit(env, start):
    pid = os.fork()
    if not pid:
        sys.exit(7)
    return ended(pid, start)
def do_generator(env, start):
    start("200 OK", [])
    yield b"a"
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    for _ in range(3):
        yield b"p" if pid else b"child"
def do_write(env, start):
    write = start("200 OK", [])
    write(b"a")
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    write(b"p" if pid else b"child")
    return []
def do_file(env, start):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    start("200 OK", [])
    return env["wsgi.file_wrapper"](open("/etc/passwd" if not pid else "/proc/sys/kernel/ostype", "rb"))
def do_catch(env, start):
    "A child that minds no exception."
    pid = os.fork()
    if pid:
        return ended(pid, start)
    write = start("200 OK", [])
    for _ in range(3):
        try:
            write(b"child")
        except BaseException:
            pass
    os.write(1, b"")
    return [b"child"]
def do_body(env, start):
    pid = os.fork()
    if not pid:
        env["wsgi.input"].read()
    return ended(pid, start) or reply(start, "child")
def do_thread(env, start):
    "A child of a thread of the application's."
    def run():
        global code
        pid = os.fork()
        if pid:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            os._exit(5)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return reply(start, code)
import atexit
def left():
    print("exit function", os.getpid() == parent, file=sys.stderr)
atexit.register(left)
parent = os.getpid()
`

// A process that the application forked replies to nobody, whatever it does.
func TestForkedChildNeverReplies(t *testing.T) {
	for _, threads := range []string{"1", "2"} {
		w := serve(t, forkApp, "--threads", threads)
		for range 2 {
			for do, want := range map[string]string{"return": "0", "raise": "1", "exit": "7", "generator": "appp", "write": "ap",
				"file": "Linux\n", "catch": "0", "thread": "5"} {
				reply, done := w.ask(get(do))
				if body(reply) != want || strings.Count(reply, "Status:") != 1 || !strings.Contains(done, "CODE=200") {
					t.Errorf("threads %s, %s: %q, %q\n%s", threads, do, reply, done, w.stderr)
				}
			}
			r := w.open(false) // the body is still to come
			request := post("body", "12345")
			io.WriteString(r.conn, request[:len(request)-2])
			if reply := r.read(); body(reply) != "1" {
				t.Errorf("threads %s, body: %q", threads, reply)
			}
			r.conn.Close()
			r.wait()
		}
		w.stop()
		for text, count := range map[string]int{"ValueError: raised in the child": 2, "GET /a/b?q=1: a process that the application forked came back": 10,
			"exit function True": 1, "exit function False": 0} {
			if got := strings.Count(w.stderr.String(), text); got != count {
				t.Errorf("threads %s: %q %d times, want %d\n%s", threads, text, got, count, w.stderr)
			}
		}
	}
}

// A child that was forked while the application was loaded is not a worker.
func TestChildThatIsForkedByTheImport(t *testing.T) {
	for _, end := range []string{"pass", "raise ValueError('in the child')", "sys.exit(3)"} {
		w := serve(t, "if not os.fork():\n    "+end+"\nelse:\n    os.wait()\n")
		w.says("hello", "hello")
		w.stop()
	}
}

// A handler of another signal runs in the thread that waits for the link.
func TestChildThatIsForkedByASignalHandler(t *testing.T) {
	for _, threads := range []string{"1", "2"} {
		w := serve(t, `
import signal
def handler(*args):
    if not os.fork():
        return
    os.wait()
    os.write(2, b"handled\n")
signal.signal(signal.SIGUSR1, handler)
`, "--threads", threads)
		w.says("hello", "hello")
		w.cmd.Process.Signal(os.Signal(sigUSR1))
		w.awaitLog("handled")
		w.says("hello", "hello")
		w.stop()
	}
}
