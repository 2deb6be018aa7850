package process

import (
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CPUs is how many CPUs this process and its children may use at the same time:
// those of its affinity (sched_getaffinity(2)), or fewer where a control group
// above it has a quota (cpu.max; systemd.resource-control(5) calls it CPUQuota=),
// of which a part of a CPU counts as one. It is 1 at least.
func CPUs() int {
	var set unix.CPUSet
	n := 1
	if unix.SchedGetaffinity(0, &set) == nil {
		n = max(set.Count(), 1)
	}
	group := "/"
	if text, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(text)) {
			if where, ok := strings.CutPrefix(line, "0::"); ok {
				group = path.Clean("/" + strings.TrimSpace(where))
			}
		}
	}
	for ; ; group = path.Dir(group) {
		if text, err := os.ReadFile("/sys/fs/cgroup" + group + "/cpu.max"); err == nil {
			n = min(n, quota(string(text), n))
		}
		if group == "/" {
			return n
		}
	}
}

// quota is the number of CPUs that a cpu.max stands for, without a limit all.
func quota(text string, all int) int {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return all
	}
	most, err := strconv.ParseUint(fields[0], 10, 32) // max is no number
	period, err2 := strconv.ParseUint(fields[1], 10, 32)
	if err != nil || err2 != nil || period == 0 {
		return all
	}
	return max(int((most+period-1)/period), 1)
}

// Active says whether the main thread of a process runs or waits for a CPU at
// this moment (proc_pid_stat(5), field 3). One that is gone, or cannot be seen,
// does not.
func Active(pid int) bool {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	var text [128]byte // the name between the parentheses has 64 bytes at most
	n, err := unix.Read(fd, text[:])
	unix.Close(fd)
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(text[:n], ')')
	return i > 0 && i+2 < n && text[i+2] == 'R'
}
