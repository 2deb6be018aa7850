package main

import (
	"os"
	"strings"
	"testing"

	"github.com/scgid/scgid/control/api"
)

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
