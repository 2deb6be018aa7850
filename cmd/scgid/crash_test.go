package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// kill ends a master without a goodbye. Its workers may hold its log open for a
// while longer.
func (s *server) kill() {
	s.t.Helper()
	s.cmd.Process.Kill()
	s.until("it is dead", func() bool { return unix.Kill(s.cmd.Process.Pid, 0) == unix.ESRCH })
}

var told = regexp.MustCompile(`previous master crashed; .*pid=(\d+) lost=(\d+) at_workers=(\d+) served=(\d+)`)

// tells returns what a master says that its predecessor's crash cost.
func (s *server) tells(before *server) (lost, active, served int) {
	s.t.Helper()
	s.until("it tells of the crash", func() bool { return told.MatchString(s.log.String()) })
	all := told.FindAllStringSubmatch(s.log.String(), -1)
	if len(all) != 1 || all[0][1] != strconv.Itoa(before.cmd.Process.Pid) {
		s.t.Errorf("it tells %q, the master before was %d", all, before.cmd.Process.Pid)
	}
	lost, _ = strconv.Atoi(all[0][2])
	active, _ = strconv.Atoi(all[0][3])
	served, _ = strconv.Atoi(all[0][4])
	return lost, active, served
}

// hold has a request at work until the function returned is called, which
// returns the answer.
func (s *server) hold(k *keeper) (let func() string) {
	s.t.Helper()
	fifo := filepath.Join(k.dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		s.t.Fatal(err)
	}
	answer := make(chan string, 1)
	go func() { text, _ := exchange(s.addr, "/fifo"+fifo); answer <- text }()
	s.until("a worker has it", func() bool { text, _ := os.ReadFile(s.journal); return strings.Contains(string(text), "/fifo") })
	return func() string {
		if err := os.WriteFile(fifo, nil, 0); err != nil {
			s.t.Error(err)
		}
		return <-answer
	}
}

func TestNextMasterTellsExactlyWhatACrashLost(t *testing.T) {
	const parked, waiting, more = 5, 3, 6
	k := newKeeper(t)
	flags := []string{"--set", "Pool.MaxWorkers=1", "--set", "Queue.Max=" + strconv.Itoa(waiting)}
	s, c := k.start(flags...)
	if _, err := exchange(s.addr, "/one"); err != nil {
		t.Fatal(err)
	}
	let := s.hold(k)
	var cut []net.Conn
	for range parked {
		conn, err := net.Dial("unix", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("70:CONTENT_LENGTH\x000\x00SC"))
		cut = append(cut, conn)
	}
	s.until("they are parked", func() bool { return s.status(c).Queue.Parked == parked })
	answers := make(chan string, waiting+more)
	for range waiting + more {
		go func() { text, _ := exchange(s.addr, "/later"); answers <- text }()
	}
	// One that is accepted before its header has come may find the queue full
	// when it is whole.
	queued := 0
	s.until("the queue is full, and the rest in the kernel", func() bool {
		q := s.status(c).Queue
		queued = q.Waiting
		return queued >= waiting && q.Parked == parked && queued+q.Listeners[0].Backlog == waiting+more
	})
	s.kill()
	if text := let(); !strings.Contains(text, "/fifo") {
		t.Errorf("the request at work was answered %q", text)
	}
	for _, conn := range cut {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a parked connection was not cut")
		}
	}
	next, _ := k.start(flags...)
	if lost, active, served := next.tells(s); lost != parked+queued || active != 1 || served != 1 {
		t.Errorf("%d lost, %d at workers, %d served", lost, active, served)
	}
	good := 0
	for range waiting + more {
		if strings.Contains(<-answers, "/later") {
			good++
		}
	}
	if want := waiting + more - queued; good != want {
		t.Errorf("%d were answered, want the %d of the backlog", good, want)
	}
	if _, stores := k.kept(); stores != 1 {
		t.Errorf("%d records were stored, want the one that is handed on", stores)
	}
}

