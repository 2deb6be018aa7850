package cost

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Group is a control group of its own for one server. It counts the CPU of
// processes that have ended as exactly as that of the living, and nothing can
// leave it unseen.
type Group struct {
	dir  string
	file *os.File
}

// NewGroup makes a group below the one that this process is in; that needs
// cgroup2 and the right to write there. The caller closes it.
func NewGroup(name string) (*Group, error) {
	own, err := ownGroup()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(own, fmt.Sprintf("scgibench-%d-%s", os.Getpid(), name))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Open(dir)
	if err != nil {
		os.Remove(dir)
		return nil, err
	}
	return &Group{dir, file}, nil
}

// ownGroup is the directory of this process's group, see cgroups(7).
func ownGroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			for group := range strings.Lines(string(groups)) {
				if path, ok := strings.CutPrefix(strings.TrimSpace(group), "0::"); ok {
					return filepath.Join(fields[4], path), nil
				}
			}
		}
	}
	return "", errors.New("cgroup2 is not mounted")
}

// Start has a process that attr is for begin in the group.
func (g *Group) Start(attr *syscall.SysProcAttr) {
	attr.UseCgroupFD, attr.CgroupFD = true, int(g.file.Fd())
}

// CPU is what all processes of the group have used so far, user and system,
// in steps of a microsecond.
func (g *Group) CPU() (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	value, ok := bytes.CutPrefix(text, []byte("usage_usec "))
	if !ok {
		return 0, fmt.Errorf("%s/cpu.stat does not begin with usage_usec", g.dir)
	}
	line, _, _ := bytes.Cut(value, []byte("\n"))
	n, err := strconv.ParseInt(string(line), 10, 64)
	return time.Duration(n) * time.Microsecond, err
}

// Pids are the processes that are in the group now, in groups below it too.
func (g *Group) Pids() (pids []int) {
	filepath.WalkDir(g.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		text, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// Close removes the group and those below it; that fails while a process is
// in one of them.
func (g *Group) Close() error {
	g.file.Close()
	var dirs []string
	filepath.WalkDir(g.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for i := len(dirs) - 1; i > 0; i-- {
		os.Remove(dirs[i])
	}
	return os.Remove(g.dir)
}
