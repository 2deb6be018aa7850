package process

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// A Use is what a process has used.
type Use struct {
	CPU    time.Duration // user and system, all its threads
	Ended  time.Duration // the same of its children that ended and were waited for
	Memory uint64        // resident bytes
}

// Usage reads what a process has used so far from /proc; it is zero for one
// that is gone. See proc_pid_stat(5); times come in hundredths of a second
// (USER_HZ, which is 100 on every Linux that Go runs on).
func Usage(pid int) Use {
	if pid <= 0 {
		return Use{}
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Use{}
	}
	// The second field is a name in parentheses that may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 22 {
		return Use{}
	}
	n := func(i int) int64 {
		v, _ := strconv.ParseInt(string(fields[i-3]), 10, 64)
		return max(v, 0)
	}
	const tick = time.Second / 100
	return Use{
		CPU:    time.Duration(n(14)+n(15)) * tick,
		Ended:  time.Duration(n(16)+n(17)) * tick,
		Memory: uint64(n(24)) * uint64(os.Getpagesize()),
	}
}
