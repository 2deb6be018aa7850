package compare

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/scgid/scgid/cmd/scgibench/cost"
	"golang.org/x/sys/unix"
)

// machine reads what this machine is.
func machine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Model: field("/proc/cpuinfo", "model name"), System: strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`)}
	var kib float64
	fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kib)
	m.MemoryGiB = kib / (1 << 20)
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Sscan(string(text), &m.Load)
	}
	if g, err := cost.NewGroup("machine"); err == nil {
		m.Group = true
		g.Close()
	}
	return m
}

// field is the value of the first line "name: value" or "name=value".
func field(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:="))
		}
	}
	return ""
}
