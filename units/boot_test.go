package units

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The harness: one systemd as process 1 of namespaces of its own, over an
// overlay of this machine's root, for all tests of the package. Nothing of it
// outlives the test binary, however that ends: the kernel kills unshare when
// our thread ends, and with it process 1 and all others.

// A machine is a booted systemd.
type machine struct {
	state  string // directory with what testdata/init.sh needs, and the log
	cgroup string
	boot   *exec.Cmd
	ended  chan struct{} // closed when boot has ended; err is set then
	err    error
	pid    int // of the systemd, here
}

// errCannot is why a machine cannot be had here, which is nobody's fault.
type errCannot struct{ why string }

func (e errCannot) Error() string { return e.why }

// errNeeds is a program that is missing.
type errNeeds struct{ what string }

func (e errNeeds) Error() string { return "needs " + e.what }

var theMachine struct {
	sync.Once
	m   *machine
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if theMachine.m != nil {
		theMachine.m.close()
	}
	os.Exit(code)
}

// booted returns the machine, or skips: without root, and where the kernel
// cannot do it. CI has all programs; SCGID_REQUIRE_SYSTEMD=1 wants no skip.
func booted(t *testing.T) *machine {
	t.Helper()
	theMachine.Do(func() {
		theMachine.m, theMachine.err = boot()
		if theMachine.err != nil && theMachine.m != nil {
			theMachine.m.close()
			theMachine.m = nil
		}
	})
	var cannot errCannot
	var needs errNeeds
	switch err := theMachine.err; {
	case err == nil:
		return theMachine.m
	case os.Getenv("SCGID_REQUIRE_SYSTEMD") == "1":
		t.Fatal(err)
	case errors.As(err, &cannot):
		t.Skip(err)
	case errors.As(err, &needs) && os.Getenv("CI") != "true":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	return nil
}

// tools are the programs that are used outside.
var tools = []string{"bash", "go", "mount", "nsenter", "pivot_root", "systemd-sysusers", "umount", "unshare"}

// boot boots a machine. With an error it may still return one, to be closed.
func boot() (*machine, error) {
	if os.Geteuid() != 0 {
		return nil, errCannot{"needs root, for namespaces and an overlay of /"}
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, errNeeds{tool}
		}
	}
	for _, file := range []string{"lib/systemd/systemd", "usr/bin/dbus-daemon", "usr/bin/curl", "usr/bin/python3", "usr/bin/systemd-sysusers"} {
		if _, err := os.Stat(filepath.Join(lower(), file)); err != nil {
			return nil, errNeeds{filepath.Join(lower(), file)}
		}
	}
	if out, err := exec.Command("unshare", "-m", "-p", "-u", "-i", "-n", "-C", "--fork", "true").CombinedOutput(); err != nil {
		return nil, errCannot{fmt.Sprintf("needs namespaces: %s", bytes.TrimSpace(out))}
	}
	m := &machine{ended: make(chan struct{})}
	err := m.prepare()
	if err == nil {
		err = m.start()
	}
	if err == nil {
		err = m.wait()
	}
	return m, err
}

// prepare makes the control group and the files.
func (m *machine) prepare() (err error) {
	if m.state, err = makeState(); err != nil {
		return err
	}
	if m.cgroup, err = makeGroup(); err != nil {
		return errCannot{fmt.Sprintf("needs a control group: %v", err)}
	}
	return plant(filepath.Join(m.state, "tree"))
}

// ours begins the names of our directories; the process id follows.
const ours = "scgid-test-"

// ofDead says that what is called so is a dead test binary's.
func ofDead(path string) bool {
	pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(path), ours))
	return err == nil && unix.Kill(pid, 0) == unix.ESRCH
}

// makeState makes a directory for files. One that is not ours ends the test.
func makeState() (string, error) {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), ours+"*"))
	for _, dir := range old {
		if ofDead(dir) {
			_ = os.RemoveAll(dir)
		}
	}
	dir := filepath.Join(os.TempDir(), ours+strconv.Itoa(os.Getpid()))
	return dir, os.Mkdir(dir, 0o755)
}

