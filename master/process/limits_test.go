package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatMemoryEventsSay(t *testing.T) {
	for _, c := range []struct {
		text   string
		killed bool
		limit  uint64
		says   string
	}{
		{"low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 1\n", true, 32 << 20, "killed by the kernel: out of memory (MemoryMax=32M)"},
		{"low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 1\n", true, 0, "killed by the kernel: out of memory"},
		{"low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\n", false, 0, "killed by SIGKILL"},
		{"", false, 0, "killed by SIGKILL"},
		{"oom_kill\noom_kill x\n", false, 0, "killed by SIGKILL"},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "memory.events"))
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString(c.text)
		w := &Group{memory: int(f.Fd()), memoryMax: 32 << 20}
		e := Exit{Status: 9}
		e.OutOfMemory, e.MemoryMax = w.OutOfMemory()
		if e.OutOfMemory != c.killed || e.MemoryMax != c.limit || e.String() != c.says {
			t.Errorf("%q: got %+v, %s", c.text, e, e)
		}
		f.Close()
	}
}

func TestWorkerOverItsMemoryIsKilledAloneAndThisIsTold(t *testing.T) {
	if !inside(t, service) {
		return
	}
	g := taken(t)
	if !g.Memory {
		t.Skip("needs the memory controller in cgroup v2")
	}
	neighbour := startIn(t, g, "worker-1", "/bin/sh", "-c", `echo; exec sleep 1000`)
	neighbour.line(t)
	s, err := start(t, func(c *Command) { c.Groups, c.GroupName, c.MemoryMax = g, "worker-2", 32<<20 },
		"/bin/sh", "-c", daemonPID+`exec tail -n 1 /dev/zero`)
	if err != nil {
		t.Fatal(err)
	}
	daemon := watch(t, s.line(t))
	wait(t, daemon)
	if e := s.end(t); e.String() != "killed by the kernel: out of memory (MemoryMax=32M)" {
		t.Error(e)
	}
	if neighbour.Ended() {
		t.Error("the neighbour has ended too")
	}
	again, err := g.Reopen(s.Group.Path)
	if err != nil {
		t.Fatal(err)
	}
	if killed, limit := again.OutOfMemory(); !killed || limit != 32<<20 {
		t.Errorf("reopened: %v, %d", killed, limit)
	}
	again.Remove()
}

func TestWorkerHasNoMoreTasksThanAllowed(t *testing.T) {
	if !inside(t, service) {
		return
	}
	g := taken(t)
	if !g.Tasks {
		t.Skip("needs the pids controller in cgroup v2")
	}
	s, err := start(t, func(c *Command) { c.Groups, c.GroupName, c.TasksMax = g, "worker-1", 16 },
		"/bin/sh", "-c", `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1000 >/dev/null 2>&1 & done; echo all`)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.text(t); strings.Contains(got, "all") || !strings.Contains(got, "ork") {
		t.Errorf("got %q", got)
	}
	s.KillGroup()
	s.end(t)
	s.Group.Remove()
}
