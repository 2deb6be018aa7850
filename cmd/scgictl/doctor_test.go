package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/control"
)

// needsRoot skips where nobody can become the web server.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestDoctorFindsNothingWrongWithARightSetUp(t *testing.T) {
	needsRoot(t)
	s := newSite(t, "good", "ListenMode=0666", serving)
	d, status := s.doctor()
	if status != exitDone || !d.OK || d.WebUser != "nobody" {
		t.Errorf("exit status %d, web user %q:\n%s", status, d.WebUser, findings(d))
	}
	var seen []string
	for _, k := range d.Checks {
		if k.Grade != good {
			t.Errorf("%s %s: %s", k.Grade, k.Check, k.Text)
		}
		seen = append(seen, k.Check)
	}
	want := []string{"configuration", "socket", "backlog", "descriptors", "workers", "request", "control socket"}
	if !slices.Equal(seen, want) {
		t.Errorf("checks %v, want %v", seen, want)
	}
	st, err := s.client.Status(context.Background())
	if err != nil || st.Requests.Served != 1 {
		t.Errorf("%d requests served, %v, want the doctor's one", st.Requests.Served, err)
	}
}

func TestDoctorFindsAWrongMode(t *testing.T) {
	needsRoot(t)
	s := newSite(t, "good", "ListenMode=0600", serving)
	s.finds([]string{"socket"}, "(srw------- root root): nobody cannot connect: it may not write to the socket: the mode is 0600", "ListenMode=0660")
}

func TestDoctorNamesNoUnitWithoutSystemd(t *testing.T) {
	needsRoot(t)
	s := newSite(t, "good", "ListenMode=0660", serving)
	s.finds([]string{"socket"}, "that is for group root", "chmod g+s "+filepath.Dir(s.listen)+"; then start the pool again")
}

func TestDoctorFindsAMissingGroup(t *testing.T) {
	needsRoot(t)
	s := newSite(t, "good", "ListenMode=0660", serving)
	if err := os.Chown(s.listen, 0, 2); err != nil {
		t.Fatal(err)
	}
	s.finds([]string{"socket"}, "it is not a member of group "+groupName(2), "usermod -aG "+groupName(2)+" nobody")
}

func TestDoctorFindsAMissingSocket(t *testing.T) {
	needsRoot(t)
	s := newSite(t, "good", "ListenMode=0666", serving)
	if err := os.Remove(s.listen); err != nil {
		t.Fatal(err)
	}
	s.finds([]string{"socket", "request"}, s.listen+" does not exist", "start the pool")
	if err := os.Remove(filepath.Dir(s.listen)); err != nil {
		t.Fatal(err)
	}
	s.finds([]string{"socket", "request"}, "there is no directory "+filepath.Dir(s.listen), "RuntimeDirectory=")
}

func TestDoctorFindsADirectoryThatTheWebServerMayNotSearch(t *testing.T) {
	needsRoot(t)
	s := newSite(t, "good", "ListenMode=0666", serving)
	dir := filepath.Dir(s.listen)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.finds([]string{"socket"}, "it may not search the directory "+dir+" (drwx------ root root)", "chmod o+x "+dir)
	// Another user cannot become the web server, but can see that much.
	t.Setenv(envUID, strconv.Itoa(nobody))
	s.finds([]string{"socket", "request"}, "it may not search the directory "+dir+" (drwx------ root root)", "chmod o+x "+dir, "--web-user", "daemon")
}

func TestDoctorFindsAnApplicationThatDoesNotStart(t *testing.T) {
	needsRoot(t)
	s := newSite(t, "no module named \\x1b[2Jwiki", "ListenMode=0666\n[Queue]\nTimeoutSec=500ms", failing)
	s.finds([]string{"workers", "request"}, "the application does not start: ", "which is scgid's standard error")
	s.finds([]string{"workers", "request"}, "last: no module named ", "which is scgid's standard error")
	if out, _, _ := ctlRun(t, "doctor", "--config", s.conf, "--timeout", "1s"); strings.ContainsRune(out, 0x1b) {
		t.Errorf("an escape sequence came through: %q", out)
	}
}

func TestDoctorFindsAnApplicationThatFails(t *testing.T) {
	needsRoot(t)
	s := newSite(t, "good", "ListenMode=0666", serving)
	s.finds([]string{"request"}, "GET /fail: 500", "which is scgid's standard error", "--uri", "/fail")
}

