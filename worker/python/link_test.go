package python_test

import (
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// descriptors counts what the worker has open, between requests.
func (w *worker) descriptors() int {
	w.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(entries)
}

func TestReady(t *testing.T) {
	for args, want := range map[string]string{
		"app:application":             "READY=1\nSLOTS=1\nDUMPSIGNAL=USR2",
		"app:application --threads 5": "READY=1\nSLOTS=5\nDUMPSIGNAL=USR2",
	} {
		w := start(t, strings.Fields(args)...)
		if w.ready != want {
			t.Errorf("%s: %q", args, w.ready)
		}
		w.silent()
	}
}

func TestApplicationNames(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "my-site.wsgi")
	source := "import beside\nclass site:\n    app = beside.make()\ndef create(text, n=1):\n    return beside.make(text * n)\n" +
		"application = site.app\n"
	library := "def make(text='plain'):\n    def app(env, start):\n        start('200 OK', [])\n        return [text.encode()]\n    return app\n"
	for path, text := range map[string]string{file: source, filepath.Join(dir, "beside.py"): library} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"app": "hello\n", "app:do_hello": "hello\n", file: "plain", file + ":site.app": "plain",
		file + ":create('ab', n=2)":   "abab",
		file + ":create('/a:b/c(1)')": "/a:b/c(1)", "app:make('/etc/x')": "/etc/x",
		"app:make('a:b')": "a:b", "app:make('/', b=':/x.py')": "/:/x.py",
		"mysite.wsgi": "Django's", "mysite.wsgi:application": "Django's", "beside.wsgi:named": "a file's", "beside.wsgi": "a file's",
	} {
		w := start(t, name)
		if reply, _ := w.ask(get("hello")); body(reply) != want {
			t.Errorf("%s: %q", name, reply)
		}
		w.silent()
	}
}

func TestApplicationThatCannotBeLoaded(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"raises":  "raise KeyError('two\\nlines')",
		"syntax":  "def (:",
		"exits":   "import sys; sys.exit('configuration missing')",
		"nothing": "",
		"flask":   "def app(): pass",
		"number":  "application = 5",
		"mute":    "class Mute(Exception):\n    def __str__(self): raise self\nraise Mute",
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".wsgi"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"no_such_module":           "ModuleNotFoundError: No module named 'no_such_module' in /",
		"mysite.none":              "No module named 'mysite.none' in /",
		"none.wsgi:x":              "testdata or where Python looks, and no file none.wsgi",
		"mysite.broken":            "ModuleNotFoundError: No module named 'not_installed'",
		"app:missing":              "AttributeError: module 'app' has no attribute 'missing'",
		"app:a b":                  "ValueError: 'a b' is not a name or a call",
		dir + "/none.wsgi":         "FileNotFoundError",
		dir + "/raises.wsgi":       `KeyError: 'two\nlines'`,
		dir + "/syntax.wsgi":       "SyntaxError",
		dir + "/exits.wsgi":        "SystemExit: configuration missing",
		dir + "/nothing.wsgi":      "AttributeError",
		dir + "/flask.wsgi":        "has no attribute 'application', but app: name it " + dir + "/flask.wsgi:app",
		dir + "/number.wsgi":       "int, not callable",
		dir + "/mute.wsgi":         "Mute",
		dir + "/exits.wsgi:x(y)":   "SystemExit",
		"app:application.__name__": "str, not callable",
		"app:do_hello(undefined)":  "ValueError",
	} {
		w := launch(t, python(t), "-S", "../scgi_wsgi.py", name)
		text := w.message()
		if !strings.HasPrefix(text, "FAILED=cannot load "+name+": ") || !strings.Contains(text, want) || strings.Contains(text, "\n") {
			t.Errorf("%s: %q", name, text)
		}
		if code := w.exit(); code != 1 {
			t.Errorf("%s: exit status %d", name, code)
		}
		if !strings.Contains(w.stderr.String(), "Traceback (most recent call last)") {
			t.Errorf("%s: no traceback: %s", name, w.stderr)
		}
	}
}

