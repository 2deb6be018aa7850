package cost

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A process is what /proc/PID/stat says, as far as it is needed.
type process struct {
	pid, parent int
	kernel      bool          // a kernel thread
	children    time.Duration // CPU of its children that were waited for
}

// processes reads the whole table. Those that end meanwhile are left out.
func processes() ([]process, error) {
	names, err := numbers("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, pid := range names {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		p, err := parseStat(text)
		if err != nil {
			return nil, fmt.Errorf("/proc/%d/stat: %v", pid, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// numbers lists the entries of a directory of /proc whose names are numbers.
func numbers(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	var all []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			all = append(all, n)
		}
	}
	return all, err
}

const (
	kernelThread = 0x00200000            // PF_KTHREAD in the flags field
	clockTick    = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
)

// parseStat reads the fields of proc_pid_stat(5) after the name, which may
// hold blanks and brackets.
func parseStat(text []byte) (p process, err error) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return p, errors.New("no name")
	}
	fields := bytes.Fields(text[end+1:]) // fields[0] is field 3
	if len(fields) < 15 {
		return p, errors.New("too few fields")
	}
	field := func(n int) (v int64) {
		if err == nil {
			v, err = strconv.ParseInt(string(fields[n-3]), 10, 64)
		}
		return v
	}
	p.parent = int(field(4))
	p.kernel = field(9)&kernelThread != 0
	p.children = time.Duration(field(16)+field(17)) * clockTick
	if err != nil {
		return p, err
	}
	pid, _, _ := bytes.Cut(text, []byte(" "))
	p.pid, err = strconv.Atoi(string(pid))
	return p, err
}

// cpu is what a process has used, user and system, in ns: threads that have
// ended included, children not. It is the clock of clock_getcpuclockid(3),
// which is exact where /proc/PID/stat counts in hundredths of a second.
func cpu(pid int) (time.Duration, bool) {
	const schedClock = 2
	var ts unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|schedClock), &ts) != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

// switches counts the context switches of each living thread of a process,
// voluntary and not.
func switches(pid int, into map[int]int64) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tids, err := numbers(dir)
	if err != nil {
		return // it has just ended
	}
	for _, tid := range tids {
		text, err := os.ReadFile(fmt.Sprintf("%s/%d/status", dir, tid))
		if err == nil {
			into[tid] = statusField(text, "voluntary_ctxt_switches:") + statusField(text, "nonvoluntary_ctxt_switches:")
		}
	}
}

// statusField finds the number of a line of /proc/PID/status, 0 without it.
func statusField(text []byte, name string) int64 {
	_, after, ok := bytes.Cut(text, []byte("\n"+name))
	if !ok {
		return 0
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