func TestDoctorAndExplainFindAFullBacklog(t *testing.T) {
	needsRoot(t)
	s := &site{t: t, dir: openDir(t), log: &logBuffer{}}
	s.listen = filepath.Join(s.dir, "app.sock")
	s.configure("good", "Listen="+s.listen+"\nMaxWorkers=1\n[Queue]\nMax=1\n")
	l := smallListener(t, s.listen)
	s.start(serving, l)
	l.Close()
	gate := filepath.Join(s.dir, "go")
	full := fillUp(t, s.listen, gate)
	s.until("the worker and the queue are taken, and the kernel's backlog is full", func() bool {
		full()
		st, err := s.client.Status(context.Background())
		n, limit, kerr := activation.BacklogAt("unix", s.listen)
		return err == nil && kerr == nil && st.Queue.Waiting == 1 && n > limit
	})
	s.finds([]string{"socket", "backlog", "request"}, "cannot connect: the kernel's backlog of this socket is full", "scgictl explain")
	s.finds([]string{"socket", "backlog", "request"}, s.listen+": 3/2", "it is full")

	out, errs, status := ctlRun(t, "explain", "--socket", s.client.Socket())
	for _, want := range []string{
		"1 request waiting, the first for ", "the only worker is busy (MaxWorkers=1)",
		"the oldest request at work is GET /slow?", "scgictl scale --socket " + s.client.Socket() + " --max 2",
		"FAIL kernel backlog of listener " + s.listen + " is 3/2: it is full",
	} {
		if status != exitDone || !strings.Contains(out, want) {
			t.Errorf("exit status %d, no %q in\n%s%s", status, want, out, errs)
		}
	}
	if err := os.WriteFile(gate, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	s.until("nothing waits any more", func() bool {
		st, err := s.client.Status(context.Background())
		return err == nil && st.Queue.Waiting == 0 && st.Requests.Active == 0
	})
	if out, _, _ := ctlRun(t, "explain", "--socket", s.client.Socket()); !strings.HasPrefix(out, "ok   nothing waits") {
		t.Errorf("afterwards it says\n%s", out)
	}
}

// smallListener listens on path with a backlog of 2, as systemd would.
func smallListener(t *testing.T, path string) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { f.Close() })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), os.Chmod(path, 0o666), unix.Listen(fd, 2)); err != nil {
		t.Fatal(err)
	}
	return f
}

