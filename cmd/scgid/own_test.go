package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// ownDir makes a directory of a user's own that others may look into.
func ownDir(t *testing.T, uid int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "own") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asOther runs a program as a user, from a place where all users can.
func asOther(t *testing.T, uid int, program string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// forAll copies a program to where all users can run it.
func forAll(t *testing.T, dir, program string) string {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, filepath.Base(program))
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// A pool that a user runs by hand is that user's, and nobody else's; one of
// the system is its user's to look at, unless OwnUser=full.
func TestAPoolOfAUsersOwnIsSteeredByThatUser(t *testing.T) {
	const own, other = 1, 2
	dir := ownDir(t, own)
	exe, scgictl := forAll(t, dir, self(t)), forAll(t, dir, build(t, "scgictl"))
	conf := filepath.Join(dir, "pool.conf")
	for _, tt := range []struct {
		what  string
		lines string   // of [Control]; "" is an ad hoc run
		args  []string // of scgid
		own   int      // exit status of scgictl
	}{
		{"an ad hoc run", "", []string{"run", "--name", "test", "--listen", dir + "/s", "--set", "Control.Socket=" + dir + "/c",
			"--set", "Worker.Environment=" + beWorker + "=" + dir + "/journal", "--", exe}, 0},
		{"a pool with a file", "OwnUser=read", []string{"serve", "--config", conf}, 4},
		{"a pool with OwnUser=full", "OwnUser=full", []string{"serve", "--config", conf}, 0},
	} {
		t.Run(strings.ReplaceAll(tt.what, " ", "-"), func(t *testing.T) {
			text := fmt.Sprintf("[Pool]\nListen=%s/s\n[Worker]\nExecStart=%s\nEnvironment=%s=%s/journal\n[Control]\nSocket=%s/c\nBus=off\n%s\n",
				dir, exe, beWorker, dir, dir, tt.lines)
			if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			s := &server{t: t, addr: dir + "/s", log: &logBuffer{}, exited: make(chan error, 1)}
			s.begin([]string{"PATH=/usr/bin:/bin", beScgid + "=1"}, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: own, Gid: own}}, exe, tt.args...)
			for uid, want := range map[int]int{own: tt.own, other: 4} {
				for _, args := range [][]string{{"scale", "--max", "3"}, {"pause"}, {"resume"}, {"log-level", "debug"}} {
					if out, got := asOther(t, uid, scgictl, append(args, "--socket", dir+"/c")...); got != want {
						t.Errorf("uid %d: %s: exit status %d, want %d: %s", uid, args[0], got, want, out)
					}
				}
			}
			for uid, want := range map[int]int{own: 0, other: 4} {
				if out, got := asOther(t, uid, scgictl, "workers", "--socket", dir+"/c"); got != want {
					t.Errorf("uid %d: workers: exit status %d, want %d: %s", uid, got, want, out)
				}
			}
			st := s.status(api.NewClient(dir + "/c"))
			if st.State != control.Running || st.Scaled != (tt.own == 0) {
				t.Errorf("afterwards: %+v", st)
			}
		})
	}
}

// A group whose members may change a pool must not have the pool's own user in
// it: its application could steer its server.
func TestAControlGroupOfThePoolsOwnUserIsRefusedAtTheStart(t *testing.T) {
	const own, more = 1, 4100
	dir := ownDir(t, own)
	exe := forAll(t, dir, self(t))
	for _, tt := range []struct {
		group   string
		refused string
	}{
		{fmt.Sprint(own), "[Control] Group=1: the pool's own user is a member, so its applications could steer it"},
		{fmt.Sprint(more), "[Control] Group=4100: the pool's own user is a member"},
		{"65534", "[Control] Group=65534: this group is everybody's"},
		{"no-such-group", "[Control] Group=no-such-group: there is no such group"},
	} {
		conf := filepath.Join(dir, "pool.conf")
		text := fmt.Sprintf("[Pool]\nListen=%s/s\n[Worker]\nExecStart=%s\n[Control]\nSocket=%s/c\nBus=off\nGroup=%s\n", dir, exe, dir, tt.group)
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "serve", "--config", conf)
		cmd.Env = []string{"PATH=/usr/bin:/bin", beScgid + "=1"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: own, Gid: own, Groups: []uint32{more}}}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), tt.refused) {
			t.Errorf("Group=%s: %v: %s", tt.group, err, out)
		}
		if _, err := os.Lstat(dir + "/c"); !os.IsNotExist(err) {
			t.Errorf("Group=%s: there is a control socket: %v", tt.group, err)
		}
	}
}
