package process

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Trampoline()
	os.Exit(m.Run())
}

// started runs argv with a pipe as its standard output.
type started struct {
	Process
	out  *os.File
	link int // the test's end
}

func start(t *testing.T, edit func(*Command), argv ...string) (*started, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	c := Command{Argv: argv, Env: []string{"A=1"}, Stdout: int(w.Fd()), Stderr: int(w.Fd()), Link: pair[1],
		NOFILE: Unset, Nice: Unset, OOMScoreAdjust: Unset}
	if edit != nil {
		edit(&c)
	}
	p, err := Start(c)
	if err != nil {
		r.Close()
		unix.Close(pair[0])
		return nil, err
	}
	t.Cleanup(func() { r.Close(); unix.Close(pair[0]); unix.Close(p.FD) })
	return &started{p, r, pair[0]}, nil
}

// end waits for the exit.
func (s *started) end(t *testing.T) Exit {
	t.Helper()
	wait(t, s.FD)
	e, ok := s.Reap()
	if !ok {
		t.Fatal("the pidfd is readable but there is nothing to reap")
	}
	return e
}

func wait(t *testing.T, pidfd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 20_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("the process did not end: %v", err)
		}
		return
	}
}

func (s *started) text(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	sc := bufio.NewScanner(s.out)
	for sc.Scan() {
		fmt.Fprintln(&b, sc.Text())
	}
	return b.String()
}

func TestStartGivesOnlyTheListedDescriptorsAndEnvironment(t *testing.T) {
	s, err := start(t, nil, "/bin/sh", "-c", `echo $A$HOME; ls -C /proc/$$/fd; read pid x x x pgrp x < /proc/$$/stat; echo $((pid-pgrp))`)
	if err != nil {
		t.Fatal(err)
	}
	got := s.text(t)
	if want := "1\n0  1  2  3\n0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if e := s.end(t); !e.Clean() {
		t.Error(e)
	}
}

func TestLimitsAreSetBeforeTheWorkersFirstInstruction(t *testing.T) {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	s, err := start(t, func(c *Command) { c.NOFILE, c.Nice, c.OOMScoreAdjust = 123, 5, 777 },
		"/bin/sh", "-c", `ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; set -- $(cat /proc/self/stat); echo ${19}`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.text(t), "123\n123\n777\n5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.end(t)
}

func TestAProgramThatCannotBeExecutedIsToldOnTheLink(t *testing.T) {
	s, err := start(t, nil, "/no/such/program")
	if err != nil {
		t.Fatal(err)
	}
	if e := s.end(t); e.String() != "exited with status 127" {
		t.Error(e)
	}
	var buf [2048]byte
	n, _, err := unix.Recvfrom(s.link, buf[:], unix.MSG_DONTWAIT)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(buf[:n]), "FAILED=cannot execute /no/such/program: no such file or directory"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAWrongWorkingDirectoryIsAnErrorOfStart(t *testing.T) {
	_, err := start(t, func(c *Command) { c.Dir = "/no/such/directory" }, "/bin/true")
	if err == nil || err.Error() != "cannot enter the working directory /no/such/directory: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestKillGroupReachesGrandchildren(t *testing.T) {
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	s, err := start(t, nil, "/bin/sh", "-c", `sleep 1000 & echo $!; exec sleep 1000`)
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(s.out).ReadString('\n')
	grandchild, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(grandchild, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if s.GroupEmpty() {
		t.Error("GroupEmpty of a living group")
	}
	if err := s.KillGroup(); err != nil {
		t.Fatal(err)
	}
	if e := s.end(t); e.Signaled() != unix.SIGKILL || e.String() != "killed by SIGKILL" {
		t.Error(e)
	}
	wait(t, fd)
	// The orphan is ours now, and a stranger to whoever lists workers.
	if got := NextZombie(); got != grandchild {
		t.Fatalf("NextZombie = %d, want the adopted %d", got, grandchild)
	}
	if s.GroupEmpty() {
		t.Error("a zombie still counts")
	}
	if _, ok := Reap(grandchild); !ok {
		t.Fatal("cannot reap the adopted grandchild")
	}
	if !s.GroupEmpty() || NextZombie() != 0 {
		t.Error("the group is not empty after its last member was reaped")
	}
}