func TestWithoutLink(t *testing.T) {
	for env, want := range map[string]string{
		"A=b":                "hint: scgid run --http",
		"SCGID_WORKER_FD=1x": "is not a worker link",
		"SCGID_WORKER_FD=77": "Bad file descriptor",
		"SCGID_WORKER_FD=0":  "is not a worker link",
	} {
		cmd := exec.Command(python(t), "scgi_wsgi.py", "app")
		cmd.Env = append(os.Environ(), env)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "Traceback") {
			t.Errorf("%s: %v, %s", env, err, out)
		}
	}
	for _, option := range []string{"--help", "--version"} {
		if out, err := exec.Command(python(t), "scgi_wsgi.py", option).CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("%s: %v, %s", option, err, out)
		}
	}
}

// The application and its children see neither the variable nor the descriptor.
func TestLinkIsNotInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "look.py")
	text := "import os, subprocess\ndef application(env, start):\n    start('200 OK', [])\n" +
		"    out = subprocess.run('env; ls -l /proc/self/fd', shell=True, close_fds=False, capture_output=True).stdout\n    return [out]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w := start(t, path)
	reply, _ := w.ask(get("hello"))
	if strings.Contains(reply, "SCGID_WORKER_FD") || strings.Contains(reply, "socket:") {
		t.Errorf("got %s", reply)
	}
	for _, name := range []string{"SCGID_WORKER=7", "SCGID_GENERATION=2", "SCGID_POOL=wiki"} {
		if !strings.Contains(reply, name) {
			t.Errorf("%s is missing: %s", name, reply)
		}
	}
	w.silent()
}

// End of file: what was queued is served, then exit 0.
func TestEndOfFileDrains(t *testing.T) {
	for _, threads := range []string{"1", "4"} {
		w := start(t, "app:application", "--threads", threads)
		var open []*request
		for i := 0; i < 20; i++ {
			r := w.open(i%2 == 0)
			io.WriteString(r.conn, get("slow", "HTTP_X_SECONDS", "0.01"))
			open = append(open, r)
		}
		w.link.CloseWrite()
		for _, r := range open {
			if reply := r.read(); body(reply) != "hello\n" {
				t.Errorf("threads %s: %q", threads, reply)
			}
			r.wait()
		}
		w.silent()
	}
}

