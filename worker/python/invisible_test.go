package python_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What an application finds in its process is what it would find under mod_wsgi.
func TestApplicationSeesNothingOfTheWorker(t *testing.T) {
	w := serve(t, `
import argparse, signal, warnings, __main__
argparse.ArgumentParser().parse_args()
seen = dict(argv=sys.argv[1:], main=sorted(n for n in vars(__main__) if not n.startswith("__")), file=hasattr(__main__, "__file__"),
    handlers=[signal.getsignal(n).__name__ if callable(signal.getsignal(n)) and not isinstance(signal.getsignal(n), int) else int(signal.getsignal(n))
        for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)],
    mask=len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), threads=threading.active_count(), main_thread=threading.current_thread() is threading.main_thread(),
    hook=sys.excepthook is sys.__excepthook__, cwd=os.path.basename(os.getcwd()),
    extra=sorted(n for n, m in sys.modules.items() if "scgi" in n or "scgi_wsgi" in str(getattr(m, "__file__", ""))),
    path=[p for p in sys.path if "worker/python" in p and not p.endswith("testdata")], umask=os.umask(0o22))
def do_seen(env, start):
    return reply(start, seen)
`, "--threads", "2")
	umask := fmt.Sprint(currentUmask())
	w.says("seen", "{'argv': [], 'main': [], 'file': False, 'handlers': [0, 'default_int_handler', 0], 'mask': 0, 'threads': 1, "+
		"'main_thread': True, 'hook': True, 'cwd': 'testdata', 'extra': [], 'path': [], 'umask': "+umask+"}")
	w.silent()
}

func currentUmask() int {
	out, _ := exec.Command("sh", "-c", "umask").Output()
	n := 0
	fmt.Sscanf(string(out), "%o", &n)
	return n
}

func TestNameOfTheApplicationIsItsCommandLine(t *testing.T) {
	w := serve(t, "def do_argv(env, start):\n    return reply(start, sys.argv)\n")
	w.says("argv", fmt.Sprintf("['%s']", w.cmd.Args[3]))
	w.silent()
}

