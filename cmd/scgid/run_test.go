package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/master/config"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

var frontAt = regexp.MustCompile(`on=(http://127\.0\.0\.1:\d+/)`)

// The front is a browser's way to a pool without a web server.
func TestTheHTTPFrontServesThePool(t *testing.T) {
	s := startServer(t, "--http", "127.0.0.1:0")
	s.until("it says where", func() bool { return frontAt.MatchString(s.log.String()) })
	m := frontAt.FindStringSubmatch(s.log.String())
	if m == nil || !strings.Contains(s.log.String(), "not for production") {
		t.Fatalf("the log does not say where, or not that it is no web server:\n%s", s.log)
	}
	client := &http.Client{Timeout: 30 * time.Second}
	for _, method := range []string{"GET", "POST", "HEAD"} {
		req, err := http.NewRequest(method, m[1]+"a%20b?c=d", strings.NewReader("a body"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		want := "/a%20b?c=d"
		if method == "HEAD" {
			want = ""
		}
		if resp.StatusCode != 200 || string(body) != want || err != nil {
			t.Errorf("%s: %d %q, %v", method, resp.StatusCode, body, err)
		}
	}
	// Through the pool's own socket, and not past it.
	s.cmd.Process.Signal(unix.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	if served, _, _ := s.counted(); served != 3 {
		t.Errorf("the pool served %d", served)
	}
}

// What net/http does not understand of a query the application may.
func TestTheHTTPFrontPassesQueriesOnAsTheyAre(t *testing.T) {
	to, err := activation.Open(filepath.Join(t.TempDir(), "s"), activation.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := unix.SetNonblock(to.FD(), false); err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	front, err := openFront("127.0.0.1:0", to, logger{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	client := &http.Client{Timeout: 30 * time.Second}
	for _, query := range []string{"x=1;y=2", "x=%zz&y", "a=b&c", ""} {
		got := make(chan string, 1)
		go func() {
			fd, _, err := unix.Accept4(to.FD(), unix.SOCK_CLOEXEC)
			if err != nil {
				got <- err.Error()
				return
			}
			f := os.NewFile(uintptr(fd), "request")
			defer f.Close()
			r, err := scgi.ReadRequest(bufio.NewReader(f), 1<<16)
			if err != nil {
				got <- err.Error()
				return
			}
			_, _ = io.WriteString(f, "Status: 204 No Content\r\n\r\n")
			got <- r.Header.Get("QUERY_STRING")
		}()
		resp, err := client.Get(frontAt.FindStringSubmatch(log.String())[1] + "c?" + query)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if text := <-got; text != query {
			t.Errorf("QUERY_STRING is %q, want %q", text, query)
		}
	}
}

func TestTheHTTPFrontSays502WhenAWorkerDies(t *testing.T) {
	s := startServer(t, "--http", "127.0.0.1:0")
	resp, err := http.Get(frontAt.FindStringSubmatch(s.log.String())[1] + "die")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 502 || !strings.Contains(string(body), "no valid answer") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	s.until("it is told", func() bool { return strings.Contains(s.log.String(), "the HTTP front got no answer") })
}

// dialAny connects to an address as Listen= has it.
func dialAny(addr string) (net.Conn, error) {
	if strings.HasPrefix(addr, "/") || strings.HasPrefix(addr, "@") {
		return net.Dial("unix", addr)
	}
	return net.Dial("tcp", addr)
}

// askAt makes one request and returns what came.
func askAt(t *testing.T, addr, key string) string {
	t.Helper()
	c, err := dialAny(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := exchangeOn(c, key)
	if err != nil {
		t.Fatalf("%s: %v", addr, err)
	}
	return text
}

var servingOn = regexp.MustCompile(`serving on="([^"]*)"`)

func TestAPoolListensOnSeveralAddressesOfEveryKind(t *testing.T) {
	abstract := fmt.Sprintf("@scgid-test-%d", os.Getpid())
	second := filepath.Join(t.TempDir(), "second")
	s := startServer(t, "--listen", "unix:"+second, "--listen", abstract, "--listen", "127.0.0.1:0", "--listen", "[::1]:0")
	m := servingOn.FindStringSubmatch(s.log.String())
	if m == nil {
		t.Fatalf("the log does not say where:\n%s", s.log)
	}
	all := strings.Fields(m[1])
	if len(all) != 5 || all[0] != s.addr || all[1] != second || all[2] != abstract {
		t.Fatalf("it listens on %q", all)
	}
	for i, addr := range all {
		key := fmt.Sprint("/", i)
		if got := askAt(t, addr, key); got != "Status: 200 OK\r\n\r\n"+key {
			t.Errorf("%s: got %q", addr, got)
		}
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	s.wait()
	for _, path := range []string{s.addr, second} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// inherit runs scgid with sockets as systemd passes them; more are its
// arguments, files its descriptors from 3 on, with these names.
func inherit(t *testing.T, files []*os.File, names string, more ...string) *exec.Cmd {
	t.Helper()
	words := append([]string{"run", "--name", "test"}, more...)
	// The pid in LISTEN_PID is that of the process, which exec does not change.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, self(t)}, words...)...)
	cmd.Env = append(os.Environ(), beScgid+"=1", fmt.Sprint("LISTEN_FDS=", len(files)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = files
	return cmd
}

// startInherited is startServer on a socket that somebody else holds.
func startInherited(t *testing.T, files []*os.File, names, journal string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, journal: journal, log: &logBuffer{}, exited: make(chan error, 1)}
	args := append(flags, "--set", "Worker.Environment="+beWorker+"="+journal, "--", self(t))
	s.start(inherit(t, files, names, args...), "worker is ready")
	return s
}

// listening makes a listening socket that outlives who serves it.
func listening(t *testing.T, network, addr string) (*os.File, string) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	addr = l.Addr().String()
	l.Close()
	t.Cleanup(func() { f.Close() })
	return f, addr
}

func TestInheritedSocketsAreServedAndOutliveTheMaster(t *testing.T) {
	dir := t.TempDir()
	one, path := listening(t, "unix", filepath.Join(dir, "s"))
	two, tcp := listening(t, "tcp", "127.0.0.1:0")
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	s := startInherited(t, []*os.File{one, two}, "scgi:more", filepath.Join(dir, "journal"))
	for i, addr := range []string{path, tcp} {
		key := fmt.Sprint("/", i)
		if got := askAt(t, addr, key); got != "Status: 200 OK\r\n\r\n"+key {
			t.Errorf("%s: got %q", addr, got)
		}
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("the socket is not as it was: %v %v", info, err)
	}
	late, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("nobody listens any more: %v", err)
	}
	late.Close()
}

// A socket unit with Accept=yes passes a connection.
func TestAConnectionInPlaceOfASocketIsToldInOneSentence(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "connection")
	defer f.Close()
	defer unix.Close(fds[1])
	out, err := inherit(t, []*os.File{f}, "scgi", "--", "/bin/true").CombinedOutput()
	want := "scgid: cannot inherit socket \"scgi\": fd 3 is a connected stream socket: the socket unit says Accept=yes; remove that line\n"
	if err == nil || string(out) != want {
		t.Errorf("%v: got %q, want %q", err, out, want)
	}
}

// What the service manager says to the master is none of a worker's business.
func TestWorkersSeeNothingOfTheServiceManager(t *testing.T) {
	dir := t.TempDir()
	f, _ := listening(t, "unix", filepath.Join(dir, "s"))
	cmd := inherit(t, []*os.File{f}, "scgi", "--set", "Worker.Environment=OWN=1", "--", "/bin/sh", "-c", "env; ls /proc/$$/fd; exec cat <&3")
	ours := []string{"NOTIFY_SOCKET=" + dir + "/none", "WATCHDOG_USEC=60000000", "JOURNAL_STREAM=1:2", "INVOCATION_ID=x",
		"FDSTORE=10", "MEMORY_PRESSURE_WATCH=/dev/null", "MAINPID=1", "MANAGERPID=1", "SYSTEMD_EXEC_PID=1", "SCGID_REQUEST=7"}
	cmd.Env = append(cmd.Env, ours...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var lines []string
	seen := false
	for sc := bufio.NewScanner(out); sc.Scan(); {
		line := sc.Text()
		lines = append(lines, line)
		if seen = line == "4"; seen {
			break
		}
	}
	if !seen || slices.Contains(lines, "5") {
		t.Errorf("a worker's descriptors are not 0 to 4:\n%s", strings.Join(lines, "\n"))
	}
	for _, v := range append(ours, "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=") {
		name, _, _ := strings.Cut(v, "=")
		if slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(s, name+"=") }) {
			t.Errorf("a worker sees %s", name)
		}
	}
	for _, want := range []string{"OWN=1", "SCGID_WORKER_FD=3", "SCGID_WORKER=1", "SCGID_PROTOCOL=1", "SCGID_GENERATION=1", "SCGID_POOL=test"} {
		if !slices.Contains(lines, want) {
			t.Errorf("a worker does not see %s", want)
		}
	}
}

// Ctrl-C finishes what is held, a second one has workers told to end, a third
// kills them.
func TestInterruptsFinishThenHurry(t *testing.T) {
	for _, interrupts := range []int{1, 2, 3} {
		s := startServer(t)
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := make(chan string, 1)
		go func() {
			text, err := exchangeOn(c, "/fifo"+fifo)
			got <- fmt.Sprint(text, err)
		}()
		s.until("it is at work", func() bool {
			notes, _ := os.ReadFile(s.journal)
			return strings.Contains(string(notes), fifo)
		})
		for _, told := range []string{"interrupt again to hurry", "stopping takes too long", "killing a worker: the master stops"}[:interrupts] {
			s.cmd.Process.Signal(unix.SIGINT)
			s.until(told, func() bool { return strings.Contains(s.log.String(), told) })
		}
		want := "<nil>"
		if interrupts < 3 {
			want = "Status: 200 OK\r\n\r\n/fifo" + fifo + want
			if err := os.WriteFile(fifo, nil, 0); err != nil {
				t.Error(err)
			}
		}
		if text := <-got; text != want {
			t.Errorf("%d interrupts: got %q, want %q", interrupts, text, want)
		}
		if err := s.wait(); err != nil {
			t.Errorf("%d interrupts: %v", interrupts, err)
		}
		served, lost, _ := s.counted()
		if wantLost := max(0, interrupts-2); served != 1-wantLost || lost != wantLost {
			t.Errorf("%d interrupts: %d served, %d lost", interrupts, served, lost)
		}
	}
}

// A pool without MinWorkers has no process until somebody comes, and leaves
// when it has been quiet.
func TestAnIdlePoolEndsByItself(t *testing.T) {
	dir := t.TempDir()
	f, path := listening(t, "unix", filepath.Join(dir, "s"))
	s := &server{t: t, journal: filepath.Join(dir, "journal"), log: &logBuffer{}, exited: make(chan error, 1)}
	s.start(inherit(t, []*os.File{f}, "scgi", "--set", "Pool.MinWorkers=0", "--set", "Pool.MinIdle=0", "--set", "Pool.IdleExitSec=300ms",
		"--set", "Worker.Environment="+beWorker+"="+s.journal, "--", self(t)), "serving")
	if got := askAt(t, path, "/"); got != "Status: 200 OK\r\n\r\n/" {
		t.Errorf("got %q", got)
	}
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	if served, lost, refused := s.counted(); served != 1 || lost+refused != 0 || !strings.Contains(s.log.String(), "nothing to do, leaving") {
		t.Errorf("%d served, %d lost, %d refused:\n%s", served, lost, refused, s.log)
	}
}

// A master that is killed takes nothing with it that a worker has: the worker
// finishes that and leaves.
func TestAKilledMasterTakesNoRequestWithIt(t *testing.T) {
	s := startServer(t)
	worker := s.workers()[0]
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		text, err := exchange(s.addr, "/fifo"+fifo)
		got <- fmt.Sprint(text, err)
	}()
	s.until("it is at work", func() bool {
		notes, _ := os.ReadFile(s.journal)
		return strings.Contains(string(notes), fifo)
	})
	s.cmd.Process.Kill()
	// Its log ends with the worker, and s.wait waits for that.
	s.until("it has gone", func() bool { return unix.Kill(s.cmd.Process.Pid, 0) == unix.ESRCH })
	if err := os.WriteFile(fifo, nil, 0); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "Status: 200 OK\r\n\r\n/fifo"+fifo+"<nil>" {
		t.Errorf("got %q", text)
	}
	s.until("the worker has left", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", worker))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// An application of the same user reads neither the master's memory nor its
// descriptors: proc_pid_fd(5) is ptrace(2)'s business.
func TestTheMasterIsNoneOfItsUsersBusiness(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	const uid = 65534
	s, _ := asUser(t, uid)
	pid := s.cmd.Process.Pid
	for _, name := range []string{"fd", "mem", "environ"} {
		path := fmt.Sprintf("/proc/%d/%s", pid, name)
		cmd := exec.Command("/bin/sh", "-c", `ls "$0"/ >/dev/null 2>&1 || head -c 1 "$0" >/dev/null 2>&1`, path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if cmd.Run() == nil {
			t.Errorf("%s can be read", path)
		}
	}
}

func TestTheNameOfAPoolIsMadeOfAPath(t *testing.T) {
	for command, want := range map[string]string{
		"/usr/bin/scgi-wsgi": "scgi-wsgi", "./my app": "my_app", "/": "_", "...": "run", "app.service": "app_service", "a.sock.sock": "a_sock_sock",
		strings.Repeat("x", 40): strings.Repeat("x", 32), strings.Repeat("x", 27) + ".socket": strings.Repeat("x", 27) + "_sock",
	} {
		if got := poolName(command); got != want || config.CheckName(got) != nil {
			t.Errorf("%s: %s, want %s", command, got, want)
		}
	}
}
