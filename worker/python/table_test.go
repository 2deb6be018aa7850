package python_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// odd are applications that do what servers are known to stumble over; what happens
// is the reply to their request, and what the log must have.
var odd = []struct{ name, text, want, log string }{
	{"argparse at import", "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--x', default='d')\nfound = parser.parse_args()\ndef do_it(): return found.x", "d", ""},
	{"asyncio.run", "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 'run'\ndef do_it(): return asyncio.run(main())", "run", ""},
	{"asyncio signal handlers", "import asyncio, signal\nasync def main():\n    event = asyncio.Event()\n    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, event.set)\n" +
		"    os.kill(os.getpid(), signal.SIGUSR1)\n    await asyncio.wait_for(event.wait(), 20)\n    return 'signal'\ndef do_it(): return asyncio.run(main())", "signal", ""},
	{"asyncio subprocess", "import asyncio\nasync def main():\n    child = await asyncio.create_subprocess_exec('echo', 'child', stdout=asyncio.subprocess.PIPE)\n" +
		"    return (await child.communicate())[0].decode().strip()\ndef do_it(): return asyncio.run(main())", "child", ""},
	{"multiprocessing fork", multi("fork"), "4 0", ""},
	{"multiprocessing spawn", multi("spawn"), "4 0", ""},
	{"multiprocessing forkserver", multi("forkserver"), "4 0", ""},
	// Its own threads fork, which Python does not promise to work beside other threads.
	{"multiprocessing pool", "import multiprocessing\nimport jobs\ndef do_it():\n    with multiprocessing.get_context('fork' if threading.current_thread() is threading.main_thread() else 'spawn').Pool(2) as pool: return pool.map(jobs.double, [1, 2])", "[2, 4]", ""},
	{"process pool executor", "import concurrent.futures, multiprocessing, jobs\ndef do_it():\n    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool: return pool.submit(jobs.double, 2).result()", "4", ""},
	{"threads", "def do_it():\n    found = []\n    thread = threading.Thread(target=lambda: found.append(threading.current_thread().daemon))\n    thread.start()\n    thread.join()\n    return found", "[False]", ""},
	{"executor", "import concurrent.futures\npool = concurrent.futures.ThreadPoolExecutor(2)\ndef do_it(): return pool.submit(int, '5').result()", "5", ""},
	{"thread at import", "seen = threading.Event()\nthreading.Thread(target=seen.set, daemon=True).start()\ndef do_it(): return seen.wait(20)", "True", ""},
	{"os.fork", "def do_it():\n    pid = os.fork()\n    return os.waitpid(pid, 0)[1] if pid else 'child'", "0", "came back: it ends here"},
	{"faulthandler", "import faulthandler\nfaulthandler.enable()\nfaulthandler.register(10)\ndef do_it():\n    faulthandler.dump_traceback_later(60)\n    faulthandler.cancel_dump_traceback_later()\n    faulthandler.dump_traceback()\n    return 'dumped'", "dumped", "in do_it"},
	{"logging to stderr", "import logging\nlogging.basicConfig(level=logging.INFO)\nlogging.info('at import')\ndef do_it():\n    logging.info('logged')\n    return 'logged'", "logged", "INFO:root:logged"},
	{"sys.stdout closed", "def do_it():\n    sys.stdout.close()\n    print('printed')\n    os.close(1)\n    print('printed')\n    return 'closed'", "closed", ""},
	{"sys.stderr replaced", "import io\nsys.stderr = io.StringIO()\ndef do_it():\n    print('x', file=sys.stderr)\n    return sys.stderr.getvalue()", "x\n", ""},
	{"os.chdir", "def do_it():\n    os.chdir('/')\n    return os.getcwd()", "/", ""},
	{"os.umask", "def do_it():\n    os.umask(0o77)\n    return oct(os.umask(0o77))", "0o77", ""},
	{"locale.setlocale", "import locale\ndef do_it():\n    locale.setlocale(locale.LC_ALL, 'C.UTF-8')\n    return locale.setlocale(locale.LC_ALL)", "C.UTF-8", ""},
	{"signal.signal for all", "import signal\nfor n in signal.valid_signals() - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\ndef do_it(): return 'set'", "set", "handler for SIGTERM is not used"},
	{"subprocess", "import subprocess, signal\ndef do_it():\n    child = subprocess.Popen(['sleep', '1000'])\n    child.terminate()\n    return child.wait()", "-15", ""},
	{"subprocess, no close_fds", "import subprocess\ndef do_it(): return subprocess.run('ls -l /proc/self/fd', shell=True, close_fds=False, capture_output=True).stdout.decode().count('socket:')", "0", ""},
	{"warnings as errors", "import warnings\nwarnings.simplefilter('error')\ndef do_it(): return 'no warning'", "no warning", ""},
	{"a low recursion limit", "def do_it():\n    sys.setrecursionlimit(60)\n    return 'low'", "low", ""},
	{"excepthooks", "sys.excepthook = threading.excepthook = sys.unraisablehook = lambda *a: os._exit(9)\ndef do_it(): return 'hooked'", "hooked", ""},
	{"a default time-out of sockets", "import socket\nsocket.setdefaulttimeout(0.001)\ndef do_it(): return 'timed'", "timed", ""},
	{"environ cleared", "os.environ.clear()\ndef do_it(): return len(os.environ)", "0", ""},
	{"stdin read", "def do_it(): return repr(sys.stdin.read())", "''", ""},
	{"builtins replaced", "import builtins\ndef bad(*a, **k): raise LookupError('replaced')\nif sys.version_info >= (3, 10): builtins.len = builtins.hasattr = builtins.min = builtins.getattr = bad\ndef do_it(): return 'replaced'", "replaced", ""},
	{"gc and weakrefs", "import gc\ngc.disable()\ngc.set_debug(0)\ndef do_it(): return gc.collect() >= 0", "True", ""},
}