// mine are files that stand beside an application, by the names of all modules of
// the library: a process that imports one by mistake ends.
func mine(t *testing.T, application string) string {
	t.Helper()
	dir := t.TempDir()
	names, err := exec.Command(python(t), "-c", "import os, pkgutil; print(*(m.name for m in pkgutil.iter_modules([os.path.dirname(os.__file__)])))").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Python itself takes these from PYTHONPATH, before any program begins.
	own := " site os io abc codecs stat posixpath genericpath encodings _collections_abc _sitebuiltins sitecustomize usercustomize _distutils_hack importlib zipimport types warnings re enum functools collections operator keyword reprlib copyreg contextlib "
	for _, name := range strings.Fields(string(names)) {
		if strings.HasPrefix(name, "_") || strings.Contains(own, " "+name+" ") {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name+".py"), []byte("import os\nos.write(2, b'"+name+" is not the library\\'s\\n')\nos._exit(9)\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "mine.py"), []byte(application), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

const mineApp = `
def application(env, start):
    do = env["HTTP_X_DO"]
    if do == "raise":
        raise ValueError("raised") from KeyError(5)
    if do == "name":
        undefined_name
    start(env.get("HTTP_X_STATUS", "200 OK"), [])
    if do == "late":
        return late(env["wsgi.input"])
    return [env["wsgi.input"].read()]
def late(body):
    yield b"begun"
    yield b"%d" % len(body.read())
    raise ValueError("\u00e4 wide \u4e00 text")
`

// The worker's modules are the library's, whatever lies beside the application or
// beside the worker, and PYTHONPATH too.
func TestModulesOfTheWorkerAreTheLibrarys(t *testing.T) {
	dir := mine(t, mineApp)
	for _, test := range []struct {
		script string
		env    []string
	}{
		{scgiWSGI(t), nil}, {scgiWSGI(t), []string{"PYTHONPATH=" + dir}}, {copyTo(t, dir), nil},
	} {
		for _, threads := range []string{"1", "2"} {
			for _, option := range []string{"", "--validate"} {
				w := launchWith(t, func(cmd *exec.Cmd) { cmd.Dir, cmd.Env = dir, append(cmd.Env, test.env...) },
					append([]string{python(t), "-S", test.script, "--threads", threads, "--read-timeout", "1", "mine"}, strings.Fields(option)...)...)
				w.awaitReady()
				for _, request := range everyKind() {
					if reply, _ := w.ask(request); !strings.HasPrefix(reply, "Status: ") {
						t.Errorf("%v: %q", test, reply)
					}
				}
				w.stop()
				if strings.Contains(w.stderr.String(), "is not the library") {
					t.Errorf("%v: %s", test, w.stderr)
				}
			}
		}
	}
}

func copyTo(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile("scgi_wsgi.py")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "scgi_wsgi.py")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// everyKind are requests that lead through all of the worker.
func everyKind() []string {
	big := strings.Repeat("x", 3<<20)
	return []string{get("hello"), get("hello", "HTTP_X_STATUS", "404"), get("raise"), get("name"), "0:,", post("hello", big), post("late", big),
		get("hello", "REQUEST_METHOD", "HEAD"), get("hello", "HTTP_X_STATUS", "bad"), get("hello", "HTTP_HOST", "a:5", "SERVER_NAME", absent),
		strings.Replace(post("hello", "12345"), "CONTENT_LENGTH\x005", "CONTENT_LENGTH\x006", 1)[:120]}
}

// A finder and a copy of sys.modules tell of every import after the load.
func TestNothingIsImportedAfterTheLoad(t *testing.T) {
	for _, threads := range []string{"1", "2"} {
		w := serve(t, mineApp+`
found = []
class Finder:
    def find_spec(self, name, path=None, target=None):
        found.append(name)
answer = application
def application(env, start):
    return reply(start, found + sorted(set(sys.modules) - before)) if env["HTTP_X_DO"] == "found" else answer(env, start)
before = set(sys.modules)
sys.meta_path.insert(0, Finder())
`, "--threads", threads, "--read-timeout", "1")
		for range 2 {
			for _, request := range everyKind() {
				w.ask(request)
			}
			r := w.open(true)
			io.WriteString(r.conn, get("late"))
			r.wait()
		}
		w.says("found", "[]")
		w.stop()
	}
}

// Nor is anything looked up in a module, or among the builtins, that the
// application may have changed by then.
func TestModulesThatTheApplicationBreaks(t *testing.T) {
	for _, threads := range []string{"1", "2"} {
		w := serve(t, mineApp+`
import select, socket, queue, struct, signal, stat, errno, io, gc, traceback, linecache, http, fcntl, atexit, _socket, _signal, _thread, _queue, posix
def broken(*args, **more):
    raise LookupError("broken")
keep = {"exc_info", "_getframe", "modules", "meta_path", "path", "stdout", "stderr"}
for module in (select, socket, queue, struct, signal, stat, errno, time, io, gc, http, fcntl, atexit, _socket, _signal, _thread, _queue, posix):
    for name, value in list(vars(module).items()):
        if callable(value) and not isinstance(value, type) and not name.startswith("__"):
            setattr(module, name, broken)
for name in ("close", "dup2", "fstat", "pread", "pwrite", "sendfile", "open", "write", "_exit", "urandom", "unlink", "getcwd", "ftruncate"):
    setattr(os, name, broken)
`, "--threads", threads, "--read-timeout", "1")
		for _, request := range everyKind() {
			if reply, _ := w.ask(request); !strings.HasPrefix(reply, "Status: ") {
				t.Errorf("threads %s: %q\n%s", threads, reply, w.stderr)
			}
		}
		w.stop()
		if strings.Contains(w.stderr.String(), "broken") {
			t.Errorf("threads %s:\n%s", threads, w.stderr)
		}
	}
}

// The log is lost, no request is: its reader is gone, its disk is full, it is closed.
func TestNoLogFailsARequest(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	reader, gone, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer gone.Close()
	path := module(t, prelude+`
import logging
logging.basicConfig(level=logging.DEBUG)
def do_print(env, start):
    print("x" * 100000)
    print("\u20ac \udcff", file=sys.stderr)
    print("\u20ac \udcff", flush=True)
    sys.stdout.buffer.write(b"y" * 100000)
    sys.stdout.flush()
    logging.error("logged")
    env["wsgi.errors"].write("z" * 100000)
    env["wsgi.errors"].flush()
    return reply(start, "printed")
def do_close(env, start):
    sys.stdout.close()
    sys.stderr.close()
    env["wsgi.errors"].close()
    return reply(start, "closed")
def do_none(env, start):
    sys.stdout = sys.stderr = None
    return reply(start, "none")
def do_raise(env, start):
    raise ValueError("raised")
`)
	for name, log := range map[string]*os.File{"full": full, "gone": gone} {
		for _, option := range []string{"-S", "-uS"} {
			w := launchWith(t, func(cmd *exec.Cmd) {
				cmd.Stdout, cmd.Stderr = log, log
				cmd.Env = append(cmd.Env, "LC_ALL=C", "PYTHONCOERCECLOCALE=0", "PYTHONUTF8=0")
			}, python(t), option, "../scgi_wsgi.py", path)
			w.awaitReady()
			for range 2 {
				w.says("print", "printed")
				w.says("raise", "The application failed. Its log says why.\n")
				w.says("close", "closed")
			}
			w.says("none", "none")
			w.says("raise", "The application failed. Its log says why.\n")
			w.stop()
			t.Log(name, option)
		}
	}
}

// What the application does with low descriptors hits nobody's connection.
func TestLowDescriptorsThatTheApplicationCloses(t *testing.T) {
	for _, when := range []string{"import", "request"} {
		text := "def shut():\n    os.closerange(0, 20)\n"
		if when == "import" {
			text += "shut()\n"
		}
		w := serve(t, text+`
def do_shut(env, start):
    for fd in (0, 1, 2):
        try:
            os.close(fd)
        except OSError:
            pass
    return reply(start, "shut")
def do_print(env, start):
    print("into the reply?", flush=True)
    os.write(1, b"into the reply?")
    print("into the reply?", file=sys.stderr)
    return reply(start, "printed")
`)
		if when == "request" {
			w.says("shut", "shut")
		}
		for range 3 {
			w.says("print", "printed")
		}
		w.stop()
	}
}

func TestApplicationThatClosesTheLinkIsTold(t *testing.T) {
	path := module(t, "import os\nos.closerange(3, 2000)\n"+prelude)
	w := launch(t, python(t), "-S", "../scgi_wsgi.py", path)
	if code := w.exit(); code != 1 || !strings.Contains(w.stderr.String(), "has closed the worker's link to scgid") {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
}
