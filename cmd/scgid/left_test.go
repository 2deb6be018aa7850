package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	bench "github.com/scgid/scgid/cmd/scgibench/load"
	"golang.org/x/sys/unix"
)

// A burden is what the processes of a pool hold at one moment.
type burden struct {
	pids        []int // the master first, then its children
	zombies     int
	descriptors []int // of each process
	memory      []int // resident, in KiB
}

func (s *server) burden() (b burden) {
	s.t.Helper()
	b.pids = append([]int{s.cmd.Process.Pid}, s.workers()...)
	slices.Sort(b.pids[1:])
	for _, pid := range b.pids {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		b.descriptors = append(b.descriptors, len(entries))
		b.memory = append(b.memory, s.statusOf(pid, "VmRSS:"))
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if strings.Contains(string(stat), ") Z ") {
			b.zombies++
		}
	}
	return b
}

// statusOf is a number of proc_pid_status(5), 0 without one.
func (s *server) statusOf(pid int, name string) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.SplitSeq(string(text), "\n") {
		if v, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.Atoi(strings.Fields(v)[0])
			return n
		}
	}
	return 0
}

// pelt sends n requests from 32 clients, none of which may fail.
func (s *server) pelt(n int64) {
	s.t.Helper()
	answer := "/again"
	l := bench.Load{Address: s.addr, Clients: 32, Requests: n, Timeout: time.Minute, URI: answer,
		Expect: bench.Expect{Status: 200, Body: &answer}}
	r, err := l.Run(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if r.OK != n || r.Failed != 0 {
		s.t.Fatalf("%d of %d were answered, %d failed: %v", r.OK, n, r.Failed, r.Examples)
	}
}

// After a million requests (with SCGID_SOAK=30) the same processes are there,
// with the same descriptors and no more memory; and each request was executed
// once, by the workers' own notes.
func TestManyRequestsLeaveNothingBehind(t *testing.T) {
	n := int64(10_000)
	if soak() > 1 {
		n = int64(35_000 * soak())
	}
	s := startServer(t, "--set", "Pool.MaxWorkers=8", "--set", "Pool.MinWorkers=8", "--set", "Pool.MinIdle=8", "--set", "Pool.MaxIdle=8",
		"--set", "Pool.MaxBusy=off") // else a few serve all, and the others are cold when the memory is measured
	s.until("all workers are ready", func() bool { return strings.Count(s.log.String(), "worker is ready") == 8 })
	const warm = 5000
	s.pelt(warm)
	s.until("the first connections are closed", func() bool { return s.open() == 0 })
	before := s.burden()
	s.pelt(n)
	s.until("all connections are closed", func() bool { return s.open() == 0 })
	var after burden
	s.until("the descriptors are closed", func() bool {
		after = s.burden()
		return slices.Equal(after.descriptors, before.descriptors)
	})
	if !slices.Equal(after.pids, before.pids) || len(after.pids) != 9 || after.zombies != 0 {
		t.Errorf("the processes were %v, and are %v, of which %d zombies", before.pids, after.pids, after.zombies)
	}
	for i := range before.memory {
		// What the race detector notes grows by more at first.
		if after.memory[i] > before.memory[i]+max(4096, before.memory[i]/4) {
			t.Errorf("process %d has grown from %d to %d KiB", before.pids[i], before.memory[i], after.memory[i])
		}
	}
	if got := s.notes(); got != warm+n {
		t.Errorf("%d requests were sent, %d executed", warm+n, got)
	}
	t.Logf("%d requests by %d processes; descriptors %v before, %v after; KiB %v before, %v after",
		n, len(after.pids), before.descriptors, after.descriptors, before.memory, after.memory)
	s.cmd.Process.Signal(unix.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	for _, pid := range after.pids[1:] {
		if err := unix.Kill(pid, 0); err != unix.ESRCH {
			t.Errorf("worker %d is left behind: %v", pid, err)
		}
	}
	if served, lost, refused := s.counted(); int64(served) != warm+n || lost+refused != 0 {
		t.Errorf("%d served, %d lost, %d refused", served, lost, refused)
	}
}

// open is how many accepted connections there are, whoever holds them: they have
// the name of the listening socket.
func (s *server) open() int {
	s.t.Helper()
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		s.t.Fatal(err)
	}
	all := strings.Count(string(text), " "+s.addr+"\n")
	if all == 0 {
		s.t.Fatalf("nobody listens on %s", s.addr)
	}
	return all - 1
}

// notes is how many executions the workers have noted.
func (s *server) notes() (n int64) {
	s.t.Helper()
	text, err := os.ReadFile(s.journal)
	if err != nil {
		s.t.Fatal(err)
	}
	return int64(strings.Count(string(text), "\n"))
}