// A master that was killed, with words of the worker unread.
func TestDeathOfTheMasterDrains(t *testing.T) {
	w := launch(t, python(t), "-S", "../scgi_wsgi.py", "app:application")
	w.message()
	var open []*request
	for i := 0; i < 10; i++ {
		r := w.open(false)
		io.WriteString(r.conn, get("slow", "HTTP_X_SECONDS", "0.02"))
		open = append(open, r)
	}
	if reply := open[0].read(); body(reply) != "hello\n" {
		t.Fatalf("got %q", reply)
	}
	w.link.Close() // at least one DONE is unread, or is sent into nothing
	for _, r := range open {
		unix.Close(r.fd)
		if r != open[0] {
			if reply := r.read(); body(reply) != "hello\n" {
				t.Errorf("got %q", reply)
			}
		}
	}
	if code := w.exit(); code != 0 || w.stderr.String() != "" {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
}

// The same at the one moment at which it shows: the worker has said DONE, nobody
// has read it, and it comes to receive. Linux then tells of the reset before it
// gives the packets that are queued.
func TestDeathOfTheMasterIsNoEndOfWhatIsQueued(t *testing.T) {
	w := launch(t, python(t), "-S", "../scgi_wsgi.py", "app:application")
	w.message()
	first := w.open(false)
	io.WriteString(first.conn, get("hello"))
	first.read()
	w.readable()
	w.freeze()
	var open []*request
	for i := 0; i < 3; i++ {
		r := w.open(false)
		io.WriteString(r.conn, get("hello"))
		open = append(open, r)
	}
	w.link.Close()
	w.cmd.Process.Signal(syscall.SIGCONT)
	for _, r := range append(open, first) {
		unix.Close(r.fd)
	}
	for _, r := range open {
		if reply := r.read(); body(reply) != "hello\n" {
			t.Errorf("got %q", reply)
		}
	}
	if code := w.exit(); code != 0 || w.stderr.String() != "" {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
}

// readable waits until the worker has said something, and does not read it.
func (w *worker) readable() {
	w.t.Helper()
	raw, err := w.link.SyscallConn()
	if err != nil {
		w.t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for n := 0; n == 0 && err == nil || err == unix.EINTR; {
			n, err = unix.Poll(p, int(patience.Milliseconds()))
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// freeze stops the process and waits until it has stopped.
func (w *worker) freeze() {
	w.t.Helper()
	pid := w.cmd.Process.Pid
	w.cmd.Process.Signal(syscall.SIGSTOP)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, state, _ := strings.Cut(string(stat), ") "); err != nil || strings.HasPrefix(state, "T") {
			return
		}
	}
	w.t.Fatal("the worker does not stop")
}

func TestThreadsServeAtTheSameTime(t *testing.T) {
	w := start(t, "app:application", "--threads", "4")
	var open []*request
	for i := 0; i < 4; i++ {
		r := w.open(false)
		io.WriteString(r.conn, get("meet")) // each waits for three others
		open = append(open, r)
	}
	for _, r := range open {
		if reply := r.read(); body(reply) != "hello\n" {
			t.Errorf("got %q", reply)
		}
		r.wait()
	}
	if reply, _ := w.ask(get("thread")); !strings.HasPrefix(body(reply), "slot-") {
		t.Errorf("served by %q", body(reply))
	}
	if env := w.environ(get("env")); env["wsgi.multithread"] != true {
		t.Errorf("wsgi.multithread = %v", env["wsgi.multithread"])
	}
	w.silent()
}

func TestDumpSignal(t *testing.T) {
	w := start(t, "app:application")
	r := w.open(false)
	request := post("stream", "1234")
	io.WriteString(r.conn, request[:len(request)-1])
	io.ReadFull(r.conn, make([]byte, 5))
	if err := w.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	w.awaitLog("in handle")
	io.WriteString(r.conn, "4")
	if reply := r.read(); !strings.HasSuffix(reply, "nextnextnextnext") {
		t.Errorf("the request was disturbed: %q", reply)
	}
	r.wait()
	w.stop()
}

// A connection that lost its descriptor on the way must not be called done: the
// master can give it to another worker.
func TestConnWithoutDescriptor(t *testing.T) {
	for _, count := range []int{0, 2} {
		w := start(t, "app:application")
		fds := make([]int, count)
		for i := range fds {
			fds[i] = int(os.Stdin.Fd())
		}
		var control []byte
		if count > 0 {
			control = unix.UnixRights(fds...)
		}
		if _, _, err := w.link.WriteMsgUnix([]byte("CONN=1\nWAITED=0"), control, nil); err != nil {
			t.Fatal(err)
		}
		if code := w.exit(); code != 1 || len(w.stray) > 0 {
			t.Errorf("exit status %d, messages %q", code, w.stray)
		}
		if !strings.Contains(w.stderr.String(), fmt.Sprintf("came with %d descriptors", count)) {
			t.Errorf("log: %s", w.stderr)
		}
	}
}

// stress is one worker's life and end: served some requests, then SIGTERM at a
// random moment. In most lives that is about when the last request ends and the
// worker goes to sleep, and no packet will ever come that could wake it; in the
// others requests keep coming until the link says that the worker is leaving.
func stress(t *testing.T, random *rand.Rand, argv ...string) (served int) {
	w := launch(t, argv...)
	w.awaitReady()
	request := get("hello")
	for i := random.Intn(4); i >= 0; i-- {
		w.ask(request)
		served++
	}
	var open []*pending
	busy := random.Intn(4) == 0
	delay := time.Duration(random.Intn(200)) * time.Microsecond
	if busy {
		delay = time.Duration(random.Intn(8000)) * time.Microsecond
	} else if random.Intn(4) > 0 {
		client, fd := streamPair(t)
		io.WriteString(client, request)
		r, err := w.pass(fd)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, &pending{r, client})
	}
	signal := make(chan error, 1)
	go func() {
		for end := time.Now().Add(delay); time.Now().Before(end); {
		}
		signal <- w.cmd.Process.Signal(syscall.SIGTERM)
	}()
	for busy {
		client, fd := streamPair(t)
		r, err := w.pass(fd)
		if err != nil { // EPIPE: keep the connection, it is another's
			client.Close()
			unix.Close(fd)
			break
		}
		io.WriteString(client, request)
		open = append(open, &pending{r, client})
		if len(open)%3 == 0 {
			open[len(open)-3].finish(t)
		}
	}
	if err := <-signal; err != nil {
		t.Fatal(err)
	}
	if random.Intn(2) == 0 {
		w.cmd.Process.Signal(syscall.SIGTERM) // a service manager may say it twice
	}
	for _, r := range open {
		r.finish(t)
	}
	if code := w.exit(); code != 0 {
		t.Fatalf("exit status %d\n%s", code, w.stderr)
	}
	w.link.Close()
	return served + len(open)
}

// pending is a request whose reply may have been read already.
type pending struct {
	r      *request
	client io.ReadCloser
}

func (r *pending) finish(t *testing.T) {
	if r.client == nil {
		return
	}
	reply, err := io.ReadAll(r.client)
	if err != nil || body(string(reply)) != "hello\n" {
		t.Fatalf("lost: %q, %v\n%s", reply, err, r.r.w.stderr)
	}
	r.r.wait()
	r.client.Close()
	r.client = nil
}

func stressMany(t *testing.T, count int, args ...string) {
	if testing.Short() {
		count /= 10
	}
	argv := append([]string{python(t), "-S", "../scgi_wsgi.py", "app:application"}, args...)
	const parts = 3
	for part := 0; part < parts; part++ {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			seed := time.Now().UnixNano()
			random := rand.New(rand.NewSource(seed))
			lives, served := 0, 0
			defer func() { t.Logf("seed %d: %d SIGTERMs, %d requests", seed, lives, served) }()
			for i := part; i < count; i += parts {
				served += stress(t, random, argv...)
				lives++
			}
		})
	}
}

func TestTerminateFinishesWhatItHolds(t *testing.T) {
	stressMany(t, 510)
}

func TestTerminateWithThreads(t *testing.T) {
	stressMany(t, 120, "--threads", "3")
}

// The race of which the random moments are only likely to find a case, made
// certain: the signal is received by another thread than the one that sleeps in
// recvmsg, so no interrupted call makes the interpreter look for handlers.
func TestTerminateThatTheMainThreadDoesNotReceive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "masked.py")
	text := "import signal, sys, threading\nsys.path.insert(0, '.')\nfrom app import application\n" +
		"threading.Thread(target=threading.Event().wait, daemon=True).start()\n" +
		"signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, threads := range []string{"1", "3"} {
		w := start(t, path, "--threads", threads)
		w.ask(get("hello"))
		w.cmd.Process.Signal(syscall.SIGTERM)
		if code := w.exit(); code != 0 {
			t.Errorf("exit status %d\n%s", code, w.stderr)
		}
	}
}

