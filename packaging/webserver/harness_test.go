package webserver_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test for something that must come.
const patience = 30 * time.Second

// programs is the directory with scgid and the workers beside it.
var programs string

// large is a file to download.
var large struct{ path, sum string }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "scgid")
	if err == nil {
		large.path = filepath.Join(dir, "large")
		large.sum, err = writeBlocks(large.path, 100*mib)
	}
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		os.RemoveAll(dir)
		fmt.Fprintln(os.Stderr, "cannot prepare the tests:", err)
		os.Exit(1)
	}
	programs = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) error {
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "../../cmd/scgid", "../../cmd/scgi-cgi").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v\n%s", err, out)
	}
	wsgi, err := os.ReadFile("../../worker/python/scgi_wsgi.py")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "scgi-wsgi"), wsgi, 0o755)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// need skips a test for want of a package, except where CI installs it.
func need(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs the package %s", what)
	}
	t.Skipf("needs the package %s", what)
}

// needFile needs a package for one of its files.
func needFile(t testing.TB, path, what string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		need(t, what)
	}
}

// needProgram returns the path of a program, which may be in a sbin that is not
// in PATH.
func needProgram(t testing.TB, name, what string) string {
	t.Helper()
	for _, place := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(place); err == nil {
			return path
		}
	}
	need(t, what)
	return ""
}

func python(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return needProgram(t, "python3", "python3")
}

// place returns a directory that servers running as another user can reach.
func place(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// A journal collects what a process writes, and wakes those that wait for a text in it.
type journal struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{} // closed and renewed by each write
}

func newJournal() *journal { return &journal{grown: make(chan struct{})} }

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.grown)
	j.grown = make(chan struct{})
	return j.buf.Write(p)
}

func (j *journal) String() string {
	text, _ := j.look()
	return text
}

func (j *journal) look() (string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String(), j.grown
}

// A process is one that a test has started.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	log    *journal
	exited chan struct{} // closed when cmd has been waited for
}

func start(t testing.TB, dir string, argv ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(argv[0], argv[1:]...), log: newJournal(), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.WaitDelay = time.Second // what it leaves behind may hold its stderr
	must(t, p.cmd.Start())
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the process hard, if it is still there.
func (p *process) kill() {
	select {
	case <-p.exited:
	default:
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// stop asks the process to end and returns its exit status; -1 for a signal.
func (p *process) stop(sig syscall.Signal) int {
	p.t.Helper()
	p.cmd.Process.Signal(sig)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Errorf("%s did not end on %v; its log:\n%s", p.cmd.Path, sig, p.log)
		p.kill()
	}
	return p.cmd.ProcessState.ExitCode()
}

// await waits for n occurrences of a text in the log; false if the process ends
// before.
func (p *process) await(text string, n int) bool {
	p.t.Helper()
	end := time.After(patience)
	for {
		log, grown := p.log.look()
		if strings.Count(log, text) >= n {
			return true
		}
		select {
		case <-grown:
		case <-p.exited:
			return strings.Count(p.log.String(), text) >= n
		case <-end:
			p.t.Fatalf("no %q in the log of %s:\n%s", text, p.cmd.Path, log)
		}
	}
}

// children returns the process ids of the children.
func (p *process) children() []int {
	p.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	must(p.t, err)
	var pids []int
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		must(p.t, err)
		for _, word := range strings.Fields(string(text)) {
			var pid int
			fmt.Sscan(word, &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// A pool is a running scgid with one application.
type pool struct {
	*process
	sock  string
	probe string // directory of the pipes to the application
}

// startPool runs command as the worker of a pool whose socket is NAME.sock in
// dir, and waits until a worker is ready.
func startPool(t testing.TB, dir, name string, set []string, command ...string) *pool {
	t.Helper()
	work, err := filepath.Abs("testdata")
	must(t, err)
	p := &pool{sock: filepath.Join(dir, name+".sock"), probe: dir}
	argv := []string{filepath.Join(programs, "scgid"), "run", "--name", name, "--listen", p.sock}
	// Workers that a failed test has left waiting go before our patience ends.
	set = append([]string{"Pool.ListenMode=0666", "Worker.StopTimeoutSec=10s", "Worker.WorkingDirectory=" + work,
		"Worker.Environment=PYTHONDONTWRITEBYTECODE=1 PROBE_DIR=" + dir + " LARGE=" + large.path}, set...)
	for _, s := range set {
		argv = append(argv, "--set", s)
	}
	p.process = start(t, dir, append(append(argv, "--"), command...)...)
	if !p.await("worker is ready", 1) {
		t.Fatalf("scgid ended:\n%s", p.log)
	}
	t.Cleanup(p.finish)
	return p
}

// finish stops the pool as an operator would.
func (p *pool) finish() {
	if code := p.stop(syscall.SIGTERM); code != 0 {
		p.t.Errorf("scgid ended with status %d; its log:\n%s", code, p.log)
	}
	if p.t.Failed() {
		p.t.Logf("the log of scgid:\n%s", p.log)
	}
}

// freePort returns a TCP port that the kernel has chosen.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// listens waits until somebody answers on the port; false if the process ends
// before.
func (p *process) listens(port int) bool {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return true
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			p.t.Fatal(err)
		}
		select {
		case <-p.exited:
			return false
		case <-tick.C:
		}
	}
	p.t.Fatalf("%s does not listen; its log:\n%s", p.cmd.Path, p.log)
	return false
}
