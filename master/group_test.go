package master

import (
	"testing"

	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

func TestWorkerOutOfMemoryIsAFailedStartAndSaysSo(t *testing.T) {
	killed := process.Exit{Status: 9}
	hungry := process.Exit{Status: killed.Status, OutOfMemory: true, MemoryMax: 32 << 20}
	if killed.Signaled() != unix.SIGKILL {
		t.Fatal(killed)
	}
	for _, c := range []struct {
		exit     process.Exit
		state    workerState
		served   uint64
		reason   string
		failures int
	}{
		{killed, ready, 0, "SIGKILL", 1},
		{hungry, ready, 0, "oom", 1},
		{hungry, ready, 1, "oom", 0},
		{hungry, retiring, 0, "oom", 0}, // it was told to go
		{hungry, starting, 0, "start failed", 1},
	} {
		r := begin(t, "plain", fixed(1))
		r.idle(1)
		r.inLoop(func(l *loop) {
			w := l.workers.add(l.gens.current, l.now)
			l.enter(w, starting)
			if c.state != starting {
				w.Ordered = c.state == retiring
				l.enter(w, c.state)
			}
			w.Served = c.served
			l.classifyExit(w, c.exit)
			if l.count.Exits[c.reason] != 1 || len(l.count.Exits) != 1 || l.backoff.Failures != c.failures {
				t.Errorf("%s while %s after %d: exits %v, %d failures", c.exit, c.state, c.served, l.count.Exits, l.backoff.Failures)
			}
			if want := "killed by the kernel: out of memory (MemoryMax=32M)"; c.exit.OutOfMemory && exitReason(w, c.exit) != want {
				t.Errorf("the reason is %q", exitReason(w, c.exit))
			}
			l.forget(w)
		})
		r.stopped()
	}
}
