package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/cost"
	"github.com/scgid/scgid/cmd/scgibench/floor"
	"github.com/scgid/scgid/cmd/scgibench/load"
)

// A target is a running server to be measured.
type target struct {
	addr string
	pid  int
}

// runTarget starts a server and waits for the line that says it is up, as
// many times as its workers say it.
func runTarget(b *testing.B, addr, ready string, times int, argv ...string) target {
	b.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	up := make(chan bool)
	go func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if strings.Contains(sc.Text(), ready) {
				if times--; times == 0 {
					close(up)
				}
			}
		}
	}()
	select {
	case <-up:
	case <-time.After(30 * time.Second):
		b.Fatalf("%s did not come up", argv[0])
	}
	return target{addr, cmd.Process.Pid}
}

// measure sends n requests and returns what they cost.
func (t target) measure(b *testing.B, clients, n int, pause time.Duration) cost.PerRequest {
	b.Helper()
	before, err := cost.Take(t.pid)
	if err != nil {
		b.Fatal(err)
	}
	l := load.Load{Address: t.addr, Clients: clients, Requests: int64(n), Pause: pause, Timeout: 30 * time.Second}
	r, err := l.Run(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if r.Failed > 0 || r.OK != int64(n) {
		b.Fatalf("%d good, %d failed: %v", r.OK, r.Failed, r.Examples)
	}
	after, err := cost.Take(t.pid)
	if err != nil {
		b.Fatal(err)
	}
	return after.Since(before).Per(r.OK, t.pid)
}

// pairs are the two servers with the same number of workers, all running.
func pairs(b *testing.B, workers int) (ours, theirs target) {
	b.Helper()
	dir := b.TempDir()
	programs, err := floor.Build(dir)
	if err != nil {
		b.Skip(err)
	}
	scgid := filepath.Join(dir, "scgid")
	if out, err := exec.Command("go", "build", "-o", scgid, "../scgid").CombinedOutput(); err != nil {
		b.Fatalf("%s", out)
	}
	n := fmt.Sprint(workers)
	ours = runTarget(b, filepath.Join(dir, "ours"), "worker is ready", workers, scgid, "run", "--listen", filepath.Join(dir, "ours"),
		"--set", "Pool.MinWorkers="+n, "--set", "Pool.MaxWorkers="+n, "--", programs.Worker)
	theirs = runTarget(b, filepath.Join(dir, "theirs"), "ready", 1, programs.Dispatcher, filepath.Join(dir, "theirs"), n)
	return ours, theirs
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// BenchmarkBesideTheCDispatcher holds the master, with a C worker, against a
// small C dispatcher: CPU and context switches a request, alternately in one
// run, medians of rounds. The ratios are what counts.
func BenchmarkBesideTheCDispatcher(b *testing.B) {
	loads := []struct {
		name    string
		clients int
		n       int
		pause   time.Duration
	}{
		{"1-client", 1, 8000, 0},
		{"1-client-2ms-pause", 1, 300, 2 * time.Millisecond},
		{"32-clients", 32, 20000, 0},
	}
	for _, workers := range []int{1, 8, 64} {
		ours, theirs := pairs(b, workers)
		for _, l := range loads {
			b.Run(fmt.Sprintf("%d-workers/%s", workers, l.name), func(b *testing.B) {
				var master, tree, switches, wakes []float64
				var last [2]cost.PerRequest
				for range 15 { // single rounds differ by half, by where the threads happen to run
					a := ours.measure(b, l.clients, l.n, l.pause)
					c := theirs.measure(b, l.clients, l.n, l.pause)
					master = append(master, a.Master.CPU/c.Master.CPU)
					tree = append(tree, a.Tree.CPU/c.Tree.CPU)
					switches = append(switches, a.Tree.Switches)
					wakes = append(wakes, a.Master.Switches)
					last = [2]cost.PerRequest{a, c}
				}
				b.ReportMetric(median(master), "master-cpu/C")
				b.ReportMetric(median(tree), "tree-cpu/C")
				b.ReportMetric(last[0].Master.CPU, "master-µs/req")
				b.ReportMetric(median(switches), "switches/req")
				b.ReportMetric(median(wakes), "master-switches/req")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkSystemCalls counts the system calls of a request, master and worker
// together, under strace.
func BenchmarkSystemCalls(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root to trace the master")
	}
	for _, workers := range []int{1, 8, 64} {
		ours, _ := pairs(b, workers)
		b.Run(fmt.Sprintf("%d-workers", workers), func(b *testing.B) {
			const n = 2000
			calls, err := cost.CountSyscalls(ours.pid, func() { ours.measure(b, 1, n, 0) })
			if err != nil {
				b.Skip(err)
			}
			sum, runtime := 0, 0
			for name, count := range calls {
				sum += count
				if name == "futex" || name == "nanosleep" || name == "tgkill" || name == "getpid" || name == "rt_sigreturn" {
					runtime += count
				}
			}
			b.ReportMetric(float64(sum)/n, "calls/req")
			b.ReportMetric(float64(runtime)/n, "of-these-runtime/req")
			b.ReportMetric(0, "ns/op")
			b.Logf("%v", calls)
		})
	}
}
