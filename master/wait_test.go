package master

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

func TestAClientThatLeavesWhileItWaitsIsGivenToNobody(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { oneWorker(s); s.QueueMax = 10 })
	note := filepath.Join(r.dir, "note")
	h := r.hold(1)[0]
	gone := r.send("/note", "NOTE", note, "KEY", "gone")
	r.until("waits", waitingIs(1))
	gone.Close()
	stays := r.send("/note", "NOTE", note, "KEY", "stays")
	r.until("waits", waitingIs(2))
	r.skip(2 * patience) // before that nobody looks
	r.letGo(h)
	r.want(stays, "200 OK")
	if got := r.lines(note); !slices.Equal(got, []string{"stays"}) {
		t.Errorf("executed: %v", got)
	}
	if got := r.counters().ClientGone; got != 1 {
		t.Errorf("ClientGone = %d", got)
	}
}

// Half-closing is what some clients do when their request is sent.
func TestAClientThatHalfClosesWhileItWaitsIsServed(t *testing.T) {
	both(t, "plain", oneWorker, func(t *testing.T, r *rig) {
		h := r.hold(1)[0]
		c := r.send("/")
		r.until("waits", waitingIs(1))
		c.(halfCloser).CloseWrite()
		r.letGo(h)
		r.want(c, "200 OK")
	})
}

func TestWaitingEndsWithTheQueuesDeadline(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	h := r.hold(1)[0]
	c := r.send("/")
	r.until("waits", waitingIs(1))
	r.skip(r.loop.set().QueueTimeout - time.Second)
	r.until("still waits", waitingIs(1))
	r.skip(time.Second)
	b := make([]byte, 1000)
	n, err := c.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), "Status: 503 ") || !strings.Contains(string(b[:n]), "\r\nRetry-After: 5\r\n") {
		t.Errorf("got %q, %v", b[:n], err)
	}
	c.Close()
	if got := r.counters().Refused; got != 1 {
		t.Errorf("Refused = %d", got)
	}
	r.letGo(h)
}

// A slow header is no reason to have less time in the queue.
func TestTheQueuesDeadlineCountsFromTheWholeHeader(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	h := r.hold(1)[0]
	slow := r.dial()
	slow.Write(request("/")[:10])
	r.until("parked", parkedIs(1))
	r.skip(r.loop.set().HeaderTimeout - 2*time.Second)
	slow.Write(request("/")[10:])
	r.until("waits", waitingIs(1))
	r.skip(r.loop.set().QueueTimeout - 2*time.Second)
	r.counters()
	r.until("still waits", waitingIs(1))
	r.letGo(h)
	r.want(slow, "200 OK")
}

func TestWaitingRequestsAreServedInTheirOrder(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { oneWorker(s); s.QueueMax = 10 })
	note := filepath.Join(r.dir, "note")
	h := r.hold(1)[0]
	var all []net.Conn
	for i := range 6 {
		all = append(all, r.send("/note", "NOTE", note, "KEY", fmt.Sprint(i)))
		r.until("waits", waitingIs(i+1))
	}
	r.letGo(h)
	for _, c := range all {
		r.want(c, "200 OK")
	}
	if got := strings.Join(r.lines(note), ""); got != "012345" {
		t.Errorf("served in the order %s", got)
	}
}

// What comes back from a dead worker keeps its order, and goes before what
// came later.
func TestRequestsThatComeBackKeepTheirOrder(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	set := settings("once@" + r.dir + "@deaf:3")
	oneWorker(&set)
	set.QueueMax = 10
	r.start(set, listeners...)
	note := filepath.Join(r.dir, "note")
	r.idle(1)
	deaf := r.next()
	var all []net.Conn
	for i := range 6 {
		all = append(all, r.send("/note", "NOTE", note, "KEY", fmt.Sprint(i)))
		r.until("accepted", func(_ control.Status, c Counters) bool { return c.Accepted == uint64(i+1) })
	}
	r.signal(deaf, unix.SIGKILL)
	for _, c := range all {
		r.want(c, "200 OK")
	}
	if got := strings.Join(r.lines(note), ""); got != "012345" {
		t.Errorf("served in the order %s", got)
	}
	if got := r.counters().Retried; got != 3 {
		t.Errorf("Retried = %d", got)
	}
}
