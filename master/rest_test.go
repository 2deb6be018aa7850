package master

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func TestNothingIsLeftAfterRun(t *testing.T) {
	checkFDs(t)
	begin(t, "plain", nil).stopped() // what the runtime makes once
	goroutines := runtime.NumGoroutine()
	for range 3 {
		r := begin(t, "plain", fixed(2))
		r.get("/")
		c := r.dial()
		c.Write([]byte("7"))
		r.until("parked", parkedIs(1))
		c.Close()
		r.Finish()
		if err := r.end(); err != nil {
			t.Error(err)
		}
		<-r.done
	}
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
	if left := children(t); len(left) != 0 {
		t.Errorf("children are left: %v", left)
	}
}

// A load is a client in another process.
type load struct {
	in, out *os.File
	t       *testing.T
}

// loaded starts one that sends n requests each time.
func (r *rig) loaded(n int) load {
	r.t.Helper()
	theirIn, in, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	// The loop reaps it, so nobody waits for it here.
	if _, err := os.StartProcess("/proc/self/exe", []string{"client"}, &os.ProcAttr{
		Env:   []string{modeEnv + "=client:" + r.addr + "#" + strconv.Itoa(n)},
		Files: []*os.File{theirIn, theirOut, os.Stderr},
	}); err != nil {
		r.t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	r.t.Cleanup(func() { in.Close(); out.Close() })
	return load{in, out, r.t}
}

// run has all requests sent and waits for the last answer.
func (l load) run() {
	var b [1]byte
	if _, err := l.in.Write(b[:]); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.out.Read(b[:]); err != nil {
		l.t.Fatal("the client has failed: ", err)
	}
}

func TestARequestAllocatesNothingInTheMaster(t *testing.T) { allocateNothing(t, "plain") }

func TestARequestThatFinishesInAPageAllocatesNothingInTheMaster(t *testing.T) {
	allocateNothing(t, "page!plain")
}

func allocateNothing(t *testing.T, mode string) {
	t.Helper()
	if !alone(t, nil) {
		return
	}
	const n = 2000
	r := begin(t, mode, oneWorker)
	load := r.loaded(n)
	load.run()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	load.run()
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / n; per >= 0.05 {
		t.Errorf("%.3f allocations per request", per)
	}
	r.until("all are counted", func(_ control.Status, c Counters) bool { return c.Served == 2*n })
}

// A wait that keeps its processor has to give it up for a collection, under load
// and in the time after a request in which the loop waits so for the next.
// (With GODEBUG=asyncpreemptoff=1 this fails.)
func TestCollectionsAreNotHeldUpByTheLoop(t *testing.T) {
	if !alone(t, nil) {
		return
	}
	r := begin(t, "plain", oneWorker)
	r.idle(1)
	busy := make(chan bool)
	load := r.loaded(1000)
	var worst time.Duration
	wake := func() { r.inLoop(func(*loop) {}) }
	for range 4 { // the machine may be busy with others
		worst = longestPause(50, wake)
		go func() { load.run(); busy <- false }()
		worst = max(worst, longestPause(50, func() {}))
		<-busy
		if worst < 5*time.Millisecond {
			return
		}
	}
	t.Errorf("a collection stopped the world for %v", worst)
}

// longestPause is that of n collections, each a moment after before, the time
// until everybody has stopped included.
func longestPause(n int, before func()) time.Duration {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	first := m.NumGC
	for range n {
		before()
		time.Sleep(100 * time.Microsecond) // the loop is back in its wait
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	longest := uint64(0)
	for i := first; i < m.NumGC; i++ {
		longest = max(longest, m.PauseNs[i%uint32(len(m.PauseNs))])
	}
	return time.Duration(longest)
}

func TestNothingRunsAtRest(t *testing.T) {
	rests(t, "plain", func(r *rig) { r.get("/") })
}

func TestNothingRunsAfterWhatFinishedInAPage(t *testing.T) {
	rests(t, "page!lost", func(r *rig) { r.get("/") })
}

func TestNothingRunsDuringALongRequestOfAWorkerWithAPage(t *testing.T) {
	rests(t, "page!plain", func(r *rig) { t.Cleanup(r.hold(1)[0].let) })
}

// rests has a master in a process of its own do something, and come to rest.
func rests(t *testing.T, mode string, do func(*rig)) {
	t.Helper()
	if os.Getenv(aloneEnv) == t.Name() {
		r := begin(t, mode, fixed(4))
		r.idle(4)
		do(r)
		os.Stdout.WriteString("resting\n")
		os.Stdin.Read(make([]byte, 1)) // until the other side has seen enough
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=100s")
	cmd.Env = append(os.Environ(), aloneEnv+"="+t.Name())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	least := 1 << 30
	for range 8 { // the first ones see the runtime come to rest
		before := switches(t, cmd.Process.Pid)
		time.Sleep(time.Second) // the window that is measured
		if least = min(least, switches(t, cmd.Process.Pid)-before); least == 0 {
			return
		}
	}
	t.Errorf("never less than %d context switches in a second", least)
}

// switches are the voluntary context switches of all threads of a process.
func switches(t *testing.T, pid int) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatal("the process is gone", err)
	}
	for _, name := range files {
		b, _ := os.ReadFile(name)
		_, rest, _ := bytes.Cut(b, []byte("\nvoluntary_ctxt_switches:\t"))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		k, _ := strconv.Atoi(string(line))
		n += k
	}
	return n
}
