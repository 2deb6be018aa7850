package python_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// module writes an application's file and returns its path.
func module(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "module.py")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever the application has done to its environ, the request is answered and
// the slot continues; the log still knows the request's name.
func TestDamagedEnvironCostsNoSlot(t *testing.T) {
	for _, threads := range []string{"1", "2"} {
		w := start(t, "rude:application", "--threads", threads)
		for range 2 {
			for _, do := range []string{"clear", "pop", "number"} {
				reply, done := w.ask(get(do))
				if !strings.HasPrefix(reply, "Status: 500 ") || !strings.Contains(done, "CODE=500") {
					t.Errorf("threads %s, %s: %q, %q", threads, do, reply, done)
				}
			}
			if reply, done := w.ask(get("clear-short")); body(reply) != "12345" || !strings.Contains(done, "CODE=200") {
				t.Errorf("threads %s: %q, %q", threads, reply, done)
			}
		}
		if reply, _ := w.ask(get("hello")); body(reply) != "hello\n" {
			t.Errorf("threads %s: %q", threads, reply)
		}
		w.wantLog("GET /a/b?q=1: exception in the application\n")
		w.wantLog("GET /a/b?q=1: the application gave 5 of the 10 bytes")
		if count := strings.Count(w.stderr.String(), "GET /a/b?q=1: "); count != 8 {
			t.Errorf("threads %s: %d requests in the log\n%s", threads, count, w.stderr)
		}
	}
}

func TestFailureThatCannotBeLoggedIsAnswered(t *testing.T) {
	for _, do := range []string{"break-traceback", "break-log"} {
		for _, threads := range []string{"1", "2"} {
			w := start(t, "rude:application", "--threads", threads)
			for range 4 {
				reply, done := w.ask(get(do))
				if !strings.HasPrefix(reply, "Status: 500 ") || !strings.Contains(done, "CODE=500") {
					t.Errorf("threads %s, %s: %q, %q", threads, do, reply, done)
				}
			}
			if do == "break-traceback" {
				w.wantLog("connection 1: SystemExit in report")
			} else {
				w.silent()
			}
		}
	}
}

// A body that cannot be kept fails only an application that reads it too late. A limit of 0
// leaves no usable temporary directory; with 3 MB the disk is full halfway.
func TestBodyThatCannotBeKept(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 8<<20/16)
	for _, limit := range []int{0, 3000000} {
		w := start(t, module(t, fmt.Sprintf("import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (%d, %d))\n"+
			"sys.path.insert(0, '.')\nfrom rude import application\n", limit, limit)))
		for _, test := range []struct{ do, how, status, body string }{
			{"ignore", "", "403", "not read\n"},
			{"raise", "", "500", "The application failed. Its log says why.\n"},
			{"clear", "", "500", "The application failed. Its log says why.\n"},
			{"read-on", "read", "200", "begun RuntimeError"},
			{"read-on", "read1", "200", "begun RuntimeError"},
			{"read-on", "readline", "200", "begun RuntimeError"},
			{"read", "", "200", fmt.Sprint(len(big))},
			{"hello", "", "200", "hello\n"},
		} {
			reply, done := w.ask(post(test.do, big, "HTTP_X_HOW", test.how))
			if !strings.HasPrefix(reply, "Status: "+test.status) || body(reply) != test.body {
				t.Errorf("limit %d, %s %s: %q", limit, test.do, test.how, reply)
			}
			if !strings.Contains(done, "CODE="+test.status) {
				t.Errorf("limit %d, %s %s: %q", limit, test.do, test.how, done)
			}
		}
		w.stop()
	}
}

// The time-out would make the connection non-blocking, for the master too.
func TestDefaultTimeoutOfTheApplication(t *testing.T) {
	for _, seconds := range []string{"0", "30"} {
		w := start(t, module(t, "import socket, sys\nsocket.setdefaulttimeout("+seconds+")\nsys.path.insert(0, '.')\nfrom app import application\n"))
		r := w.open(false)
		request := post("stream", "12")
		io.WriteString(r.conn, request[:len(request)-2])
		io.ReadFull(r.conn, make([]byte, 5))
		flags, err := unix.FcntlInt(uintptr(r.fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("%s seconds: flags %#x, %v", seconds, flags, err)
		}
		io.WriteString(r.conn, "12")
		if reply := r.read(); !strings.HasSuffix(reply, "nextnext") {
			t.Errorf("%s seconds: %q", seconds, reply)
		}
		r.wait()
		w.silent()
	}
}

// Django and others have a package beside the file, by the same name.
func TestFileBesideAPackageOfItsName(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "wiki"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"wiki/__init__.py": "",
		"wiki/pages.py":    "def application(env, start):\n    start('200 OK', [])\n    return [__name__.encode()]\n",
		"wiki.wsgi":        "import wiki.pages\napplication = wiki.pages.application\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, filepath.Join(dir, "wiki.wsgi"))
	if reply, _ := w.ask(get("hello")); body(reply) != "wiki.pages" {
		t.Errorf("got %q", reply)
	}
	w.silent()
}

// SIGINT neither ends the worker nor disturbs what it does, and SIGTERM still works.
func TestInterruptDoesNothing(t *testing.T) {
	for _, threads := range []string{"1", "3"} {
		w := start(t, "app:application", "--threads", threads)
		r := w.open(false)
		request := post("stream", "1234")
		io.WriteString(r.conn, request[:len(request)-4])
		io.ReadFull(r.conn, make([]byte, 5))
		for range 2 {
			w.cmd.Process.Signal(os.Interrupt)
			io.WriteString(r.conn, "12")
		}
		if reply := r.read(); !strings.HasSuffix(reply, "nextnextnextnext") {
			t.Errorf("threads %s: %q", threads, reply)
		}
		r.wait()
		w.cmd.Process.Signal(os.Interrupt)
		if reply, _ := w.ask(get("hello")); body(reply) != "hello\n" {
			t.Errorf("threads %s: %q", threads, reply)
		}
		w.cmd.Process.Signal(os.Interrupt)
		w.cmd.Process.Signal(syscall.SIGTERM)
		if code := w.exit(); code != 0 || w.stderr.String() != "" {
			t.Errorf("threads %s: exit status %d\n%s", threads, code, w.stderr)
		}
	}
}

// A program that is started with SIGINT ignored often leaves it so: Ctrl-C would
// not reach it.
func TestChildrenDoNotIgnoreInterrupt(t *testing.T) {
	w := start(t, "rude:application")
	reply, _ := w.ask(get("child-ignores"))
	var mask uint64
	if _, err := fmt.Sscanf(body(reply), "%x", &mask); err != nil || mask&(1<<(unix.SIGINT-1)) != 0 {
		t.Errorf("mask %#x, %v: %q", mask, err, reply)
	}
	w.silent()
}
