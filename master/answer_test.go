package master

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func openIs(n int) func(*loop) bool { return func(l *loop) bool { return l.conns.open == n } }

// loopUntil asks the loop until cond holds.
func (r *rig) loopUntil(what string, cond func(*loop) bool) {
	r.t.Helper()
	r.until(what, func(control.Status, Counters) (ok bool) {
		r.inLoop(func(l *loop) { ok = cond(l) })
		return ok
	})
}

// A bare close would reset the connection, and the reply with it.
func TestARefusalReachesAClientThatIsStillSending(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		c := r.dial()
		c.Write(append([]byte("hello"), make([]byte, 20<<10)...))
		r.loopUntil("answered", func(l *loop) bool { return l.conns.ending.len == 1 })
		if _, err := c.Write(make([]byte, 20<<10)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, replies[400]) {
			t.Errorf("got %q, %v", got, err)
		}
		c.Close()
		r.loopUntil("closed", openIs(0))
	})
}

func TestLingeringEndsAfterSomeBytes(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		c := r.dial()
		c.Write([]byte("hello"))
		r.loopUntil("answered", func(l *loop) bool { return l.conns.ending.len == 1 })
		sent := 0
		for sent < 64<<20 {
			n, err := c.Write(make([]byte, 16<<10))
			sent += n
			if err != nil {
				break
			}
		}
		if sent >= 64<<20 {
			t.Error("it drains without end")
		}
		r.loopUntil("closed", openIs(0))
	})
}

func TestLingeringEndsAfterSomeTime(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		c := r.dial()
		c.Write([]byte("hello"))
		r.loopUntil("answered", func(l *loop) bool { return l.conns.ending.len == 1 })
		r.skip(drainTime - time.Second)
		r.loopUntil("still there", func(l *loop) bool { return l.conns.ending.len == 1 })
		r.skip(time.Second)
		r.loopUntil("closed", openIs(0))
	})
}

func TestLingeringConnectionsAreBounded(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", noWorkers)
	var all []net.Conn
	for range drainAtOnce + 20 {
		c := r.dial()
		c.Write([]byte("hello"))
		all = append(all, c)
	}
	r.until("all are answered", func(_ control.Status, c Counters) bool { return c.Malformed == drainAtOnce+20 })
	r.inLoop(func(l *loop) {
		if l.conns.open != drainAtOnce || l.conns.ending.len != drainAtOnce {
			t.Errorf("%d open, %d ending", l.conns.open, l.conns.ending.len)
		}
	})
	for _, c := range all {
		r.want(c, "400 Bad Request")
	}
}
