package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// runIn begins scgid run in a directory, without a name or an address, as a
// developer does.
func runIn(t *testing.T, dir, runtime string, flags ...string) *exec.Cmd {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"run"}, flags...)
	args = append(args, "--set", "Worker.Environment="+beWorker+"="+filepath.Join(dir, "journal"), "--set", "Control.Socket="+filepath.Join(dir, "c"), "--", self(t))
	cmd := exec.Command(self(t), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), beScgid+"=1", "XDG_RUNTIME_DIR="+runtime)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

func TestTwoRunsInTwoDirectoriesAreTwoPools(t *testing.T) {
	top, err := os.MkdirTemp("", "run") // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	for _, name := range []string{"wiki", "shop"} {
		s := &server{t: t, log: &logBuffer{}, exited: make(chan error, 1)}
		s.start(runIn(t, filepath.Join(top, name), top), "worker is ready")
		if want := "scgid[" + name + "]: serving on=" + filepath.Join(top, "scgid", name+".sock"); !strings.Contains(s.log.String(), want) {
			t.Errorf("%q is not in\n%s", want, s.log)
		}
	}
	// Two of the same name are told what to do.
	out, err := runIn(t, filepath.Join(top, "other", "wiki"), top).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "a pool called wiki runs already") || !strings.Contains(string(out), "--name") {
		t.Errorf("%v: %s", err, out)
	}
}

// With --http somebody watches, and wants a line for each request.
func TestRunWithHTTPLogsEachRequest(t *testing.T) {
	s := startServer(t, "--http", "127.0.0.1:0")
	resp, err := http.Get(frontAt.FindStringSubmatch(s.log.String())[1] + "a/page")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	s.until("the access line", func() bool { return strings.Contains(s.log.String(), "GET /a/page ") })
	off := startServer(t, "--http", "127.0.0.1:0", "--set", "Request.AccessLog=no")
	resp, err = http.Get(frontAt.FindStringSubmatch(off.log.String())[1] + "a/page")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	off.cmd.Process.Signal(unix.SIGTERM)
	off.wait()
	if strings.Contains(off.log.String(), "GET /a/page") {
		t.Errorf("AccessLog=no, but\n%s", off.log)
	}
}

// terminal makes a pseudo-terminal; see pts(4).
func terminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs a pseudo-terminal: ", err)
		}
		t.Skip("needs a pseudo-terminal: ", err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

func TestRunEndsWhenItsTerminalDoes(t *testing.T) {
	ours, theirs := terminal(t)
	s := &server{t: t, log: &logBuffer{}, exited: make(chan error, 1)}
	cmd := runIn(t, t.TempDir(), "", "--listen", filepath.Join(t.TempDir(), "s"))
	cmd.Stdin = theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.start(cmd, "worker is ready")
	theirs.Close()
	ours.Close()
	if err := s.wait(); err != nil {
		t.Errorf("%v\n%s", err, s.log)
	}
	if !strings.Contains(s.log.String(), "the terminal has gone") {
		t.Errorf("it does not say why:\n%s", s.log)
	}
}

// Without a terminal SIGHUP is a reload, as of serve.
func TestRunWithoutATerminalReloads(t *testing.T) {
	s := &server{t: t, log: &logBuffer{}, exited: make(chan error, 1)}
	s.start(runIn(t, t.TempDir(), "", "--listen", filepath.Join(t.TempDir(), "s")), "worker is ready")
	s.cmd.Process.Signal(unix.SIGHUP)
	s.until("a reload", func() bool { return strings.Contains(s.log.String(), "reload") })
}

// Uploads of programs that stream, such as curl -T -, tell no length.
func TestTheHTTPFrontTakesBodiesOfUnknownLength(t *testing.T) {
	checkNoSpool := func() int {
		left, _ := filepath.Glob(filepath.Join(os.TempDir(), "scgid-body-*"))
		return len(left)
	}
	before, body := checkNoSpool(), bytes.Repeat([]byte("x"), 3<<20)
	var got []byte
	var length int64
	h := sized(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		length = r.ContentLength
	}))
	server := httptest.NewServer(h)
	defer server.Close()
	resp, err := http.Post(server.URL, "text/plain", io.MultiReader(bytes.NewReader(body))) // of unknown length
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || length != int64(len(body)) || !bytes.Equal(got, body) {
		t.Errorf("%d: %d bytes, told %d, want %d", resp.StatusCode, len(got), length, len(body))
	}
	if n := checkNoSpool(); n > before {
		t.Errorf("%d files are left", n-before)
	}
	if f, n, err := spooled(bytes.NewReader(body), 100); err != nil || n != 101 {
		t.Errorf("more than may be: %d, %v", n, err)
	} else {
		f.Close()
	}
}

// A developer sees in the browser why there is no page.
func TestThe503PageOfRunSaysWhy(t *testing.T) {
	dir := t.TempDir()
	s := &server{t: t, addr: filepath.Join(dir, "s"), log: &logBuffer{}, exited: make(chan error, 1)}
	cmd := exec.Command(self(t), "run", "--name", "test", "--listen", s.addr, "--set", "Control.Socket="+filepath.Join(dir, "c"), "--", "/bin/false")
	cmd.Env = append(os.Environ(), beScgid+"=1")
	s.start(cmd, "failures=3")
	if got := askAt(t, s.addr, "/"); !strings.Contains(got, "Status: 503") || !strings.Contains(got, "The application does not start: it exited with status 1") {
		t.Errorf("%s", got)
	}
}
