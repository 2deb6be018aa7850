package master

import (
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func TestAWorkerThatBreaksTheProtocolIsKilledAndOthersGoOn(t *testing.T) {
	for _, tt := range []struct{ kind, reason string }{
		{"empty", "an empty packet"},
		{"garbage", "is not KEY=VALUE"},
		{"large", "a packet longer than the protocol allows"},
		{"descriptors", "it sent descriptors or credentials"},
		{"flood", "it floods the link"},
		{"unknown", "DONE for a connection that it does not hold"},
		{"readytwice", "READY a second time"},
		{"extend", "EXTEND for a connection that it does not hold"},
		{"donetwice", "DONE for a connection that it does not hold"},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			checkFDs(t)
			r, listeners := newRig(t, 1)
			set := settings("once@" + r.dir + "@" + tt.kind)
			fixed(2)(&set)
			r.start(set, listeners...)
			// Until the bad one has been used, if it wants to be.
			r.until("killed", func(_ control.Status, c Counters) bool {
				r.get("/")
				return c.Killed == 1
			})
			r.logs("killing a worker: protocol violation: ")
			r.logs(tt.reason)
			r.idle(2)
			if c := r.counters(); c.Violations != 1 || c.Killed != 1 || c.Lost+c.Refused != 0 {
				t.Errorf("%+v", c)
			}
			if got := r.now().Exits["killed"]; got != 1 {
				t.Errorf("exits by reason: %v", r.now().Exits)
			}
		})
	}
}

// It can say DONE no more, so it gets nothing, and may not stay.
func TestAWorkerThatShutsItsSideOfTheLinkHasToLeave(t *testing.T) {
	checkFDs(t)
	r, odd, _ := beginOnce(t, "shut")
	held := r.send("/")
	r.loopUntil("found", func(l *loop) bool { return l.workers.in[leaving] == 1 })
	r.get("/") // by another
	r.skip(r.loop.set().StopTimeout)
	r.logs("worker does not leave, sending SIGTERM")
	r.inLoop(func(l *loop) { l.set().QueueTimeout = time.Hour })
	r.skip(termFor)
	r.want(held, "200 OK") // nobody had read it
	if state := processState(odd.pid); state != "" && state != "Z" {
		t.Errorf("it is in state %s", state)
	}
	if c := r.counters(); c.Killed != 1 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAWorkerThatIsNotReadyInTimeIsKilled(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	set := settings("once@" + r.dir + "@mute")
	oneWorker(&set)
	r.start(set, listeners...)
	r.file(r.dir + "/first")
	r.loopUntil("started", func(l *loop) bool { return l.reaper.inFlight == 0 })
	r.skip(r.loop.set().StartTimeout)
	r.get("/")
	r.logs("it was not ready within StartTimeoutSec=20s")
	if c := r.counters(); c.StartsFailed != 1 || c.Killed != 1 || c.Violations != 0 {
		t.Errorf("%+v", c)
	}
}

func TestTextOfWorkersReachesTheLogHarmless(t *testing.T) {
	checkFDs(t)
	r := begin(t, "fail", nil)
	r.logs("no module named")
	text := r.log.String()
	if !strings.Contains(text, "no module named ?[31mapp") {
		t.Error("the reason is not in the log as it should be")
	}
	if strings.Contains(text, "\x1b") || strings.Contains(text, `\x1b`) {
		t.Error("an escape character is in the log")
	}
}
