package main

import (
	"os"
	"strings"
	"testing"

	"github.com/scgid/scgid/control/api"
)

// In another PID namespace a process has the number 0 for us, and so has the main
// process of a unit that does not run for systemd.
func TestAProcessWithoutANumberIsNotAMainProcess(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/systemctl", []byte("#!/bin/sh\necho 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	c := &ctl{root: t.TempDir()}
	tg := targetOf(api.Found{Name: "wiki", Socket: c.root + "/wiki/control.sock"})
	for uid, want := range map[uint32]string{0: "", 1000: "process 0 of uid 1000 answers for wiki, but scgid@wiki.service does not run"} {
		if text, _ := c.doubt(t.Context(), tg, api.Peer{UID: uid}); text != want {
			t.Errorf("uid %d: %q, want %q", uid, text, want)
		}
	}
}

// A pool that systemd does not run is believed only if nobody else may have put
// a socket where it is.
func TestASocketOfNoUnitIsOfTheOwnerOfItsDirectory(t *testing.T) {
	c := &ctl{root: t.TempDir(), socket: "/srv/x.sock"}
	tg := c.targetAt(c.socket)
	for _, tt := range []struct {
		uid, owner uint32
		doubt      string
	}{
		{0, 0, ""}, {0, 1000, ""}, {1000, 1000, ""},
		{1000, 0, "of uid 1000 answers for /srv/x.sock, but the directory of the socket belongs to uid 0"},
		{1000, 1001, "of uid 1000 answers for /srv/x.sock, but the directory of the socket belongs to uid 1001"},
	} {
		p := api.Peer{PID: os.Getpid(), UID: tt.uid, Dir: api.File{Owner: tt.owner}}
		text, hint := c.doubt(t.Context(), tg, p)
		if (text == "") != (tt.doubt == "") || !strings.HasSuffix(text, tt.doubt) || (hint == "") != (text == "") {
			t.Errorf("uid %d in a directory of %d: %q, %q", tt.uid, tt.owner, text, hint)
		}
	}
}
