package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideEnv names the test for which this process was made.
const insideEnv = "SCGID_TEST_INSIDE"

// A place is the control group in which a test runs.
type place struct {
	marked bool     // as systemd marks what it delegates
	sub    string   // runs in a sub-group of this name
	env    []string // of the process
	crowd  bool     // somebody else is in the group too
}

// service is what a unit with Delegate=yes is.
var service = place{marked: true, env: []string{"INVOCATION_ID=x"}}

var placesMade atomic.Int32

// inside says whether the test runs in the place. If not it makes a process of
// its own for it there, and reports what comes of it.
func inside(t *testing.T, p place) bool {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		return true
	}
	top := makePlace(t, p)
	dir := filepath.Join(top, p.sub)
	if p.crowd {
		other := exec.Command("sleep", "1000")
		enterGroup(t, other, dir)
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v", "-test.timeout=100s")
	enterGroup(t, cmd, dir)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "INVOCATION_ID=") && !strings.HasPrefix(v, "NOTIFY_SOCKET=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, p.env...), insideEnv+"="+t.Name())
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil && strings.Contains(string(out), "--- SKIP: "+t.Name()):
		_, why, _ := strings.Cut(string(out), ".go:")
		_, why, _ = strings.Cut(why, ": ")
		t.Skip(strings.SplitN(why, "\n", 2)[0])
	case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// makePlace makes the control groups of a place, and removes them at the end
// with all that the test has left.
func makePlace(t *testing.T, p place) string {
	t.Helper()
	root := cgroup2()
	top := filepath.Join(root, fmt.Sprintf("scgid-process-test-%d-%d", os.Getpid(), placesMade.Add(1)))
	if root == "" || os.Mkdir(top, 0o755) != nil {
		t.Skip("needs a writable cgroup2")
	}
	t.Cleanup(func() {
		g, err := new(Groups).openGroup(top)
		if err != nil {
			t.Fatal(err)
		}
		g.remove()
		if _, err := os.Stat(top); err == nil {
			t.Errorf("%s is left", top)
		}
	})
	if p.marked {
		if err := unix.Setxattr(top, "user.delegate", []byte("1"), 0); err != nil {
			t.Skipf("needs a cgroup2 with attributes: %v", err)
		}
	}
	if p.sub != "" {
		if err := os.Mkdir(filepath.Join(top, p.sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// silent is a service manager that knows of no delegated group.
func silent() string { return "" }

// cgroup2 is where it is mounted.
func cgroup2() string {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	dirs := places("/", string(text))
	if len(dirs) == 0 {
		return ""
	}
	return dirs[0]
}

func enterGroup(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(d.Fd())}
}

// where is the path of a process's control group.
func where(t *testing.T, pid string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	own, _ := ownPath(string(text))
	return own
}

// groupsBelow lists the sub-groups of the group at dir.
func groupsBelow(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestDelegatedGroupIsTakenByMovingToASubGroup(t *testing.T) {
	if !inside(t, service) {
		return
	}
	before := where(t, "self")
	g, err := Delegated(silent)
	if err != nil {
		t.Fatal(err)
	}
	if got := where(t, "self"); got != before+"/master" {
		t.Errorf("now in %s, was in %s", got, before)
	}
	// As after an execve of ourselves.
	again, err := Delegated(silent)
	if err != nil || again.top != g.top || where(t, "self") != before+"/master" {
		t.Errorf("the second time: %+v, %v", again, err)
	}
	if got := groupsBelow(t, g.top); !slices.Equal(got, []string{"master"}) {
		t.Errorf("there are %v", got)
	}
}

func TestSubGroupOfTheServiceManagerIsTaken(t *testing.T) {
	p := service
	p.sub = "main"
	if !inside(t, p) {
		return
	}
	before := where(t, "self")
	g, err := Delegated(silent)
	if err != nil {
		t.Fatal(err)
	}
	if got := where(t, "self"); got != before {
		t.Errorf("now in %s, was in %s", got, before)
	}
	if got := groupsBelow(t, g.top); !slices.Equal(got, []string{"main"}) {
		t.Errorf("there are %v", got)
	}
}

// A user's manager does not mark what it delegates.
func TestGroupOfWhichTheManagerSaysThatItIsDelegatedIsTaken(t *testing.T) {
	if !inside(t, place{env: service.env}) {
		return
	}
	before := where(t, "self")
	if g, err := Delegated(func() string { return filepath.Dir(before) + "/other" }); err == nil {
		t.Errorf("took %s", g.top)
	}
	for range 2 {
		g, err := Delegated(func() string { return before })
		if err != nil || filepath.Base(g.top) != filepath.Base(before) || where(t, "self") != before+"/master" {
			t.Errorf("%+v, %v, now in %s", g, err, where(t, "self"))
		}
	}
}

func TestWhatIsNotDelegatedIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		place
		why string
	}{
		"no manager":     {place{marked: true}, ErrNoManager.Error()},
		"not delegated":  {place{env: service.env}, "the service manager has not delegated it (Delegate=yes)"},
		"other's":        {place{marked: true, env: []string{"NOTIFY_SOCKET=/x"}, crowd: true}, "is in it too"},
		"user's scope":   {place{marked: true, sub: "vte.scope", env: service.env}, "the service manager has not delegated it (Delegate=yes)"},
		"user's service": {place{marked: true, sub: "app.service", env: service.env}, "the service manager has not delegated it (Delegate=yes)"},
		"crowded sub":    {place{marked: true, sub: "main", env: service.env, crowd: true}, "is in it too"},
	} {
		t.Run(strings.NewReplacer(" ", "_", "'", "").Replace(name), func(t *testing.T) {
			if !inside(t, c.place) {
				return
			}
			before := where(t, "self")
			if _, err := Delegated(silent); err == nil || !strings.HasSuffix(err.Error(), c.why) {
				t.Errorf("got %v, want %q", err, c.why)
			}
			if got := where(t, "self"); got != before {
				t.Errorf("now in %s, was in %s", got, before)
			}
			if got := groupsBelow(t, filepath.Join(cgroup2(), before)); len(got) > 0 {
				t.Errorf("there are %v", got)
			}
		})
	}
}

func TestOwnGroupIsFoundWhereverItIsMounted(t *testing.T) {
	for _, c := range []struct{ cgroup, mounts, want string }{
		{"0::/a/b\n", "30 20 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/a/b"},
		{"5:memory:/x\n0::/a\n", "30 20 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified/a"},
		{"0::/\n", "30 20 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"},
		{"0::/a/b\n", "30 20 0:27 /a /mnt/with\\040blank rw - cgroup2 cgroup2 rw\n", "/mnt/with blank/b"},
		{"0::/ab\n", "30 20 0:27 /a /mnt rw - cgroup2 cgroup2 rw\n", ""},
		{"0::/a\n", "30 20 0:27 /../../x /mnt rw - cgroup2 cgroup2 rw\n", ""},
		{"0::/../a\n", "30 20 0:27 / /mnt rw - cgroup2 cgroup2 rw\n", "none"},
		{"0::/a", "30 20\n - cgroup2\n\n30 20 0:27 /a\n", ""},
		{"5:memory:/x\n", "", "none"},
		{"", "", "none"},
	} {
		own, ok := ownPath(c.cgroup)
		got := "none"
		if ok {
			got = strings.Join(places(own, c.mounts), " ")
		}
		if got != c.want {
			t.Errorf("%q in %q: got %q, want %q", c.cgroup, c.mounts, got, c.want)
		}
	}
}
