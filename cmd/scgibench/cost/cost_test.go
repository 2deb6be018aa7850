package cost

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/floor"
	"github.com/scgid/scgid/cmd/scgibench/load"
)

// shell starts a shell that waits for commands on its standard input and
// answers each with a line on its standard output.
type shell struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startShell(t *testing.T) *shell {
	t.Helper()
	return startShellWith(t, nil)
}

func startShellWith(t *testing.T, attr *syscall.SysProcAttr) *shell {
	t.Helper()
	cmd := exec.Command("/bin/sh")
	cmd.SysProcAttr = attr
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
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &shell{cmd, in, bufio.NewReader(out)}
}

// do has the shell run a command to its end.
func (s *shell) do(t *testing.T, command string) {
	t.Helper()
	fmt.Fprintf(s.in, "%s\necho done\n", command)
	if line, err := s.out.ReadString('\n'); line != "done\n" {
		t.Fatalf("shell said %q, %v", line, err)
	}
}

func take(t *testing.T, pid int) *Snapshot {
	t.Helper()
	s, err := Take(pid)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"

func TestOwnWorkIsTheMasters(t *testing.T) {
	s := startShell(t)
	s.do(t, ":")
	before := take(t, s.cmd.Process.Pid)
	s.do(t, spin)
	c := take(t, s.cmd.Process.Pid).Since(before)
	if c.Master.CPU < time.Millisecond || c.Tree != c.Master || c.Processes != 1 {
		t.Errorf("%+v", c)
	}
	if c.Master.Switches < 1 { // it waited for its input
		t.Errorf("%d context switches", c.Master.Switches)
	}
}

func TestDeadChildrenCount(t *testing.T) {
	s := startShell(t)
	s.do(t, ":")
	before := take(t, s.cmd.Process.Pid)
	s.do(t, "("+spin+"; "+spin+")")
	c := take(t, s.cmd.Process.Pid).Since(before)
	if c.Processes != 1 || c.Tree.CPU-c.Master.CPU < 10*time.Millisecond {
		t.Errorf("%+v", c)
	}
}

func TestLivingChildrenCount(t *testing.T) {
	s := startShell(t)
	before := take(t, s.cmd.Process.Pid)
	fifo := filepath.Join(t.TempDir(), "f")
	s.do(t, "mkfifo "+fifo)
	// The child works, says so through the fifo, and stays.
	s.do(t, "("+spin+"; echo >"+fifo+"; exec sleep 1000) & read x <"+fifo)
	c := take(t, s.cmd.Process.Pid).Since(before)
	s.do(t, "kill $!")
	if c.Processes != 2 || c.Tree.CPU-c.Master.CPU < time.Millisecond || c.Tree.Switches <= c.Master.Switches {
		t.Errorf("%+v", c)
	}
}

// What has ended is in no process of the tree, and nobody waited for it: the
// group has it all the same, to the microsecond.
func TestAGroupCountsWhatHasEndedAndLeft(t *testing.T) {
	g, err := NewGroup("test")
	if err != nil {
		t.Skipf("needs the right to make a control group: %v", err)
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	g.Start(attr)
	s := startShellWith(t, attr)
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	s.do(t, ":")
	if pids := g.Pids(); len(pids) != 1 || pids[0] != s.cmd.Process.Pid {
		t.Errorf("the group has %v, not the shell alone", pids)
	}
	before, err := TakeIn(s.cmd.Process.Pid, g)
	if err != nil {
		t.Fatal(err)
	}
	// The grandchild's parent does not wait for it.
	fifo := filepath.Join(t.TempDir(), "f")
	s.do(t, "mkfifo "+fifo)
	s.do(t, "(("+spin+"; echo >"+fifo+") & ); read x <"+fifo)
	after, err := TakeIn(s.cmd.Process.Pid, g)
	if err != nil {
		t.Fatal(err)
	}
	if c := after.Since(before); c.Tree.CPU < 10*time.Millisecond || c.Tree.CPU < c.Master.CPU {
		t.Errorf("%+v", c)
	}
}

func TestMemoryIsTheTreesAndTheRootsPartOfIt(t *testing.T) {
	s := startShell(t)
	s.do(t, "sleep 1000 & :")
	master, tree, err := PSS(s.cmd.Process.Pid)
	s.do(t, "kill $!")
	if err != nil {
		t.Fatal(err)
	}
	if master < 10<<10 || tree <= master || tree > 100<<20 {
		t.Errorf("%d bytes of %d are the root's", master, tree)
	}
}

// The shells share their program's pages: they count once in a tree, and another
// tree takes nothing away.
func TestMemoryDoesNotDependOnOtherServers(t *testing.T) {
	one := startShell(t)
	one.do(t, ":")
	alone, _, err := PSS(one.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		startShell(t).do(t, ":")
	}
	among, _, err := PSS(one.cmd.Process.Pid)
	if err != nil || among < alone {
		t.Errorf("%d bytes alone, %d among others, %v", alone, among, err)
	}
}

func TestMappingsOfFilesAreReadWithoutWhatWasWritten(t *testing.T) {
	const text = `00400000-00500000 r-xp 00000000 fe:00 42  /usr/bin/a program
Size:               1024 kB
Rss:                 300 kB
Anonymous:           100 kB
00500000-00600000 rw-p 00000000 00:00 0
Rss:                 999 kB
00600000-00700000 rw-s 00000000 00:01 7  /memfd:x (deleted)
Rss:                 999 kB
`
	got, err := mappedFiles(bufio.NewScanner(strings.NewReader(text)))
	if err != nil || len(got) != 1 || got["r-xp 00000000 fe:00 42 /usr/bin/a program"] != 200 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestOnlyChildrenThatRanAreCounted(t *testing.T) {
	before := &Snapshot{root: 1, cpu: map[int]time.Duration{1: 5, 2: 5, 3: 5}}
	after := &Snapshot{root: 1, cpu: map[int]time.Duration{1: 9, 2: 5, 3: 6, 4: 1, 5: 0}}
	if n := after.Ran(before); n != 2 {
		t.Errorf("%d, want 2: one that existed and one that is new", n)
	}
}

func TestTakeNamesTheMissingProcess(t *testing.T) {
	if _, err := Take(1 << 30); err == nil || err.Error() != "there is no process 1073741824" {
		t.Errorf("%v", err)
	}
}

func TestStatIsReadWhateverTheName(t *testing.T) {
	const rest = " S 7 42 42 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1 0 12345 1 1"
	for _, name := range []string{"(sh)", "(a b)", "(a) R 1 (b)", "())"} {
		p, err := parseStat([]byte("42 " + name + rest))
		want := process{pid: 42, parent: 7, children: 1500 * time.Millisecond}
		if err != nil || p != want {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (sh) S 7", "x (sh)" + rest, "42 (sh) S x" + rest[4:]} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestReusedThreadNumbersDoNotCountBackwards(t *testing.T) {
	got := gained(map[int]int64{1: 10, 2: 3, 3: 5}, map[int]int64{1: 4, 2: 100, 4: 7})
	if got != 6+3+5 {
		t.Errorf("%d", got)
	}
}

func TestPerRequestDivides(t *testing.T) {
	c := Cost{Master: Use{time.Millisecond, 10}, Tree: Use{2 * time.Millisecond, 30}, Kernel: time.Millisecond, Processes: 3}
	p := c.Per(10, 42)
	if p.Master != (Share{100, 1}) || p.Tree != (Share{200, 3}) || p.Kernel != 100 || p.Pid != 42 || p.Processes != 3 {
		t.Errorf("%+v", p)
	}
}

// With one client the dispatcher does the same twelve calls for each request;
// the worker's part of the last may come after the reply, and too late.
func TestSyscallsOfTheWholeTreeAreCounted(t *testing.T) {
	addr, pid := startFloor(t)
	const n = 50
	counts, err := CountSyscalls(pid, func() {
		res, err := (&load.Load{Address: addr, Requests: n, Timeout: time.Minute}).Run(context.Background())
		if err != nil || res.OK != n {
			t.Errorf("%+v, %v", res, err)
		}
	})
	if errors.Is(err, ErrNoStrace) && os.Getenv("CI") != "true" {
		t.Skip("needs strace")
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, least := range map[string]int{"accept4": n, "sendmsg": n, "recvmsg": n - 1, "sendto": 2*n - 1, "close": 2*n - 1} {
		if got := counts[name]; got < least || got > 2*least+10 {
			t.Errorf("%d calls of %s for %d requests", got, name, n)
		}
	}
}

func TestCountSyscallsNamesTheMissingProcess(t *testing.T) {
	_, err := CountSyscalls(1<<30, func() { t.Error("it ran") })
	if errors.Is(err, ErrNoStrace) && os.Getenv("CI") != "true" {
		t.Skip("needs strace")
	}
	if err == nil || err.Error() != "there is no process 1073741824" {
		t.Errorf("%v", err)
	}
}

// startFloor starts the C dispatcher with two workers.
func startFloor(t *testing.T) (addr string, pid int) {
	t.Helper()
	p, err := floor.Build(t.TempDir())
	if errors.Is(err, floor.ErrNoCompiler) && os.Getenv("CI") != "true" {
		t.Skip("needs gcc")
	}
	if err != nil {
		t.Fatal(err)
	}
	addr = filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(p.Dispatcher, addr, "2")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("dispatcher said %q, %v", line, err)
	}
	return addr, cmd.Process.Pid
}
