package python_test

import (
	"os/exec"
	"strings"
	"testing"
)

const greenApp = `
import logging, queue, subprocess, random, tempfile
logging.basicConfig(level=logging.INFO)
lock = threading.RLock()
def do_sleep(env, start):
    event = threading.Event() # gevent's are one thread's
    with lock:
        time.sleep(0.01)
    thread = threading.Thread(target=event.set)
    thread.start()
    event.wait(10)
    thread.join(10)
    todo = queue.Queue()
    todo.put(5)
    return reply(start, todo.get(timeout=10))
def do_run(env, start):
    return reply(start, subprocess.run(["echo", "run"], capture_output=True).stdout)
def do_raise(env, start):
    logging.info("before")
    raise ValueError("raised")
def do_body(env, start):
    def chunks():
        yield b"begun "
        yield b"%d" % len(env["wsgi.input"].read(4 << 20))
    start("200 OK", [("Content-Type", "text/plain")])
    return chunks()
def do_fork(env, start):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return reply(start, "parent" if pid else "child")
`

// Applications that patch the library serve as others do.
func TestGreenApplications(t *testing.T) {
	for library, patch := range map[string]string{
		"gevent":   "import gevent.monkey\ngevent.monkey.patch_all()\n",
		"eventlet": "import eventlet\neventlet.monkey_patch()\n",
	} {
		if exec.Command(python(t), "-c", "import "+library).Run() != nil {
			need(t, "python3-"+library)
		}
		for _, args := range []string{"", "--threads 2", "--validate"} {
			t.Run(library+" "+args, func(t *testing.T) {
				dir := t.TempDir()
				path := module(t, patch+prelude+greenApp)
				w := startIn(t, dir, nil, append([]string{path}, strings.Fields(args)...)...)
				for range 2 {
					w.says("hello", "hello")
					w.says("sleep", "5")
					if args != "--threads 2" || library != "gevent" { // it watches children in the main thread only
						w.says("run", "run\n")
					}
					w.says("raise", "The application failed. Its log says why.\n")
					if reply, _ := w.ask(post("body", strings.Repeat("b", 3<<20))); body(reply) != "begun 3145728" {
						t.Errorf("got %q", reply)
					}
					if args == "" {
						w.says("fork", "parent")
					}
				}
				w.wantLog("ValueError: raised")
				if strings.Contains(w.stderr.String(), "Warning") {
					t.Errorf("%s", w.stderr)
				}
			})
		}
	}
}
