package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// soak is by how much the faults are multiplied: 1 in CI, and SCGID_SOAK=30
// for the figures in the documentation.
func soak() int {
	n, _ := strconv.Atoi(os.Getenv("SCGID_SOAK"))
	return max(n, 1)
}

// exchangeWithin is how long one request may take. Where hundreds of processes
// compete, a worker that replaces another takes half a minute to start.
const exchangeWithin = 5 * time.Minute

// soaking are the flags of a pool whose workers are killed: a fixed number, and a
// queue whose deadline is not what is tested.
var soaking = []string{"--set", "Pool.MaxWorkers=8", "--set", "Pool.MinWorkers=8", "--set", "Pool.MinIdle=8", "--set", "Pool.MaxIdle=8",
	"--set", "Queue.TimeoutSec=" + exchangeWithin.String()}

// A traffic is what clients send until stop, and what became of each request.
type traffic struct {
	addr string
	stop atomic.Bool
	n    atomic.Int64
	done sync.WaitGroup

	mu     sync.Mutex
	good   map[string]bool
	failed map[string]string // why
}

func startTraffic(addr string, clients int) *traffic {
	l := &traffic{addr: addr, good: map[string]bool{}, failed: map[string]string{}}
	for range clients {
		l.done.Add(1)
		go func() {
			defer l.done.Done()
			for !l.stop.Load() {
				l.one()
			}
		}()
	}
	return l
}