// fillUp returns a function that sends slow requests until no connection is
// to be had. They are kept open until the test ends.
func fillUp(t *testing.T, path, gate string) func() {
	t.Helper()
	a, _, err := requestSpec{uri: "/slow?" + gate}.build(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		for {
			conn, err := net.Dial("unix", path)
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			if err := a.write(conn); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDoctorNamesEveryMistakeInTheConfiguration(t *testing.T) {
	dir := openDir(t)
	conf := filepath.Join(dir, "site.conf")
	text := "[Pool]\nMinWorkers=9\nListem=/x\n[Worker]\nExecStart=/nowhere/app\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, _, status := ctlRun(t, "doctor", "--config", conf)
	for _, want := range []string{"FAIL configuration: " + conf + ":2:", "FAIL configuration: " + conf + ":3:", "FAIL control socket: "} {
		if status != exitFailed || !strings.Contains(out, want) {
			t.Errorf("exit status %d, no %q in\n%s", status, want, out)
		}
	}
	text = "[Pool]\nListen=" + dir + "/none.sock\n[Worker]\nExecStart=/nowhere/app\nWorkingDirectory=/nowhere/at/all\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, _, _ = ctlRun(t, "doctor", "--config", conf)
	for _, want := range []string{"ExecStart=: stat /nowhere/app", "WorkingDirectory=: stat /nowhere/at/all", "none.sock does not exist"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestObstacleIsTheFirstOnTheWay(t *testing.T) {
	dir := openDir(t)
	deep := filepath.Join(dir, "a", "b")
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.MkdirAll(deep, 0o755), os.Symlink(deep, link)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(link, "s")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	other := &account{Name: "other", UID: 64001, GID: 64001}
	if o := other.obstacle(file); o != nil {
		t.Fatalf("%s is in the way, want a free one", o.path)
	}
	for _, step := range []struct {
		path string
		mode os.FileMode
	}{{file, 0o644}, {filepath.Join(dir, "a"), 0o750}} { // the second only behind the link
		if err := os.Chmod(step.path, step.mode); err != nil {
			t.Fatal(err)
		}
		if o := other.obstacle(file); o == nil || o.path != step.path {
			t.Errorf("after chmod of %s: %+v", step.path, o)
		}
	}
	if o := (&account{UID: 0}).obstacle(file); o != nil {
		t.Errorf("root is stopped by %s", o.path)
	}
}

func TestBacklogIsJudgedByItsLimit(t *testing.T) {
	for _, tt := range []struct {
		n, limit, most int
		want           grade
		hint           string
	}{
		{0, 4096, 4096, good, ""},
		{3276, 4096, 4096, good, ""},
		{3277, 4096, 4096, bad, "nearly full"},
		{129, 128, 4096, bad, "it is full"},
		{0, 64, 64, notable, "net.core.somaxconn"},
		{0, 64, 4096, notable, "Backlog= in scgid@wiki.socket"},
	} {
		if g, hint := gradeBacklog(tt.n, tt.limit, tt.most, "wiki"); g != tt.want || !strings.Contains(hint, tt.hint) {
			t.Errorf("%d/%d of %d: %s %q, want %s %q", tt.n, tt.limit, tt.most, g, hint, tt.want, tt.hint)
		}
	}
}

func TestDescriptorLimitIsThatOfTheProcess(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n, err := openFilesLimit(os.Getpid())
	if err != nil || n != limit.Cur {
		t.Errorf("%d, %v, want %d", n, err, limit.Cur)
	}
	d := &doctor{name: "wiki", status: &control.Status{PID: os.Getpid()}}
	d.status.Queue.Listeners = []control.Listener{{Address: "/run/x"}}
	d.status.Limits.MaxWorkers, d.status.Queue.Limit = 1<<20, 1<<20
	if d.checkDescriptors(context.Background()); limit.Cur < 1<<20 && d.checks[0].Grade != bad {
		t.Errorf("%+v", d.checks)
	}
	d.status.Limits.MaxWorkers, d.status.Queue.Limit = 1, 1
	if d.checkDescriptors(context.Background()); d.checks[1].Grade != good {
		t.Errorf("%+v", d.checks)
	}
}

// 64 workers with 8 each, 64 connections that wait and 4*64+64 that are parked;
// in a reload another 64 workers.
func TestDescriptorsAreJudgedByWhatAFullPoolHas(t *testing.T) {
	for limit, want := range map[string]grade{"640": bad, "959": bad, "960": notable, "1471": notable, "1472": good} {
		cmd := exec.Command("/bin/sh", "-c", "ulimit -n "+limit+" && echo && exec cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		d := &doctor{name: "wiki", status: &control.Status{PID: cmd.Process.Pid}}
		d.status.Queue.Listeners = []control.Listener{{Address: "/run/x"}}
		d.status.Limits.MaxWorkers, d.status.Queue.Limit = 64, 64
		d.checkDescriptors(context.Background())
		if k := d.checks[0]; k.Grade != want || !strings.Contains(k.Text, "may open "+limit+" files and needs up to 960, in a reload up to 1472") ||
			(want == good) != (k.Hint == "") || want != good && !strings.Contains(k.Hint, "LimitNOFILE=2944 in scgid@wiki.service") {
			t.Errorf("%+v, want %v", k, want)
		}
		in.Close()
		cmd.Wait()
	}
}

func TestUnitsAreJudgedByTheirState(t *testing.T) {
	text := "Id=scgid@wiki.socket\nLoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n" +
		"Listen=/run/scgid/wiki.sock (Stream)\nListen=127.0.0.1:4000 (Stream)\n\n" +
		"Id=scgid@wiki.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nNRestarts=7\n\n" +
		"Id=other.service\nLoadState=not-found\nActiveState=inactive\n"
	d := &doctor{name: "wiki", units: parseUnits(text)}
	if got := d.addresses(); !slices.Equal(got, []string{"/run/scgid/wiki.sock", "127.0.0.1:4000"}) {
		t.Errorf("addresses %v", got)
	}
	d.checkUnits(context.Background())
	if len(d.checks) != 2 || d.checks[0].Grade != good || d.checks[1].Grade != bad ||
		!strings.Contains(d.checks[1].Text, "restarted 7 times: exit-code") {
		t.Errorf("%+v", d.checks)
	}
}

// A process keeps the groups that it was started with.
func TestDoctorFindsAWebServerThatHasYetToLearnOfItsGroup(t *testing.T) {
	needsRoot(t)
	path := filepath.Join(openDir(t), "x")
	if err := errors.Join(os.WriteFile(path, nil, 0o660), os.Chmod(path, 0o660), os.Chown(path, 0, 64002)); err != nil {
		t.Fatal(err)
	}
	web := &account{Name: "web", UID: 64001, GID: 64001, Groups: []uint32{64001, 64002}}
	run := func(groups ...uint32) *exec.Cmd {
		cmd := exec.Command("/bin/sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: web.UID, Gid: web.GID, Groups: groups}}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd
	}
	run(64001, 64002)
	if pid, _ := web.stale(path); pid != 0 {
		t.Errorf("process %d is said to lack the group", pid)
	}
	old := run(64001)
	if pid, comm := web.stale(path); pid != old.Process.Pid || comm != "sleep" {
		t.Errorf("found %d (%s), want %d", pid, comm, old.Process.Pid)
	}
}
