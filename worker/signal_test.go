package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/worker/link"
)

const modeEnv = "WORKER_TEST_MODE"

// TestMain makes this binary a worker when a test starts it as one.
func TestMain(m *testing.M) {
	modes := map[string]func() error{
		"": nil,
		"serve": func() error {
			return Serve(context.Background(), http.HandlerFunc(answer))
		},
		"slots": func() error {
			return Serve(context.Background(), http.HandlerFunc(answer), Slots(4))
		},
		"listen": listenAndAnswer,
		"fail":   failToStart,
	}
	work := modes[os.Getenv(modeEnv)]
	if work == nil {
		os.Exit(m.Run())
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "answer to %s\n", r.URL.Path)
}

// listenAndAnswer is a worker on a net.Listener.
func listenAndAnswer() error {
	l, err := Listen()
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		req, err := conn.(*Conn).ReadRequest(0)
		if err == nil {
			fmt.Fprintf(conn, "Status: 200 OK\r\n\r\nanswer to %s\n", req.Header.Get("REQUEST_URI"))
		}
		conn.Close()
	}
}

func failToStart() error {
	w, err := Open()
	if err != nil {
		return err
	}
	return w.Fail(errors.New("no such\ntable"))
}

// A process is a worker as the master starts it.
type process struct {
	*master
	cmd    *exec.Cmd
	stderr output
	exited chan error
}

// output is what a process writes, to be read at any time.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	wake chan bool // closed when b has text
	text string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Write(p)
	if o.wake != nil && strings.Contains(o.b.String(), o.text) {
		close(o.wake)
		o.wake = nil
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// has returns a channel that is closed when text comes. Call it before.
func (o *output) has(text string) <-chan bool {
	wake := make(chan bool)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake, o.text = wake, text
	return wake
}

// start starts this binary as a worker.
func start(t testing.TB, mode string) *process {
	t.Helper()
	m, fd := newMaster(t)
	p := &process{master: m, exited: make(chan error, 1)}
	end := os.NewFile(uintptr(fd), "worker's end")
	p.cmd = exec.Command("/proc/self/exe")
	p.cmd.Env = append(os.Environ(), modeEnv+"="+mode, link.EnvFD+"=3", link.EnvProtocol+"=1",
		"GORACE=atexit_sleep_ms=0") // else each worker sleeps a second at its end
	p.cmd.ExtraFiles = []*os.File{end}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end.Close()
	go func() {
		err := p.cmd.Wait()
		m.file.Close() // before anybody counts descriptors
		p.exited <- err
	}()
	return p
}

// wait waits for the end of the process.
func (p *process) wait() error {
	select {
	case err := <-p.exited:
		return err
	case <-time.After(patience):
		p.cmd.Process.Signal(syscall.SIGUSR2)
		p.cmd.Process.Signal(syscall.SIGABRT)
		<-p.exited
		return fmt.Errorf("stuck; its goroutines:\n%s", p.stderr.String())
	}
}

func TestSIGTERMLosesNothing(t *testing.T) {
	rounds := 1500
	if testing.Short() || raceEnabled {
		rounds = 150
	}
	checkFDs(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	next, answered := 0, 0
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				mu.Lock()
				round := next
				next++
				mu.Unlock()
				if round >= rounds || t.Failed() {
					return
				}
				n := terminateAtRandom(t, []string{"serve", "slots", "listen"}[round%3], round)
				mu.Lock()
				answered += n
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	t.Logf("%d workers answered %d requests", rounds, answered)
	if answered < rounds {
		t.Errorf("only %d requests for %d workers: the signals hit nothing", answered, rounds)
	}
}

// terminateAtRandom sends SIGTERM to a worker with requests in flight, and
// again. Whatever was passed must be answered, and the worker must exit 0.
func terminateAtRandom(t *testing.T, mode string, round int) (answered int) {
	p := start(t, mode)
	defer p.master.close()
	select {
	case <-p.ready:
	case <-time.After(patience):
		t.Errorf("round %d (%s): not ready", round, mode)
	}
	go func() {
		for range 1 + round%2 {
			time.Sleep(time.Duration(rand.Int64N(int64(3 * time.Millisecond))))
			p.cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	replies := make(chan error)
	passed := 0
	for {
		client, accepted, err := streamPair("unix")
		if err != nil {
			t.Error(err)
			break
		}
		target := fmt.Sprintf("/%d", passed)
		client.Write(request(target, ""))
		if _, err = p.pass(accepted); err != nil {
			client.Close()
			if err == link.ErrLeaving {
				break
			}
			if err != link.ErrFull {
				t.Errorf("round %d (%s): %v", round, mode, err)
				break
			}
			continue
		}
		passed++
		go func() { replies <- wantAnswer(client, target) }()
		if passed%3 == 0 { // sometimes the link is empty, sometimes not
			time.Sleep(200 * time.Microsecond)
		}
	}
	for i := range passed {
		if err := <-replies; err != nil {
			t.Errorf("round %d (%s), request %d of %d: %v", round, mode, i, passed, err)
		}
	}
	if err := p.wait(); err != nil {
		t.Errorf("round %d (%s): %v\n%s", round, mode, err, p.stderr.String())
	}
	return passed
}

func wantAnswer(client net.Conn, target string) error {
	defer client.Close()
	client.SetDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(client)
	if err == nil && !strings.HasSuffix(string(got), "\r\n\r\nanswer to "+target+"\n") {
		err = fmt.Errorf("reply %q", got)
	}
	return err
}

func TestSIGINTIsTheMastersBusiness(t *testing.T) {
	checkFDs(t)
	p := start(t, "serve")
	<-p.ready
	p.cmd.Process.Signal(os.Interrupt)
	client, _ := p.dial("unix")
	client.Write(request("/x", ""))
	if err := wantAnswer(client, "/x"); err != nil {
		t.Error(err)
	}
	p.retire()
	if err := p.wait(); err != nil {
		t.Error(err)
	}
	p.master.close()
}

func TestSIGUSR2WritesStacksAndTheWorkerLives(t *testing.T) {
	checkFDs(t)
	p := start(t, "serve")
	if ready := <-p.ready; string(ready.DumpSignal) != "USR2" {
		t.Errorf("DUMPSIGNAL=%s", ready.DumpSignal)
	}
	first, _ := p.dial("unix") // before that there may be no slot
	first.Write(request("/first", ""))
	if err := wantAnswer(first, "/first"); err != nil {
		t.Error(err)
	}
	written := p.stderr.has("worker.(*server).slot")
	p.cmd.Process.Signal(syscall.SIGUSR2)
	select {
	case <-written:
	case <-time.After(patience):
		t.Errorf("stderr has %q", p.stderr.String())
	}
	client, _ := p.dial("unix")
	client.Write(request("/x", ""))
	if err := wantAnswer(client, "/x"); err != nil {
		t.Error(err)
	}
	p.retire()
	if err := p.wait(); err != nil {
		t.Error(err)
	}
	p.master.close()
}

func TestFailTellsTheReason(t *testing.T) {
	checkFDs(t)
	p := start(t, "fail")
	var exit *exec.ExitError
	if err := p.wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	p.master.close()
	if p.failed != "no such table" {
		t.Errorf("FAILED=%s", p.failed)
	}
}
