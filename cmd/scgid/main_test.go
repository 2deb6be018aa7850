package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// The test binary is scgid itself when beScgid is set, and a worker when
// beWorker is.
const (
	beScgid  = "TEST_BE_SCGID"
	beWorker = "TEST_BE_WORKER"
)

func TestMain(m *testing.M) {
	process.Trampoline()
	switch {
	case os.Getenv(beAttacker) != "":
		attack(os.Getenv(beAttacker))
		os.Exit(0)
	case os.Getenv(beWorker) != "":
		if dir := os.Getenv(beSpy); dir != "" {
			go spy(dir)
		}
		workerMain(os.Getenv(beWorker))
		os.Exit(0)
	case os.Getenv(beScgid) != "":
		if os.Getenv("LISTEN_FDS") != "" {
			os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())) // whoever started us could not know it
		}
		os.Exit(run())
	}
	testscript.Main(m, map[string]func(){"scgid": func() { os.Exit(run()) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// workerMain notes each request's key in the file journal as soon as it has
// read the request: one line for each execution. Every other worker has a page,
// so that both kinds meet in one pool.
func workerMain(journal string) {
	end, err := link.Inherit()
	if err != nil {
		panic(err)
	}
	notes, err := os.OpenFile(journal, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, unix.SIGTERM)
	signal.Ignore(unix.SIGINT)
	go func() {
		for range leave {
			end.Leave()
		}
	}()
	if id, _ := strconv.Atoi(os.Getenv(link.EnvWorker)); id%2 == 0 {
		if err := end.UsePage(); err != nil {
			panic(err)
		}
	}
	end.Ready(1, "")
	for {
		p, err := end.Receive()
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(err)
		}
		f, status, mark := os.NewFile(uintptr(p.FD), "connection"), 200, end.Mark(p)
		if req, err := scgi.ReadRequest(bufio.NewReader(f), 0); err == nil {
			key := req.Header.Get("REQUEST_URI")
			io.WriteString(notes, key+"\n")
			if n, _ := strconv.Atoi(req.Header.Get("CONTENT_LENGTH")); n < 4096 {
				io.Copy(io.Discard, req.Body) // left unread a small body would reset the reply
			}
			if strings.HasSuffix(key, "7") {
				time.Sleep(2 * time.Millisecond) // so that kills meet requests at work
			}
			if fifo, ok := strings.CutPrefix(key, "/fifo"); ok {
				os.ReadFile(fifo) // until somebody writes
			}
			answer := key
			if text, ok := orders(key); ok {
				answer = text
			}
			if n, ok := asked(key); ok {
				status = n
			}
			mark.Begin()
			fmt.Fprintf(f, "Status: %d OK\r\n\r\n%s", status, answer)
		}
		mark.Finish(status, 0, false)
		unix.Shutdown(p.FD, unix.SHUT_RDWR)
		f.Close()
		if mark.Asked() {
			end.Done(p.ID, status, 0)
		}
	}
}

// A server is a scgid process under test.
type server struct {
	t       *testing.T
	cmd     *exec.Cmd
	addr    string
	journal string
	log     *logBuffer
	exited  chan error
	files   []*os.File // what it inherits, from descriptor 3 on

	read      int   // bytes of the log that ready has read
	saidReady []int // pids of workers that were ready by then
}

// logBuffer keeps what scgid and its workers write to stderr.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startServer runs scgid with the test binary as its worker.
func startServer(t *testing.T, flags ...string) *server {
	t.Helper()
	exe := self(t)
	dir := t.TempDir()
	s := &server{t: t, addr: filepath.Join(dir, "s"), journal: filepath.Join(dir, "journal"), log: &logBuffer{}, exited: make(chan error, 1)}
	args := append([]string{"run", "--name", "test", "--listen", s.addr}, flags...)
	args = append(args, "--set", "Worker.Environment="+beWorker+"="+s.journal, "--", exe)
	s.begin(append(os.Environ(), beScgid+"=1"), nil, exe, args...)
	return s
}

// self is the test binary.
func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// begin starts the process and waits until a worker is ready.
func (s *server) begin(env []string, attr *syscall.SysProcAttr, exe string, args ...string) {
	s.t.Helper()
	s.launch(env, attr, exe, args...)
	s.until("it listens", func() bool { return strings.Contains(s.log.String(), "worker is ready") })
}

// launch starts the process, and ends it when the test does.
func (s *server) launch(env []string, attr *syscall.SysProcAttr, exe string, args ...string) {
	t := s.t
	t.Helper()
	cmd := exec.Command(exe, args...)
	cmd.Env, cmd.SysProcAttr = env, attr
	s.start(cmd, "")
}

// start starts scgid and waits until its log has the text; "" is for nothing.
func (s *server) start(cmd *exec.Cmd, text string) {
	t := s.t
	t.Helper()
	cmd.Stderr = s.log
	s.startCommand(cmd)
	if text != "" {
		s.until(text, func() bool { return strings.Contains(s.log.String(), text) })
	}
}

// startCommand starts scgid, with its output where the command has it.
func (s *server) startCommand(cmd *exec.Cmd) {
	t := s.t
	t.Helper()
	s.cmd = cmd
	if s.files != nil {
		s.cmd.ExtraFiles = s.files
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.exited <- s.cmd.Wait() }()
	t.Cleanup(func() {
		s.cmd.Process.Signal(unix.SIGTERM)
		s.wait()
		if t.Failed() {
			text := s.log.String()
			t.Log(text[max(0, len(text)-4000):])
		}
	})
}

// wait returns how scgid ended.
func (s *server) wait() error {
	s.t.Helper()
	select {
	case err := <-s.exited:
		s.exited <- err
		return err
	case <-time.After(60 * time.Second):
		s.t.Error("scgid does not end")
		s.cmd.Process.Kill()
		return <-s.exited
	}
}

// until polls for what another process does and cannot tell us.
func (s *server) until(what string, cond func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Duration(60*soak()) * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// workers returns the pids of scgid's children.
func (s *server) workers() []int {
	var all []int
	pid := strconv.Itoa(s.cmd.Process.Pid)
	lists, _ := filepath.Glob("/proc/" + pid + "/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(f)
			all = append(all, n)
		}
	}
	return all
}

var ended = regexp.MustCompile(`stopped served=(\d+) lost=(\d+) refused=(\d+)`)

// counted returns what scgid said when it stopped.
func (s *server) counted() (served, lost, refused int) {
	s.t.Helper()
	m := ended.FindStringSubmatch(s.log.String())
	if m == nil {
		s.t.Fatal("scgid did not say what it had served")
	}
	served, _ = strconv.Atoi(m[1])
	lost, _ = strconv.Atoi(m[2])
	refused, _ = strconv.Atoi(m[3])
	return
}
