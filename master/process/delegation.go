package process

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoManager says that no service manager started us, so that no control
// group can be meant for us.
var ErrNoManager = errors.New("no service manager started this")

// find returns the control group that was delegated to us, and the sub-group
// of it in which we are, "" if we are in the group itself. It changes nothing.
func find(ask func() string) (top, sub string, err error) {
	if os.Getenv("INVOCATION_ID") == "" && os.Getenv("NOTIFY_SOCKET") == "" {
		return "", "", ErrNoManager
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", fmt.Errorf("cannot find the own control group: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", fmt.Errorf("cannot find the own control group: %w", err)
	}
	own, ok := ownPath(string(groups))
	if !ok {
		return "", "", errors.New("no control group of version 2 is to be seen")
	}
	for _, dir := range places(own, string(mounts)) {
		if top, sub, err = judge(dir, own, ask); top != "" || err != nil {
			return top, sub, err
		}
	}
	return "", "", errors.New("the own control group " + own + " is mounted nowhere")
}

// judge finds out whether dir, where our control group own is mounted, is
// ours, or a sub-group of one that is. The result is empty if dir is not there.
func judge(dir, own string, ask func() string) (top, sub string, err error) {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", "", nil
	}
	// A sub-group is that of DelegateSubgroup=, or our own before an upgrade.
	parent, name := filepath.Dir(dir), path.Base(own)
	switch {
	case delegated(dir):
		top = dir
	case own != "/" && !unitName(name) && delegated(parent):
		top, sub = parent, name
	default:
		switch ask() {
		case own:
			top = dir
		case path.Dir(own):
			top, sub = parent, name
		default:
			return "", "", errors.New("the service manager has not delegated it (Delegate=yes)")
		}
	}
	for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		if err := unix.Faccessat(unix.AT_FDCWD, filepath.Join(top, file), unix.W_OK, unix.AT_EACCESS); err != nil {
			return "", "", fmt.Errorf("cannot write to %s: %w", filepath.Join(top, file), err)
		}
	}
	return top, sub, alone(dir)
}

// ownPath reads the path of the one hierarchy of version 2 from the text of
// /proc/self/cgroup; see cgroups(7).
func ownPath(text string) (string, bool) {
	for line := range strings.Lines(text) {
		if own, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			// Outside of the namespace's root it begins with "/..".
			return own, path.Clean(own) == own && path.IsAbs(own)
		}
	}
	return "", false
}

// places returns the directories at which the control group own should be, by
// the text of /proc/self/mountinfo; see proc_pid_mountinfo(5).
func places(own, text string) (dirs []string) {
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) == 0 || kind[0] != "cgroup2" {
			continue
		}
		// A part of the hierarchy may be mounted alone.
		rel, err := filepath.Rel(unescape(fields[3]), own)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			dirs = append(dirs, filepath.Join(unescape(fields[4]), rel))
		}
	}
	return dirs
}

// unescape turns "\040" into a blank, and so on.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// delegated says that systemd left the control group at dir to the processes in
// it. It marks these for all to read since version 251; the older mark is for
// root. A user's manager has never marked anything.
func delegated(dir string) bool {
	for _, mark := range []string{"user.delegate", "trusted.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, mark, value[:]); err == nil {
			return string(value[:n]) == "1"
		}
	}
	return false
}

// unitName says that systemd itself has made the control group of this name,
// for a unit. In one that is not delegated there is nothing for us, even where
// the one above is: a user's manager has all of the user's programs below it.
func unitName(name string) bool {
	switch path.Ext(name) {
	case ".service", ".scope", ".slice", ".socket", ".mount", ".swap":
		return true
	}
	return false
}

// alone returns nil if the control group at dir has no processes but us and our
// children: a shell, say, in which scgid is tried out must stay where it is.
func alone(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil || pid != os.Getpid() && !child(pid) {
			return fmt.Errorf("process %s is in it too", word)
		}
	}
	return nil
}

// child says whether a process is our child, or gone.
func child(pid int) bool {
	if pid == 0 {
		return false // one of which this namespace knows no number
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return unix.Kill(pid, 0) == unix.ESRCH
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid())
}
