package webserver_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Workers that have nothing to do are killed while 200 requests come through
// nginx: none fails. They are stopped first, so that they are idle for certain
// and what they are given they have not read.
func TestKilledIdleWorkersCostNoRequest(t *testing.T) {
	s := newSite(t, nginxSite, "flask", nil, "Pool.MinWorkers=4", "Pool.MaxWorkers=4")
	s.pool.await("worker is ready", 4)
	idle := slices.DeleteFunc(s.pool.children(), func(pid int) bool { // what workers are forked from is none
		return strings.Contains(s.pool.log.String(), fmt.Sprintf("preloaded process is ready process=5 pid=%d ", pid))
	})
	if len(idle) != 4 {
		t.Fatalf("the workers are %v", idle)
	}
	idle = idle[:3]
	for _, pid := range idle {
		freeze(t, pid)
	}
	answered, killed := 0, 0
	failed := parallel(s, 200, "/pid", func(r *reply) {
		if answered++; answered%40 == 20 && killed < len(idle) {
			syscall.Kill(idle[killed], syscall.SIGKILL)
			killed++
		}
		if slices.Contains(idle, atoi(r.text)) {
			t.Errorf("a stopped worker has answered: %s", r.text)
		}
	})
	if len(failed) > 0 {
		t.Errorf("%d of 200 failed; the first: %v", len(failed), failed[0])
	}
	if answered != 200 || killed != len(idle) {
		t.Errorf("%d answered, %d workers killed", answered, killed)
	}
	s.pool.await("killed by SIGKILL", len(idle))
	s.pool.finish()
	blameless(t, s.pool)
}

func atoi(text string) (n int) {
	fmt.Sscan(text, &n)
	return n
}

// freeze stops a process and waits until all of it has stopped.
func freeze(t *testing.T, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if stopped(t, pid) {
			return
		}
	}
	t.Fatalf("process %d does not stop", pid)
}

// stopped tells whether all threads of a process are.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	must(t, err)
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, task.Name()))
		must(t, err)
		_, state, _ := strings.Cut(string(text), ") ")
		if !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// All requests that are in the application's hands when scgid is told to end are
// answered through nginx; it exits with 0 afterwards.
func TestStopAnswersWhatIsInFlight(t *testing.T) {
	const flight = 50
	s := newSite(t, nginxSite, "flask", []string{"--threads", "10"}, "Pool.MinWorkers=5", "Pool.MaxWorkers=5")
	k := s.talk()
	done := make(chan []error, 1)
	var answered atomic.Int64
	go func() {
		done <- parallel(s, flight, "/hold?token="+k.token, func(r *reply) {
			if r.text == "released\n" {
				answered.Add(1)
			}
		})
	}()
	for range flight {
		k.hear("held")
	}
	must(t, s.pool.cmd.Process.Signal(unix.SIGTERM))
	if !s.pool.await("stopping", 1) {
		t.Fatalf("scgid ended without its word:\n%s", s.pool.log)
	}
	if n := answered.Load(); n != 0 {
		t.Fatalf("%d were answered before they were released", n)
	}
	k.release(flight)
	failed := <-done
	if len(failed) > 0 || answered.Load() != flight {
		t.Errorf("%d of %d were answered; %v", answered.Load(), flight, failed)
	}
	<-s.pool.exited
	if code := s.pool.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("scgid ended with status %d", code)
	}
	blameless(t, s.pool)
}
