package process

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// orphan makes a process whose parent has ended: it is ours, has not executed
// anything since the fork, and ends with its standard input.
func orphan(t *testing.T) (pid int, maker *started) {
	t.Helper()
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	s, err := start(t, nil, "/bin/sh", "-c", `mkfifo "$0"; ( read x < "$0" ) & echo $!`, t.TempDir()+"/fifo")
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(s.out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	if e := s.ended(t); !e.Clean() {
		t.Fatal(e)
	}
	return pid, s
}

// ended waits for the process and reaps it, and leaves its group alone.
func (s *started) ended(t *testing.T) Exit {
	t.Helper()
	wait(t, s.FD)
	e, ok := s.Reap()
	if !ok {
		t.Fatal("it cannot be reaped")
	}
	return e
}

func TestAForkedProcessIsAdoptedAsIfItHadBeenStarted(t *testing.T) {
	pid, _ := orphan(t)
	f := Prepare(Command{Stdout: 1, Stderr: 2})
	f.Close()
	p, err := f.Adopt(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p.FD)
	if group, err := unix.Getpgid(pid); group != pid || err != nil {
		t.Errorf("its process group is %d, %v", group, err)
	}
	if p.PID != pid || p.Ended() || p.GroupEmpty() {
		t.Errorf("%+v", p)
	}
	if err := p.KillGroup(); err != nil {
		t.Fatal(err)
	}
	wait(t, p.FD)
	if e, ok := p.Reap(); !ok || e.Signaled() != unix.SIGKILL || !p.GroupEmpty() {
		t.Errorf("%v, %v", e, ok)
	}
}

func TestAProcessOfOthersIsNotAdopted(t *testing.T) {
	before := fds(t)
	for _, pid := range []int{1, os.Getpid(), 1 << 30} {
		f := Prepare(Command{Stdout: 1, Stderr: 2})
		if p, err := f.Adopt(pid); err == nil {
			t.Errorf("%d is adopted: %+v", pid, p)
		} else if pid == 1 && !errors.Is(err, errNotOurs) {
			t.Error(err)
		}
		f.Close()
	}
	if after := fds(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestAForkedProcessIsInItsControlGroup(t *testing.T) {
	if !inside(t, service) {
		return
	}
	g := taken(t)
	pid, _ := orphan(t)
	f := Prepare(Command{Stdout: 1, Stderr: 2, Groups: g, GroupName: "worker-9"})
	f.Close()
	p, err := f.Adopt(pid)
	if err != nil || p.GroupErr != nil || p.Group == nil {
		t.Fatal(err, p.GroupErr)
	}
	if got := where(t, strconv.Itoa(pid)); !strings.HasSuffix(got, "/worker-9") {
		t.Errorf("it is in %s", got)
	}
	p.KillGroup()
	wait(t, p.FD)
	p.Reap()
	unix.Close(p.FD)
	if !p.GroupEmpty() {
		t.Error("the group is not empty")
	}
	p.Group.Remove()
	unused := Prepare(Command{Stdout: 1, Stderr: 2, Groups: g, GroupName: "worker-10"})
	unused.Close()
	unused.Abandon()
	settled(t, g)
}
