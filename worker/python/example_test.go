package python_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The demo's page, plainly and under wsgiref.validate.
func TestDemo(t *testing.T) {
	for _, option := range []string{"--threads=1", "--validate"} {
		w := start(t, "../demo.py", option)
		reply, _ := w.ask(get("x", "REQUEST_URI", "/<b>&'\"?x=caf\xc3\xa9", "HTTP_X_EVIL", "<script>"))
		pid := fmt.Sprint(w.cmd.Process.Pid)
		for _, want := range []string{"Status: 200 OK\r\n", "/&lt;b&gt;&amp;&#x27;&quot;?x=caf\xc3\xa9", "&lt;script&gt;",
			"<b>" + pid + "</b>", "<b>7</b>", "<b>wiki</b>", "<b>2</b>", "<b>1.5 ms</b>", ">" + pid + "</span>"} {
			if !strings.Contains(reply, want) {
				t.Errorf("%s: no %q in the page", option, want)
			}
		}
		if strings.Contains(reply, "<script>") || strings.Contains(reply, "/<b>") {
			t.Errorf("%s: the page is not escaped", option)
		}
		if reply, _ := w.ask(post("x", "text=%3Ci%3Ehello+there")); !strings.Contains(reply, "text = &lt;i&gt;hello there</p>") {
			t.Errorf("%s: the form is not echoed: %q", option, reply)
		}
		if reply, _ := w.ask(post("x", strings.Repeat("x", 70_000))); !strings.Contains(reply, "70000 bytes") {
			t.Errorf("%s: a large form: %.200q", option, reply)
		}
		if reply, _ := w.ask(get("x", "REQUEST_METHOD", "DELETE")); !strings.HasPrefix(reply, "Status: 405 ") {
			t.Errorf("%s: DELETE: %q", option, reply)
		}
		w.silent()
	}
}

// plain starts the worker without the library.
func plain(t *testing.T) *worker {
	t.Helper()
	w := launch(t, python(t), "-S", "../plain_worker.py")
	w.awaitReady()
	return w
}

func TestPlainWorker(t *testing.T) {
	w := plain(t)
	for _, request := range []string{get("x"), post("x", "a body"), post("x", strings.Repeat("b", 1<<20))} {
		r := w.open(false)
		io.WriteString(r.conn, request)
		if done := r.wait(); done != fmt.Sprintf("DONE=%d", r.id) { // it only closes: DONE ends the reply
			t.Errorf("got %q", done)
		}
		if reply := r.read(); body(reply) != fmt.Sprintf("Hello from %d\n", w.cmd.Process.Pid) {
			t.Errorf("got %q", reply)
		}
	}
	gone := w.open(false)
	io.WriteString(gone.conn, get("x"))
	gone.conn.Close()
	gone.wait()
	before := w.descriptors()
	for i := 0; i < 50; i++ {
		r := w.open(true)
		io.WriteString(r.conn, get("x"))
		r.wait()
		r.read()
	}
	if after := w.descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	w.silent()
}

func TestPlainWorkerTerminates(t *testing.T) {
	for i := 0; i < 20; i++ {
		w := plain(t)
		var open []*request
		for n := 0; n < i%4; n++ {
			r := w.open(false)
			io.WriteString(r.conn, get("x"))
			open = append(open, r)
		}
		w.cmd.Process.Signal(syscall.SIGTERM)
		for _, r := range open {
			r.wait()
			if reply := r.read(); !strings.Contains(reply, "Hello") {
				t.Errorf("lost: %q", reply)
			}
		}
		if code := w.exit(); code != 0 || w.stderr.String() != "" {
			t.Fatalf("exit status %d\n%s", code, w.stderr)
		}
	}
}

// The files run on their own as well as by a test: nothing but the standard library.
func TestOnlyTheStandardLibrary(t *testing.T) {
	for _, name := range []string{"scgi_wsgi.py", "plain_worker.py", "demo.py"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			words := strings.Fields(strings.ReplaceAll(line, ",", " "))
			if len(words) < 2 || words[0] != "import" && words[0] != "from" {
				continue
			}
			for _, word := range words[1:] {
				if word == "import" {
					break
				}
				if !strings.Contains(standard, " "+word+" ") {
					t.Errorf("%s: %s", name, line)
				}
			}
		}
	}
}

// What is promised is Python 3.9, whatever runs the tests: its grammar, and none
// of the library's later names.
func TestNothingNewerThanPython39(t *testing.T) {
	for _, name := range []string{"scgi_wsgi.py", "plain_worker.py", "demo.py"} {
		check := "import ast; ast.parse(open(" + strconv.Quote(name) + ").read(), feature_version=(3, 9))"
		if out, err := exec.Command(python(t), "-c", check).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, later := range []string{"ExceptionGroup", "tomllib", "add_note", "zip(strict", "pairwise", "TaskGroup",
			"sys.exception(", "batched", "hashlib.file_digest", "datetime.UTC", "int.bit_count", "aiter(", "anext("} {
			if strings.Contains(string(text), later) {
				t.Errorf("%s: %s came after Python 3.9", name, later)
			}
		}
	}
}

const standard = " argparse ast atexit builtins contextlib errno faulthandler fcntl gc importlib importlib.machinery importlib.util io " +
	"linecache mmap os re select signal socket stat struct sys threading time tokenize traceback unicodedata html http urllib.parse " +
	"wsgiref.validate _queue _signal _socket _suggestions _thread "
