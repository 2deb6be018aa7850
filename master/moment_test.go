package master

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// A worker is killed at every moment of a request's life, alone and with many
// waiting behind it: what was read is lost and nothing else, and nothing is
// executed twice.
func TestAWorkerKilledAtAnyMomentCostsOnlyWhatItHadRead(t *testing.T) {
	for _, tt := range []struct {
		kind string
		got  string // what the client has in the end
		lost bool
	}{
		{"deaf", "", false}, // never receives
		{"hold", "", false}, // received
		{"readhalf", "", true},
		{"readhead", "", true},
		{"status", "Status: 200 OK\r\n", true},
		{"body", "Status: 200 OK\r\n\r\nabc", true},
	} {
		for _, queued := range []int{1, 200} {
			t.Run(fmt.Sprint(tt.kind, " ", queued), func(t *testing.T) {
				checkFDs(t)
				r, odd, held := beginOnce(t, tt.kind)
				r.inLoop(func(l *loop) { l.set().QueueMax = 300 })
				note := filepath.Join(r.dir, "note")
				first := r.send("/note", "NOTE", note, "KEY", "first.")
				if tt.kind != "deaf" {
					r.file(held)
				}
				var all []net.Conn
				for i := range queued {
					all = append(all, r.send("/note", "NOTE", note, "KEY", fmt.Sprint("k", i, ".")))
				}
				r.until("all wait", waitingIs(queued))
				r.signal(odd, unix.SIGKILL)
				for _, c := range all {
					r.want(c, "200 OK")
				}
				if tt.lost {
					// A close on bytes that nobody has read is a reset.
					if b, err := answerRaw(first); b != tt.got || err != nil && !errors.Is(err, unix.ECONNRESET) {
						t.Errorf("the first one's client got %q (%v), want %q", b, err, tt.got)
					}
				} else {
					r.want(first, "200 OK")
				}
				r.momentJudge(note, queued, tt.lost)
			})
		}
	}
}

// momentJudge holds the counters and the workers' notes against what should
// have become of the first request and those behind it.
func (r *rig) momentJudge(note string, queued int, lost bool) {
	r.t.Helper()
	times := 1
	if lost {
		times = 0
	}
	r.executed(note, "first.", times)
	for i := range queued {
		r.executed(note, fmt.Sprint("k", i, "."), 1)
	}
	r.until("counted", func(_ control.Status, c Counters) bool {
		return c.Served == uint64(queued+times) && c.Lost == uint64(1-times) && c.Retried == uint64(times) && c.Refused == 0
	})
}

