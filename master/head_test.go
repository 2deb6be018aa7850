package master

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// noWorkers makes a pool that starts one only for a request.
func noWorkers(s *Settings) { s.Limits = control.Limits{MaxWorkers: 4, MaxIdle: 4} }

func parkedIs(n int) func(control.Status, Counters) bool {
	return func(s control.Status, _ Counters) bool { return s.Queue.Parked == n }
}

func TestAHeaderMayBeSplitAnywhere(t *testing.T) {
	both(t, "plain", nil, func(t *testing.T, r *rig) {
		b := request("/worker")
		if len(b) < 50 || len(b) > 80 {
			t.Fatalf("the header has %d bytes", len(b))
		}
		for i := 1; i < len(b); i++ {
			c := r.dial()
			c.Write(b[:i])
			r.until("parked", parkedIs(1))
			c.Write(b[i:])
			r.want(c, "200 OK")
		}
	})
}

func TestAHeaderMayComeByteByByte(t *testing.T) {
	both(t, "plain", nil, func(t *testing.T, r *rig) {
		c := r.dial()
		for i, b := range request("/worker") {
			c.Write([]byte{b})
			if i == 0 {
				r.until("parked", parkedIs(1))
			}
			r.counters() // the loop has had a turn for this byte
		}
		r.want(c, "200 OK")
	})
}

func TestALongHeaderIsServedWholeAndInPieces(t *testing.T) {
	both(t, "plain", nil, func(t *testing.T, r *rig) {
		for _, n := range []int{firstPeek - 100, firstPeek, 5 << 10, 63 << 10} {
			b := append(request("/length=X/body", "X", strings.Repeat("x", n), "CONTENT_LENGTH", "5"), "hello"...)
			c := r.dial()
			c.Write(b)
			want := fmt.Sprint(n, "5 <nil>")
			if got := r.want(c, "200 OK"); got != want {
				t.Errorf("%d whole: got %q", n, got)
			}
			c = r.dial()
			c.Write(b[:n/2])
			r.until("parked", parkedIs(1))
			c.Write(b[n/2:])
			if got := r.want(c, "200 OK"); got != want {
				t.Errorf("%d in pieces: got %q", n, got)
			}
		}
	})
}

func TestABadRequestIsAnsweredWithoutAWorker(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		for _, tt := range []struct{ sent, status string }{
			{"hello", "400 Bad Request"},
			{"+5:hello,", "400 Bad Request"},
			{"0:,", "400 Bad Request"},
			{"17:CONTENT_LENGTH\x000\x00;", "400 Bad Request"},
			{"24:REQUEST_METHOD\x00GET\x00SCGI\x00,", "400 Bad Request"},
			{"18:CONTENT_LENGTH\x00-1\x00,", "411 Length Required"},
			{"70000:", "431 Request Header Fields Too Large"},
			{"70000:CONTENT_LENGTH", "431 Request Header Fields Too Large"},
		} {
			c := r.dial()
			c.Write([]byte(tt.sent))
			if got, body, err := answer(c); got != tt.status || body == "" || err != nil {
				t.Errorf("%q: %q %q %v", tt.sent, got, body, err)
			}
			c.Close()
		}
		r.until("counted", func(s control.Status, c Counters) bool {
			return c.Malformed == 6 && c.TooLarge == 2 && s.Requests.Bad == 8
		})
		if n := r.counters().Starts; n != 0 {
			t.Errorf("%d workers were started", n)
		}
		if strings.Contains(r.log.String(), "level=ERROR") {
			t.Error("logged as an error")
		}
	})
}

func TestClosingWithoutABytesIsNoError(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		r.dial().Close()
		late := r.dial()
		r.until("parked", parkedIs(1))
		late.Close()
		r.until("counted", func(_ control.Status, c Counters) bool { return c.Empty == 2 })
		log := r.stopped()
		if log.Malformed != 0 || log.Starts != 0 {
			t.Errorf("%+v", log)
		}
		if text := r.log.String(); strings.Contains(text, "level=ERROR") || strings.Contains(text, "level=WARN") {
			t.Error("logged as more than information")
		}
	})
}

func TestASlowHeaderIsTimedOut(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		silent, slow := r.dial(), r.dial()
		slow.Write(request("/")[:20])
		r.until("parked", parkedIs(2))
		r.skip(r.loop.set().HeaderTimeout)
		for _, c := range []net.Conn{silent, slow} {
			r.want(c, "408 Request Timeout")
		}
		if c := r.counters(); c.Timeouts != 2 || c.Starts != 0 {
			t.Errorf("%+v", c)
		}
	})
}

type halfCloser interface{ CloseWrite() error }

