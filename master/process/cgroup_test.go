package process

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// taken takes the group that is ours, and is the father of all orphans.
func taken(t *testing.T) *Groups {
	t.Helper()
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	g, err := Delegated(silent)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// startIn starts a worker with a group of this name.
func startIn(t *testing.T, g *Groups, name string, argv ...string) *started {
	t.Helper()
	s, err := start(t, func(c *Command) { c.Groups, c.GroupName = g, name }, argv...)
	if err != nil {
		t.Fatal(err)
	}
	if s.GroupErr != nil {
		t.Fatal(s.GroupErr)
	}
	return s
}

// line reads one from the worker.
func (s *started) line(t *testing.T) string {
	t.Helper()
	line, err := bufio.NewReader(s.out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// daemonPID starts a program in a session of its own and tells its number.
const daemonPID = `setsid sh -c 'echo $$; exec sleep 1000' & `

// watch opens a process.
func watch(t *testing.T, pid string) (fd int) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err == nil {
		fd, err = unix.PidfdOpen(n, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// settled fails if groups of workers are left.
func settled(t *testing.T, g *Groups) {
	t.Helper()
	g.Settle(20 * time.Second)
	if got := groupsBelow(t, g.top); !slices.Equal(got, []string{"master"}) {
		t.Errorf("groups are left: %v", got)
	}
}

func TestWorkerIsInItsGroupBeforeItsFirstInstruction(t *testing.T) {
	if !inside(t, service) {
		return
	}
	g := taken(t)
	s := startIn(t, g, "worker-7", "/bin/sh", "-c", `grep ^0:: /proc/self/cgroup; ls -C /proc/$$/fd; :`)
	if got, want := s.text(t), "0::"+strings.TrimSuffix(where(t, "self"), "master")+"worker-7\n0  1  2  3\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.end(t)
	if !s.GroupEmpty() {
		t.Error("the group is not empty")
	}
	s.Group.Remove()
	settled(t, g)
}

func TestKillGroupReachesDaemonsOfTheWorkerAndNobodyElse(t *testing.T) {
	if !inside(t, service) {
		return
	}
	g := taken(t)
	before := descriptors(t)
	neighbour := startIn(t, g, "worker-1", "/bin/sh", "-c", `echo; exec sleep 1000`)
	neighbour.line(t)
	s := startIn(t, g, "worker-2", "/bin/sh", "-c", daemonPID+`wait`)
	daemon := watch(t, s.line(t))
	if s.Group.Empty() || s.GroupEmpty() {
		t.Error("the group of a living worker is empty")
	}
	if err := s.KillGroup(); err != nil {
		t.Fatal(err)
	}
	wait(t, daemon)
	if e := s.end(t); e.Signaled() != unix.SIGKILL || e.OutOfMemory {
		t.Errorf("%+v", e)
	}
	if neighbour.Ended() || !s.Ended() {
		t.Error("the wrong one has ended")
	}
	neighbour.KillGroup()
	neighbour.end(t)
	for _, w := range []*started{neighbour, s} {
		w.Group.Remove()
	}
	settled(t, g)
	unix.Close(daemon)
	// Each still has its pidfd, its output and its link.
	if now := descriptors(t); now != before+2*3 {
		t.Errorf("%d descriptors, %d before", now, before)
	}
}

// A worker may have made groups below its own.
func TestRemoveEndsWhoeverIsLeftAndRemovesAllBelow(t *testing.T) {
	if !inside(t, service) {
		return
	}
	g := taken(t)
	dir := filepath.Join(g.top, "worker-3")
	s := startIn(t, g, "worker-3", "/bin/sh", "-c",
		`mkdir -p `+dir+`/a/b `+dir+`/c && setsid sh -c 'echo 0 > `+dir+`/a/b/cgroup.procs; echo $$; exec sleep 1000' & wait`)
	daemon := watch(t, s.line(t))
	unix.Kill(s.PID, unix.SIGTERM)
	s.end(t)
	if s.GroupEmpty() {
		t.Error("the group is empty, but the daemon lives")
	}
	s.Group.Remove()
	wait(t, daemon)
	settled(t, g)
}

func TestGroupsOfADeadMasterAreNotShared(t *testing.T) {
	if !inside(t, service) {
		return
	}
	g := taken(t)
	old := startIn(t, g, "worker-1", "/bin/sh", "-c", `echo; exec sleep 1000`)
	old.line(t)
	for _, name := range []string{"worker-2/of-its-own", "worker-3", "worker-4", "other"} {
		if err := os.MkdirAll(filepath.Join(g.top, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g.RemoveStale(filepath.Join(g.top, "worker-4"))
	if got, want := groupsBelow(t, g.top), []string{"master", "other", "worker-1", "worker-4"}; !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	for name, want := range map[string]string{"worker-1": "worker-1-2", "worker-4": "worker-4"} {
		s := startIn(t, g, name, "/bin/true")
		if got := filepath.Base(s.Group.Path); got != want {
			t.Errorf("the new %s is in %s, want %s", name, got, want)
		}
		s.end(t)
		s.Group.Remove()
	}
	if old.Ended() {
		t.Error("the old worker has ended")
	}
}

func TestReopenedGroupIsTheSame(t *testing.T) {
	if !inside(t, service) {
		return
	}
	g := taken(t)
	s := startIn(t, g, "worker-1", "/bin/sh", "-c", daemonPID+`wait`)
	daemon := watch(t, s.line(t))
	again, err := new(Groups).Reopen(s.Group.Path)
	if err != nil {
		t.Fatal(err)
	}
	if again.Empty() {
		t.Error("it is empty")
	}
	again.Kill()
	wait(t, daemon)
	s.end(t)
	again.Remove()
	again.home.Settle(20 * time.Second)
	s.Group.close()
	settled(t, g)
	if _, err := g.Reopen(s.Group.Path); err == nil || !strings.HasPrefix(err.Error(), "cannot open the control group "+s.Group.Path) {
		t.Errorf("a group that is gone: %v", err)
	}
}

func TestWorkerThatCannotHaveItsGroupRunsWithout(t *testing.T) {
	s, err := start(t, func(c *Command) { c.Groups, c.GroupName = &Groups{top: "/proc/1"}, "worker-1" }, "/bin/echo", "runs")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.text(t); got != "runs\n" || s.GroupErr == nil || s.Group != nil {
		t.Errorf("got %q, %v, %v", got, s.GroupErr, s.Group)
	}
	if s.end(t); !s.GroupEmpty() {
		t.Error("no group is not empty")
	}
	s.KillGroup()
	s.Group.Remove()
}

func TestGroupThatCannotBeEnteredIsToldAndNoReasonToFail(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pid, pidfd, err := fork(Command{Argv: []string{"/bin/echo", "runs"}, Stdout: int(w.Fd()), Stderr: int(w.Fd()), Link: int(null.Fd()),
		NOFILE: Unset, Nice: Unset, OOMScoreAdjust: Unset}, int(null.Fd()))
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	var said bytes.Buffer
	said.ReadFrom(r)
	wait(t, pidfd)
	Reap(pid)
	if got, want := said.String(), "scgid: cannot enter the control group: bad file descriptor\nruns\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
