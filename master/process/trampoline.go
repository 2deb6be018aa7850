package process

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// trampolineName is what the first argument of a trampoline is.
const trampolineName = "scgid-worker-exec"

// entryFD is the number under which the trampoline finds the cgroup.procs of
// the worker's control group, if there is one.
const entryFD = PageFD + 1

// trampolineArgs is the command line that Trampoline understands.
func trampolineArgs(c Command, group bool) []string {
	return append([]string{trampolineName, strconv.FormatBool(group),
		strconv.Itoa(c.NOFILE), strconv.Itoa(c.Nice), strconv.Itoa(c.OOMScoreAdjust)}, c.Argv...)
}

// Trampoline must be the first thing that main calls in every program that
// calls Start. In the master it returns at once. In a child that Start made it
// enters the control group and sets the limits from inside, where they apply to
// no other process and before the worker's first instruction, executes the worker
// and does not return. What goes wrong there is told to the master by FAILED=
// on the link, except that a control group cannot be entered: the worker runs all
// the same.
//
// (A fork in Go can set a group and descriptors but no limits; setting them
// from the master, after the start, would come too late for some.)
func Trampoline() {
	if len(os.Args) < 6 || os.Args[0] != trampolineName {
		return
	}
	// Where the program is not readable for its user, as it is installed, the
	// kernel makes its files below /proc root's: our own limits could not be set.
	// The master's memory is not in this process any more.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	// setpriority(2) is about a thread in Linux: it has to be the one that
	// executes.
	runtime.LockOSThread()
	if os.Args[1] == "true" {
		// 0 means the writing process, see cgroups(7). It may take a while.
		if _, err := unix.Write(entryFD, []byte("0")); err != nil {
			fmt.Fprintln(os.Stderr, "scgid: cannot enter the control group:", err)
		}
	}
	err := enter(os.Args[2:5])
	if err == nil {
		argv := os.Args[5:]
		err = fmt.Errorf("cannot execute %s: %v", argv[0], syscall.Exec(argv[0], argv, os.Environ()))
	}
	fmt.Fprintln(os.Stderr, "scgid:", err)
	text := "FAILED=" + strings.ReplaceAll(err.Error(), "\n", " ")
	unix.Sendto(LinkFD, []byte(text[:min(len(text), 1024)]), unix.MSG_NOSIGNAL, nil)
	os.Exit(127)
}

// enter applies the three limits.
func enter(args []string) error {
	var n [3]int
	for i, arg := range args {
		v, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("bad limit %q", arg)
		}
		n[i] = v
	}
	nofile, nice, oom := n[0], n[1], n[2]
	// Whatever the master was itself started with stays out of the worker.
	if err := unix.CloseRange(PageFD+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return os.NewSyscallError("close_range", err)
	}
	if oom != Unset {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(oom)), 0); err != nil {
			return fmt.Errorf("cannot set OOMScoreAdjust=%d: %w", oom, err)
		}
	}
	if nice != Unset {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil {
			return fmt.Errorf("cannot set Nice=%d: %w", nice, err)
		}
	}
	if nofile != Unset {
		// syscall's, not unix's: it also keeps the runtime from putting the
		// old soft limit back at exec.
		limit := syscall.Rlimit{Cur: uint64(nofile), Max: uint64(nofile)}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return fmt.Errorf("cannot set LimitNOFILE=%d: %w", nofile, err)
		}
	}
	return nil
}