// makeGroup makes a control group, and removes those that dead test binaries
// left.
func makeGroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup2" {
			continue
		}
		old, _ := filepath.Glob(filepath.Join(f[1], ours+"*"))
		for _, dir := range old {
			if ofDead(dir) {
				removeGroups(dir)
			}
		}
		dir := filepath.Join(f[1], ours+strconv.Itoa(os.Getpid()))
		return dir, os.Mkdir(dir, 0o755)
	}
	return "", errors.New("cgroup2 is not mounted")
}

// removeGroups removes a control group and those below, as far as they are
// empty.
func removeGroups(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeGroups(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir)
}

// lower is the root that the machine is made of: this one's, or that of another
// release of a distribution, as debootstrap makes it.
func lower() string {
	if dir := os.Getenv("SCGID_TEST_ROOT"); dir != "" {
		return dir
	}
	return "/"
}

// start starts process 1. It is in the control group before the namespaces are
// made, so that the group is the root of theirs.
func (m *machine) start() error {
	log, err := os.Create(filepath.Join(m.state, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	script, err := filepath.Abs("testdata/init.sh")
	if err != nil {
		return err
	}
	m.boot = exec.Command("bash", "-c", `echo $$ >"$1/cgroup.procs" && exec unshare -m -p -u -i -n -C --fork --kill-child=SIGKILL bash "$2" "$3" "$4"`,
		"boot", m.cgroup, script, m.state, lower())
	m.boot.Env = clean
	m.boot.Stdout, m.boot.Stderr = log, log
	// The signal comes when the thread ends that started it.
	m.boot.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := m.boot.Start()
		started <- err
		if err == nil {
			m.err = m.boot.Wait()
			close(m.ended)
		}
	}()
	return <-started
}

// clean is the environment inside.
var clean = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0", "SYSTEMD_LOG_COLOR=0"}

// bootLimit is how long a boot may take. It is under 3 s on an idle machine.
const bootLimit = 60 * time.Second

// wait waits until systemd has started all that there is to start.
func (m *machine) wait() error {
	err := m.until(bootLimit, func() bool {
		m.pid = m.processOne()
		if m.pid == 0 {
			return false
		}
		_, err := os.Stat(m.path("/run/systemd/private"))
		return err == nil
	})
	if err != nil {
		return err
	}
	out, err := m.try("systemctl", "is-system-running", "--wait")
	if err != nil {
		failed, _ := m.try("systemctl", "--failed", "--no-legend")
		journal, _ := m.try("journalctl", "-b", "--no-pager", "-p", "warning")
		return fmt.Errorf("systemd is %s: %v\n%s\n%s", strings.TrimSpace(out), err, failed, journal)
	}
	return nil
}

// until polls, as there is nothing to wait on from outside.
func (m *machine) until(limit time.Duration, come func() bool) error {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-m.ended:
			return m.died()
		default:
		}
		if come() {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("systemd did not come up\n%s", m.said())
		}
	}
}

// died says why process 1 ended.
func (m *machine) died() error {
	said := strings.TrimSpace(m.said())
	var exit *exec.ExitError
	if errors.As(m.err, &exit) && exit.ExitCode() == 77 {
		return errCannot{"needs a kernel, or a container, that lets it: " + said[strings.LastIndexByte(said, '\n')+1:]}
	}
	return fmt.Errorf("systemd ended: %v\n%s", m.err, said)
}

func (m *machine) said() string {
	text, _ := os.ReadFile(filepath.Join(m.state, "log"))
	return string(text)
}

// processOne returns the process that is process 1 inside, once it is systemd.
func (m *machine) processOne() int {
	pid := m.boot.Process.Pid
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	child, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		return 0
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child))
	if strings.TrimSpace(string(name)) != "systemd" {
		return 0
	}
	return child
}

// close ends all processes and removes what was made. Nothing is mounted in
// our own namespace.
func (m *machine) close() {
	if m.boot != nil && m.boot.Process != nil {
		_ = m.boot.Process.Kill()
		<-m.ended
	}
	if m.cgroup != "" {
		_ = os.WriteFile(filepath.Join(m.cgroup, "cgroup.kill"), []byte("1"), 0)
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			events, err := os.ReadFile(filepath.Join(m.cgroup, "cgroup.events"))
			if err != nil || strings.Contains(string(events), "populated 0") {
				break
			}
		}
		removeGroups(m.cgroup)
	}
	_ = os.RemoveAll(m.state)
}