// one sends one request with a key of its own.
func (l *traffic) one() {
	key := "/" + strconv.FormatInt(l.n.Add(1), 10)
	why := ""
	if text, err := exchange(l.addr, key); err != nil {
		why = err.Error()
	} else if want := "Status: 200 OK\r\n\r\n" + key; text != want {
		why = fmt.Sprintf("answer %q", text)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if why == "" {
		l.good[key] = true
	} else {
		l.failed[key] = why
	}
}

func exchange(addr, key string) (string, error) {
	c, err := net.Dial("unix", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return exchangeOn(c, key)
}

// exchangeOn makes one request on c and returns all that comes.
func exchangeOn(c net.Conn, key string) (string, error) {
	c.SetDeadline(time.Now().Add(exchangeWithin))
	b, err := scgi.AppendHeader(nil, []scgi.Var{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_URI", Value: key}})
	if err != nil {
		return "", err
	}
	if _, err := c.Write(b); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c)
	return string(text), err
}

// end stops the clients and returns how often each key was executed.
func (l *traffic) end(t *testing.T, journal string) map[string]int {
	t.Helper()
	l.stop.Store(true)
	l.done.Wait()
	f, err := os.Open(journal)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	executed := map[string]int{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		executed[sc.Text()]++
	}
	return executed
}

// judge holds what the clients saw against what was executed: none is executed
// twice, and the only failure is that of a worker that dies: the end of the
// connection, or if the worker has a page and had not begun to reply, a 500 of the
// master's. (A worker may die
// between reading a request and noting it: that a failed request had been read
// is shown by the master's count, which goes by the bytes in the socket.)
func (l *traffic) judge(t *testing.T, executed map[string]int) {
	t.Helper()
	for key, n := range executed {
		if n != 1 {
			t.Errorf("%s was executed %d times", key, n)
		}
	}
	for key, why := range l.failed {
		if why != `answer ""` && !strings.HasPrefix(why, `answer "Status: 500 Internal Server Error`) {
			t.Errorf("%s failed otherwise than by the end of its worker: %s", key, why)
		}
	}
	for key := range l.good {
		if executed[key] != 1 {
			t.Errorf("%s was answered without being executed", key)
		}
	}
}

func TestKillsUnderLoadLoseOnlyWhatAWorkerHadRead(t *testing.T) {
	kills := 100 * soak()
	s := startServer(t, soaking...)
	l := startTraffic(s.addr, 32)
	killed := s.signalWorkers(kills, unix.SIGKILL)
	executed := l.end(t, s.journal)
	l.judge(t, executed)
	s.cmd.Process.Signal(unix.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	served, lost, refused := s.counted()
	t.Logf("%d SIGKILLs: %d requests answered, %d had been read and were lost; scgid counted %d served, %d lost",
		killed, len(l.good), len(l.failed), served, lost)
	// Every failure is one that scgid counted as read by a worker. It may
	// count a few more: a worker killed between the last byte of its reply
	// and the end of it leaves a client that lacks nothing.
	if served+lost != len(l.good)+len(l.failed) || lost < len(l.failed) || refused != 0 {
		t.Errorf("scgid counted %d served, %d lost, %d refused; clients saw %d good, %d failed", served, lost, refused, len(l.good), len(l.failed))
	}
}

func TestTermsUnderLoadLoseNothing(t *testing.T) {
	terms := 50 * soak()
	s := startServer(t, soaking...)
	l := startTraffic(s.addr, 32)
	sent := s.signalWorkers(terms, unix.SIGTERM)
	executed := l.end(t, s.journal)
	l.judge(t, executed)
	for key, why := range l.failed {
		t.Errorf("%s failed: %s", key, why)
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	stuck := strings.Count(s.log.String(), "does not leave")
	t.Logf("%d SIGTERMs: %d requests answered, %d failed, %d workers stuck", sent, len(l.good), len(l.failed), stuck)
	if stuck > 0 {
		t.Errorf("%d workers did not leave", stuck)
	}
}

// signalWorkers sends sig to n workers, one after another, each when a handful
// is ready, and returns how many it hit. Seven of eight are ready, and so mostly
// at work; the others may still be starting.
func (s *server) signalWorkers(n int, sig unix.Signal) int {
	sent := 0
	for sent < n {
		all := s.workers()
		targets := s.ready(all)
		if len(targets) < 4 {
			time.Sleep(time.Millisecond)
			continue
		}
		if rand.Intn(8) == 0 {
			targets = all
		}
		if unix.Kill(targets[rand.Intn(len(targets))], sig) == nil {
			sent++
		}
		time.Sleep(time.Duration(rand.Intn(8000)) * time.Microsecond)
	}
	return sent
}

var readyPID = regexp.MustCompile(`worker is ready .*pid=(\d+)`)

// ready are those of the workers that the log says are.
func (s *server) ready(workers []int) (all []int) {
	text := s.log.String()
	more := text[s.read:]
	more = more[:strings.LastIndexByte(more, '\n')+1]
	s.read += len(more)
	for _, m := range readyPID.FindAllStringSubmatch(more, -1) {
		pid, _ := strconv.Atoi(m[1])
		s.saidReady = append(s.saidReady, pid)
	}
	s.saidReady = slices.DeleteFunc(s.saidReady, func(pid int) bool { return !slices.Contains(workers, pid) })
	return slices.Clone(s.saidReady)
}

func TestTermOfTheMasterUnderLoadAnswersWhatWasAccepted(t *testing.T) {
	for range 3 * soak() {
		s := startServer(t, "--set", "Pool.MaxWorkers=4")
		l := startTraffic(s.addr, 32)
		s.until("there is load", func() bool { return l.n.Load() > 500 })
		s.cmd.Process.Signal(unix.SIGTERM)
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		executed := l.end(t, s.journal)
		l.judgeAccepted(t, executed)
		served, lost, refused := s.counted()
		if lost != 0 || refused != 0 || served != len(l.good) {
			t.Errorf("%d served, %d lost, %d refused; clients saw %d good", served, lost, refused, len(l.good))
		}
	}
}

// judgeAccepted is judge where the listener is closed in the end: what was still in
// its backlog, and what came later, was never accepted.
func (l *traffic) judgeAccepted(t *testing.T, executed map[string]int) {
	t.Helper()
	for key, why := range l.failed {
		if executed[key] > 0 {
			t.Errorf("%s failed (%s) although it was executed", key, why)
		}
	}
	for key := range l.good {
		if executed[key] != 1 {
			t.Errorf("%s was executed %d times", key, executed[key])
		}
	}
}

// Masters take turns on one socket, as a service that is restarted: what one
// has not accepted is the next one's, so that no client notices anything.
func TestMastersInTurnUnderLoadFailNoRequest(t *testing.T) {
	dir := t.TempDir()
	f, path := listening(t, "unix", filepath.Join(dir, "s"))
	journal := filepath.Join(dir, "journal")
	next := func() *server {
		return startInherited(t, []*os.File{f}, "scgi", journal, "--set", "Pool.MaxWorkers=4")
	}
	s := next()
	l := startTraffic(path, 32)
	all, turns := 0, 3*soak()
	for range turns {
		// Not before it has work: half of the requests of a turn, at least.
		before := l.n.Load()
		s.until("there is load", func() bool { return l.n.Load() > before+200 })
		s.cmd.Process.Signal(unix.SIGTERM)
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		served, lost, refused := s.counted()
		if all += served; lost+refused != 0 {
			t.Errorf("%d served, %d lost, %d refused", served, lost, refused)
		}
		s = next()
	}
	executed := l.end(t, journal)
	s.cmd.Process.Signal(unix.SIGTERM)
	s.wait()
	served, _, _ := s.counted()
	l.judge(t, executed)
	if len(l.failed) > 0 || all+served != len(l.good) {
		t.Errorf("%d failed; clients saw %d answers, the masters %d", len(l.failed), len(l.good), all+served)
	}
	t.Logf("%d SIGTERMs to masters: %d requests answered, %d failed", turns, len(l.good), len(l.failed))
}