func TestAHalfCloseInTheHeaderIsAnswered400(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		for _, n := range []int{1, 20} {
			// Before the loop looks, and after.
			let := r.holdIntake()
			c := r.dial()
			c.Write(request("/")[:n])
			c.(halfCloser).CloseWrite()
			let()
			r.want(c, "400 Bad Request")
			c = r.dial()
			c.Write(request("/")[:n])
			r.until("parked", parkedIs(1))
			c.(halfCloser).CloseWrite()
			r.want(c, "400 Bad Request")
		}
	})
}

func TestAHalfCloseAfterTheHeaderIsServed(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		b := request("/worker")
		c := r.dial()
		c.Write(b[:10])
		r.until("parked", parkedIs(1))
		c.Write(b[10:])
		c.(halfCloser).CloseWrite()
		r.want(c, "200 OK")
	})
}

// A level-triggered registration would bring the loop round all the time.
func TestAPartOfAHeaderCostsNothingWhileItWaits(t *testing.T) {
	if !alone(t, nil) {
		return
	}
	r := begin(t, "plain", noWorkers)
	r.dial().Write([]byte("7"))
	more := r.dial()
	for _, piece := range []string{"70:CONTENT", "_LENGTH", "\x000\x00"} {
		more.Write([]byte(piece))
		r.until("parked", parkedIs(2))
		r.counters()
	}
	r.until("seen", func(control.Status, Counters) bool {
		watch := uint8(0)
		r.inLoop(func(l *loop) { watch = l.conns.parked.last.of.watch })
		return watch == watchedEdge
	})
	r.until("said", func(control.Status, Counters) bool {
		clean := false
		r.inLoop(func(l *loop) { clean = l.statusDue() == 0 })
		return clean
	})
	before := cpu(t)
	time.Sleep(500 * time.Millisecond) // the window that is measured
	if used := cpu(t) - before; used > 100*time.Millisecond {
		t.Errorf("used %v of CPU in half a second", used)
	}
}

func TestParkedConnectionsAreBounded(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	const bound = 4*1 + 64
	var all []net.Conn
	for range bound + 3 {
		c := r.dial()
		c.Write([]byte("7"))
		all = append(all, c)
	}
	r.until("all are accepted", func(s control.Status, c Counters) bool { return c.Accepted == bound+3 })
	if n := r.now().Queue.Parked; n != bound {
		t.Errorf("%d are parked, want %d", n, bound)
	}
	for _, c := range all[:3] {
		r.want(c, "408 Request Timeout")
	}
	if got := r.counters().Timeouts; got != 3 {
		t.Errorf("%d timeouts", got)
	}
}

// Decided so: each write has its true size in the kernel, so single bytes fill
// the socket before a real header is whole.
func TestAUnixClientOfSingleBytesTimesOut(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", noWorkers)
	c := r.dial().(*net.UnixConn)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := request("/", "X", strings.Repeat("x", 4000))
	sent := 0
	raw.Control(func(fd uintptr) {
		for unix.Sendto(int(fd), b[sent:sent+1], unix.MSG_DONTWAIT, nil) == nil {
			sent++
		}
	})
	if sent == len(b) {
		t.Fatal("it took all of it")
	}
	r.until("parked", parkedIs(1))
	r.skip(r.loop.set().HeaderTimeout)
	r.want(c, "408 Request Timeout")
}

func TestDescriptorsOfAClientReachNobody(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", nil)
	r.idle(1)
	for _, tt := range []struct {
		first  int
		status string
	}{
		{1000, "200 OK"},
		// The kernel peeks no further than what brought descriptors, so the
		// rest of this header is never seen.
		{30, "408 Request Timeout"},
	} {
		theirs, ours, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.loopUntil("the one before is closed", openIs(0))
		let := r.holdIntake()
		c := r.dial().(*net.UnixConn)
		b := request("/fifo", "FIFO", r.dir+"/fifo") // not there: no wait
		first := min(tt.first, len(b))
		before := openFDs(t)
		if _, _, err := c.WriteMsgUnix(b[:first], unix.UnixRights(int(ours.Fd()), int(ours.Fd())), nil); err != nil {
			t.Fatal(err)
		}
		let()
		if first < len(b) {
			r.until("parked", parkedIs(1))
			if got := openFDs(t); got != before+1 {
				t.Errorf("%d descriptors, %d before", got, before)
			}
			c.Write(b[first:])
			r.counters()
			r.skip(r.loop.set().HeaderTimeout)
		}
		r.want(c, tt.status)
		ours.Close()
		theirs.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("somebody has the pipe: %v", err)
		}
		theirs.Close()
	}
}