func multi(method string) string {
	return "import multiprocessing, jobs\ndef do_it():\n    context = multiprocessing.get_context('" + method + "')\n    queue = context.SimpleQueue()\n" +
		"    child = context.Process(target=jobs.put, args=(queue, 2))\n    child.start()\n    child.join()\n    return '%d %d' % (queue.get(), child.exitcode)"
}

const jobs = "def double(n): return 2 * n\ndef put(queue, n): queue.put(2 * n)\n"

// Each is served twice, finishes what it holds at SIGTERM and exits with 0.
func TestOddApplications(t *testing.T) {
	for _, test := range odd {
		for _, threads := range []string{"1", "2"} {
			if threads == "2" && (strings.HasPrefix(test.name, "asyncio s") || test.name == "builtins replaced") {
				continue // asyncio wants the main thread for signals; the library's threads are without their builtins
			}
			t.Run(test.name+" "+threads, func(t *testing.T) {
				dir := t.TempDir()
				for name, text := range map[string]string{"jobs.py": jobs, "site.wsgi": prelude + test.text +
					"\nanswer = do_it\ndef do_it(env, start):\n    return reply(start, answer())\n"} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				w := start(t, filepath.Join(dir, "site.wsgi"), "--threads", threads)
				for range 2 {
					reply, _ := w.ask(get("it"))
					if got := body(reply); got != test.want && !(test.name == "sys.stderr replaced" && got == "x\nx\n") {
						t.Errorf("%q, want %q\n%s", reply, test.want, w.stderr)
					}
				}
				w.says("hello", "hello")
				w.cmd.Process.Signal(syscall.SIGTERM)
				if code := w.exit(); code != 0 {
					t.Errorf("exit status %d\n%s", code, w.stderr)
				}
				log := w.stderr.String()
				if !strings.Contains(log, test.log) || test.log == "" && log != "" {
					t.Errorf("log: %s", log)
				}
			})
		}
	}
}