// answerRaw is all that comes on a connection.
func answerRaw(c net.Conn) (string, error) {
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

// The body is a copy of the whole header, and all of it was there when the
// master looked: what is left after the worker has read the header has the
// right hash, and only its length tells.
func TestACopyOfTheHeaderInTheBodyIsNoUnreadRequest(t *testing.T) {
	checkFDs(t)
	r, odd, read := beginOnce(t, "readhead")
	note := filepath.Join(r.dir, "note")
	head := request("/note", "NOTE", note, "KEY", "a", "CONTENT_LENGTH", "200")
	if len(head) > 200 {
		head = request("/note", "NOTE", note, "KEY", "a", "CONTENT_LENGTH", "900")
	}
	c := r.dial()
	c.Write(append(append([]byte{}, head...), append(head, make([]byte, 1000-len(head))...)...))
	r.file(read)
	r.signal(odd, unix.SIGKILL)
	if status, _, _ := answer(c); status != "" {
		t.Errorf("got %q", status)
	}
	r.get("/")
	r.executed(note, "a", 0)
	if c := r.counters(); c.Lost != 1 || c.Retried != 0 {
		t.Errorf("%+v", c)
	}
}

// The client has all of it, and only the word to the master is missing: that
// is no loss.
func TestAReplyThatWasEndedIsServedThoughNobodySaysSo(t *testing.T) {
	checkFDs(t)
	r, odd, ended := beginOnce(t, "cutshort")
	c := r.send("/")
	r.file(ended)
	r.signal(odd, unix.SIGKILL)
	if b, err := answerRaw(c); b != "Status: 200 OK\r\n\r\nabc" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	r.until("counted", func(_ control.Status, c Counters) bool { return c.Served == 1 && c.Lost == 0 && c.Retried == 0 })
}

// Workers in plain languages read and write until they have it all. A worker
// that has made a connection non-blocking and died before it read has done so
// for the next one as well.
func TestConnectionsComeToWorkersBlocking(t *testing.T) {
	both(t, "plain", nil, func(t *testing.T, r *rig) {
		if got := r.get("/flags"); got != "blocking" {
			t.Errorf("it comes %s", got)
		}
	})
	t.Run("again", func(t *testing.T) {
		checkFDs(t)
		r, odd, held := beginOnce(t, "reset")
		c := r.send("/flags")
		r.file(held)
		r.signal(odd, unix.SIGKILL)
		if got := r.want(c, "200 OK"); got != "blocking" {
			t.Errorf("the second time it comes %s", got)
		}
	})
}

// A link holds a few hundred connections. A worker that promised to take more
// and receives none of them is killed, and others serve what it had.
func TestAWorkerWhoseLinkIsFullIsKilledAndOthersServe(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	set := settings("once@" + r.dir + "@deaf:4000")
	oneWorker(&set)
	set.QueueMax = 1000
	r.start(set, listeners...)
	r.idle(1)
	note := filepath.Join(r.dir, "note")
	var all []net.Conn
	for i := range 400 {
		all = append(all, r.send("/note", "NOTE", note, "KEY", fmt.Sprint("k", i, ".")))
	}
	r.logs("killing a worker: it does not receive: its link is full")
	for _, c := range all {
		r.want(c, "200 OK")
	}
	for i := range all {
		r.executed(note, fmt.Sprint("k", i, "."), 1)
	}
	if c := r.counters(); c.Killed != 1 || c.Served != 400 || c.Retried < 100 || c.Lost+c.Refused != 0 {
		t.Errorf("%+v", c)
	}
}

// What lies in a link comes back also when not one more descriptor can be
// opened: from a worker that is stopped, and from one that is dead.
func TestWhatWasNotReceivedComesBackWithoutDescriptors(t *testing.T) {
	if !alone(t, nil) {
		return
	}
	r := begin(t, "plain", fixed(2))
	r.idle(2)
	note := filepath.Join(r.dir, "note")
	stopped := r.next()
	r.signal(stopped, unix.SIGSTOP)
	one := r.send("/note", "NOTE", note, "KEY", "a.")
	r.until("it is passed", func(s control.Status, _ Counters) bool { return s.Workers.Busy == 1 })
	full := fillDescriptors(t)
	r.skip(2 * receiveWithin)
	r.want(one, "200 OK")
	full()

	other := r.hold(1)[0]
	two := r.send("/note", "NOTE", note, "KEY", "b.")
	r.until("it is passed, too", func(s control.Status, _ Counters) bool { return s.Workers.Busy == 2 })
	full = fillDescriptors(t)
	r.signal(stopped, unix.SIGKILL)
	r.until("it is back", func(_ control.Status, c Counters) bool { return c.Retried == 1 })
	full()
	r.letGo(other)
	r.want(two, "200 OK")
	r.executed(note, "a.", 1)
	r.executed(note, "b.", 1)
	if c := r.counters(); c.TakenBack != 1 || c.Retried != 1 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
}

// fillDescriptors keeps this process from opening one more descriptor until
// the function returned is called.
func fillDescriptors(t *testing.T) (empty func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := syscall.Rlimit{Cur: 0, Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
}

// A thousand clients come to a pool that has not one worker.
func TestAThousandConnectionsToAnEmptyPoolAreAllServed(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	set := settings("plain")
	noWorkers(&set)
	note := filepath.Join(r.dir, "note")
	r.start(set, listeners...)
	let := r.holdIntake()
	var all []net.Conn
	for range 1000 {
		all = append(all, r.send("/note", "NOTE", note, "KEY", "k"))
	}
	let()
	for _, c := range all {
		r.want(c, "200 OK")
	}
	if n := len(r.lines(note)); n != 1000 {
		t.Errorf("executed %d times", n)
	}
	r.until("the last DONE", func(_ control.Status, c Counters) bool { return c.Served+c.Lost+c.Refused == 1000 })
	if c := r.counters(); c.Served != 1000 || c.Lost+c.Refused != 0 || c.Starts > 4 {
		t.Errorf("%+v", c)
	}
}

// One that is ready and ends in error before it has served anybody is a start
// that failed: the next is put off.
func TestAWorkerThatIsReadyAndExitsAtOnceIsBackedOff(t *testing.T) {
	checkFDs(t)
	r := begin(t, "exitready", oneWorker)
	r.loopUntil("two starts have failed", func(l *loop) bool { return l.count.StartsFailed >= 2 })
	r.logs("exited with status 5 before it had served anybody")
	r.logs("next_try_in=200ms")
	r.inLoop(func(l *loop) {
		if l.backoff.Failures < 2 {
			t.Errorf("%d failures in a row", l.backoff.Failures)
		}
	})
	r.skip(time.Minute)
	r.loopUntil("tried again", func(l *loop) bool { return l.count.StartsFailed >= 3 })
}

// The header's length is known: what comes later is counted, and looked at only
// when it can be all. (Else one byte at a time would have all of a long header
// copied for each.)
func TestAPartOfAHeaderIsLookedAtOnce(t *testing.T) {
	both(t, "plain", noWorkers, func(t *testing.T, r *rig) {
		b := request("/length=X", "X", strings.Repeat("x", 5000))
		c := r.dial()
		c.Write(b[:100])
		r.loopUntil("it is watched", func(l *loop) bool {
			return l.conns.parked.len == 1 && l.conns.parked.first.of.watch != unwatched && l.conns.parked.first.of.Seen == 100
		})
		for i := 100; i < 2000; i += 100 {
			c.Write(b[i : i+100])
			r.counters() // a turn with this event
		}
		r.inLoop(func(l *loop) {
			if seen := l.conns.parked.first.of.Seen; seen != 100 {
				t.Errorf("looked at again when there were %d of %d bytes", seen, len(b))
			}
		})
		c.Write(b[2000:])
		if got := r.want(c, "200 OK"); got != "5000" {
			t.Errorf("got %q", got)
		}
	})
}
