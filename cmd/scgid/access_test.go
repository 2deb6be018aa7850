package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// orders is what a worker of the tests does besides answering: a request of
// /order/SOCKET has it try every verb on that control socket, as an
// application does that somebody has broken into.
func orders(uri string) (answer string, ok bool) {
	socket, ok := strings.CutPrefix(uri, "/order")
	if !ok {
		return "", false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := api.NewClient(socket)
	var b strings.Builder
	for _, v := range control.Verbs() {
		args := map[string]any{}
		for _, a := range v.Args {
			switch {
			case a.Name == "max_workers":
				args[a.Name] = 7
			case a.Name == "level":
				args[a.Name] = "debug"
			case a.Required:
				args[a.Name] = 1
			}
		}
		err := c.Call(ctx, v.Name, args, nil)
		code := "done"
		if err != nil {
			code = control.AsError(err).Code
		}
		fmt.Fprintf(&b, "%s %s\n", v.Name, code)
	}
	return b.String(), true
}

// roomFor makes a directory of the user's own, and beside it the test binary, for
// the user to execute.
func roomFor(t *testing.T, uid uint32) (own, exe string) {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own = filepath.Join(dir, fmt.Sprint("pool-", uid))
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(own, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	exe = filepath.Join(dir, "scgid.test")
	if err := os.Link(self(t), exe); err != nil {
		data, err := os.ReadFile(self(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(exe, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return own, exe
}

// asUser runs the next server as an ordinary user in the way a system
// instance does: a pool with a file. lines go into [Pool].
func asUser(t *testing.T, uid uint32, lines ...string) (*server, *api.Client) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	own, exe := roomFor(t, uid)
	socket := filepath.Join(own, "control.sock")
	conf := fmt.Sprintf("[Pool]\nListen=%s/s\nMaxWorkers=2\n%s\n[Worker]\nExecStart=%s\nEnvironment=%s=%s/journal\n[Control]\nSocket=%s\nBus=off\n",
		own, strings.Join(lines, "\n"), exe, beWorker, own, socket)
	file := filepath.Join(own, "test.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: own + "/s", journal: own + "/journal", log: &logBuffer{}, exited: make(chan error, 1)}
	s.begin([]string{"PATH=/usr/bin:/bin", beScgid + "=1"}, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}},
		exe, "serve", "--config", file)
	return s, api.NewClient(socket)
}

// What each may do is decided by who it is, not by where it comes from.
func TestAProgramOfAWorkerMayOnlyLook(t *testing.T) {
	s, c := asUser(t, 1)
	sibling, _ := asUser(t, 1)
	stranger, _ := asUser(t, 2)
	for _, from := range []struct {
		who    string
		server *server
		reads  string
	}{{"a worker of the pool", s, "done"}, {"a worker of a sibling with the same user", sibling, "done"}, {"a worker of another user's pool", stranger, control.CodeDenied}} {
		text, err := exchange(from.server.addr, "/order"+c.Socket())
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ = strings.Cut(text, "\r\n\r\n")
		tried := 0
		for line := range strings.Lines(text) {
			name, code, _ := strings.Cut(strings.TrimSpace(line), " ")
			want := control.CodeDenied
			if v := control.FindVerb(name); v.Level == control.LevelRead {
				want = from.reads
			}
			if name == "status" {
				want = "done" // at least name and state
			}
			tried++
			if code != want {
				t.Errorf("%s tries %s: %s, want %s", from.who, name, code, want)
			}
		}
		if tried != len(control.Verbs()) {
			t.Errorf("%s tried %d of %d verbs:\n%s", from.who, tried, len(control.Verbs()), text)
		}
	}
	st := s.status(c) // root may
	if st.Limits.MaxWorkers != 2 || st.State != control.Running {
		t.Errorf("the pool was steered: %+v", st)
	}
}