func TestTerminateTwiceDuringARequest(t *testing.T) {
	w := start(t, "app:application")
	r := w.open(false)
	request := post("stream", "1234")
	io.WriteString(r.conn, request[:len(request)-4])
	io.ReadFull(r.conn, make([]byte, 5))
	for i := 0; i < 2; i++ {
		w.cmd.Process.Signal(syscall.SIGTERM)
		io.WriteString(r.conn, "12")
	}
	if reply := r.read(); !strings.HasSuffix(reply, "nextnextnextnext") {
		t.Errorf("got %q", reply)
	}
	r.wait()
	if code := w.exit(); code != 0 || w.stderr.String() != "" {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
}

// slowApp writes an application whose import meets the test at a fifo, twice.
func slowApp(t *testing.T, before string) (path string, meet func(flags int)) {
	dir := t.TempDir()
	path, fifo := filepath.Join(dir, "slow.py"), filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s\nopen(%q, 'w').close()\nopen(%q).close()\nfrom app import application\n", before, fifo, fifo)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, func(flags int) {
		file, err := os.OpenFile(fifo, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
}

func TestTerminateDuringImport(t *testing.T) {
	path, meet := slowApp(t, "")
	w := launch(t, python(t), "-S", "../scgi_wsgi.py", path)
	meet(os.O_RDONLY)
	w.cmd.Process.Signal(syscall.SIGTERM)
	meet(os.O_WRONLY)
	if code := w.exit(); code != 0 || w.stderr.String() != "" {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
}

func TestHandlerIsTakenBackFromTheApplication(t *testing.T) {
	path, meet := slowApp(t, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)")
	w := launch(t, python(t), "-S", "../scgi_wsgi.py", path)
	meet(os.O_RDONLY)
	meet(os.O_WRONLY)
	w.awaitReady()
	if reply, _ := w.ask(get("hello")); body(reply) != "hello\n" {
		t.Errorf("got %q", reply)
	}
	w.cmd.Process.Signal(syscall.SIGTERM)
	if code := w.exit(); code != 0 {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
}
