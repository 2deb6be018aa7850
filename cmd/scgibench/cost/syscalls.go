package cost

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// ErrNoStrace is returned by CountSyscalls where strace is not installed.
var ErrNoStrace = errors.New("needs strace")

// CountSyscalls counts the system calls, by name, that the process pid and
// its descendants make during run. It attaches strace -f -c to all of them
// first and detaches it afterwards; meanwhile they are many times slower, so
// measure nothing else at the same time. It needs strace and the right to
// trace the processes.
func CountSyscalls(pid int, run func()) (map[string]int, error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return nil, ErrNoStrace
	}
	pids, err := descendants(pid)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "scgibench-strace-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "counts")
	if err := traced(strace, out, pids, run); err != nil {
		return nil, err
	}
	return readCounts(out)
}

func descendants(root int) ([]int, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var pids []int
	for pid := range tree(all, root) {
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("there is no process %d", root)
	}
	return pids, nil
}

// traced calls run while strace is attached to pids.
func traced(strace, out string, pids []int, run func()) error {
	args := []string{"-f", "-c", "-o", out}
	for _, pid := range pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	cmd := exec.Command(strace, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us
	says, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(says)
	err = attached(lines, pids)
	if err == nil {
		drained := make(chan struct{})
		go func() {
			io.Copy(io.Discard, lines) // new processes and threads are reported too
			close(drained)
		}()
		run()
		cmd.Process.Signal(syscall.SIGINT)
		<-drained
	} else {
		cmd.Process.Signal(syscall.SIGINT)
	}
	cmd.Wait() // its status is the signal's
	return err
}

var attachLine = regexp.MustCompile(`^\S*strace: (?:Process (\d+) attached|attach: ptrace\([A-Z_]+, (\d+)\).*: No such process)`)

// attached returns when strace has said of every pid that it traces it, or
// that it has ended.
func attached(lines *bufio.Reader, pids []int) error {
	missing := map[string]bool{}
	for _, pid := range pids {
		missing[strconv.Itoa(pid)] = true
	}
	for len(missing) > 0 {
		line, err := lines.ReadString('\n')
		if m := attachLine.FindStringSubmatch(line); m != nil {
			delete(missing, m[1]+m[2])
			continue
		}
		if line != "" {
			return fmt.Errorf("cannot count system calls: %s", strings.TrimSpace(line))
		}
		if err != nil {
			return errors.New("cannot count system calls: strace ended")
		}
	}
	return nil
}

// readCounts reads strace's table: % time, seconds, usecs/call, calls, errors
// (may be blank), name.
func readCounts(path string) (map[string]int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "total" {
			continue
		}
		n, err := strconv.Atoi(f[3])
		if err != nil {
			continue // heading and rulers
		}
		counts[f[len(f)-1]] += n
	}
	return counts, nil
}