func TestLimitsAndPauseSetAtRunTimeOutliveACrashAndNothingElse(t *testing.T) {
	k := newKeeper(t)
	s, c := k.start("--set", "Pool.MaxWorkers=4")
	call := func(verb string, args map[string]any) {
		t.Helper()
		if err := c.Call(t.Context(), verb, args, nil); err != nil {
			t.Fatal(err)
		}
	}
	want := func(s *server, scaled bool, limits control.Limits, state string) control.Status {
		t.Helper()
		got := s.status(c)
		if got.Scaled != scaled || got.Limits != limits || got.State != state {
			t.Errorf("scaled %v to %+v, %s", got.Scaled, got.Limits, got.State)
		}
		return got
	}
	configured := s.status(c).Limits
	scaled := configured
	scaled.MaxWorkers, scaled.MinWorkers = 9, 2
	call("scale", map[string]any{"max_workers": 9, "min_workers": 2})
	s.kill()
	s, _ = k.start("--set", "Pool.MaxWorkers=4")
	want(s, true, scaled, control.Running)
	call("pause", map[string]any{"limit": 3600})
	s.kill()
	s, _ = k.start("--set", "Pool.MaxWorkers=5") // edited meanwhile: 9 still goes over it
	if in := want(s, true, scaled, control.Paused).ResumesIn; in > 3600 || in < 3500 {
		t.Errorf("it resumes in %v s", in)
	}
	s.until("both are logged", func() bool {
		log := s.log.String()
		return strings.Contains(log, "limits set at run time are kept min=2 max=9") && strings.Contains(log, "intake is still paused")
	})
	call("resume", nil)
	s.kill()
	s, _ = k.start("--set", "Pool.MaxWorkers=4")
	want(s, true, scaled, control.Running)
	s.cmd.Process.Signal(unix.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	s, _ = k.start("--set", "Pool.MaxWorkers=4")
	want(s, false, configured, control.Running)
	if told.MatchString(s.log.String()) {
		t.Error("an orderly stop is told as a crash")
	}
	before := s // it was not scaled
	s.kill()
	s, _ = k.start("--set", "Pool.MaxWorkers=4")
	want(s, false, configured, control.Running)
	if lost, active, _ := s.tells(before); lost+active != 0 {
		t.Errorf("%d lost, %d at workers", lost, active)
	}
}

func TestCrashesUnderLoadAreToldToTheConnection(t *testing.T) {
	kills := 10 * soak()
	k := newKeeper(t)
	flags := []string{"--set", "Pool.MaxWorkers=4", "--set", "Pool.MinWorkers=4", "--set", "Queue.Max=8"}
	s, _ := k.start(flags...)
	l := startTraffic(s.addr, 32)
	cut := func() int { // by the crashes so far
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.failed)
	}
	sum := 0
	for range kills {
		n := l.n.Load()
		s.until("there is load", func() bool { return l.n.Load() > n+200 })
		before, failed := s, cut()
		s.kill()
		s, _ = k.start(flags...)
		lost, _, _ := s.tells(before)
		// What was cut is known to its client by now, or is not: that one waits
		// for us. At most one connection is on its way at any moment.
		s.until("all clients know", func() bool { return cut()-failed >= lost-1 })
		sum += lost
	}
	executed := l.end(t, s.journal)
	for key, why := range l.failed {
		if executed[key] > 0 {
			t.Errorf("%s failed although a worker had it: %s", key, why)
		}
	}
	for key, n := range executed {
		if n > 1 {
			t.Errorf("%s was executed %d times", key, n)
		}
	}
	t.Logf("%d kills: %d requests answered, %d cut that no worker had, %d told as lost", kills, len(l.good), len(l.failed), sum)
	if sum < len(l.failed) || sum > len(l.failed)+kills {
		t.Errorf("%d were told as lost, and %d were cut", sum, len(l.failed))
	}
	if _, stores := k.kept(); stores != 1 {
		t.Errorf("%d records were stored", stores)
	}
}

func TestStoredDescriptorsThatAreNoRecordAreReplaced(t *testing.T) {
	k := newKeeper(t)
	s, c := k.start()
	if err := c.Call(t.Context(), "scale", map[string]any{"max_workers": 7}, nil); err != nil {
		t.Fatal(err)
	}
	s.kill()
	unsealed, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	unix.Ftruncate(unsealed, 4096)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	k.mu.Lock()
	k.stored = append([]*os.File{os.NewFile(uintptr(unsealed), "x"), r}, k.stored...)
	k.mu.Unlock()
	s, _ = k.start()
	if got := s.status(c); got.Limits.MaxWorkers != 7 || !got.Scaled {
		t.Errorf("limits %+v", got.Limits)
	}
	if n := strings.Count(s.log.String(), "cannot use the record of the previous master"); n != 2 {
		t.Errorf("%d warnings", n)
	}
	if now, stores := k.kept(); now != 1 || stores != 2 {
		t.Errorf("%d entries of %d, want the good one alone", now, stores)
	}
	s.kill()
	s, _ = k.start()
	if got := s.status(c).Limits.MaxWorkers; got != 7 || strings.Contains(s.log.String(), "cannot use") {
		t.Errorf("max %d", got)
	}
}
