package main

import (
	"bufio"
	"bytes"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

// told is what a progress wrote, with a clock that the test moves.
type told struct {
	*progress
	out   bytes.Buffer
	clock time.Time
}

func newTold(terminal bool) *told {
	x := &told{clock: time.Unix(1e9, 0)}
	s := &screen{Writer: bufio.NewWriter(&x.out), utf8: true, width: 30, terminal: terminal}
	x.progress = newProgress(s)
	x.now = func() time.Time { return x.clock }
	return x
}

func (x *told) step(after time.Duration, step string) {
	x.clock = x.clock.Add(after)
	x.receive(&control.Event{Kind: control.EventOperation, Operation: &control.Operation{Kind: control.OpReload, State: control.OpRunning, Step: step}})
}

func (x *told) want(t *testing.T, want string) {
	t.Helper()
	if got := x.out.String(); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	x.out.Reset()
}

func TestProgressIsAtMostOneLineASecond(t *testing.T) {
	t.Setenv("TERM", "xterm")
	x := newTold(false)
	x.step(0, "") // nothing to tell
	x.step(0, "starting worker 9")
	x.want(t, "reload: starting worker 9\n")
	for range 100 {
		x.step(5*time.Millisecond, "1 of 3 workers replaced")
	}
	x.want(t, "")
	if x.due() == nil {
		t.Error("nothing waits")
	}
	x.clock = x.clock.Add(time.Second / 2)
	x.show()
	x.want(t, "reload: 1 of 3 workers replaced\n")
	x.step(time.Minute, "1 of 3 workers replaced") // once is enough
	if x.due() != nil {
		t.Error("the same waits to be told again")
	}
	x.receive(&control.Event{Kind: control.EventOperation, Operation: &control.Operation{Kind: control.OpReload, State: control.OpRunning, Step: "0 of 2 workers replaced", Total: 2}})
	if x.due() != nil {
		t.Error("that nothing is done yet waits to be told")
	}
	x.receive(&control.Event{Kind: control.EventWorkerReady, Worker: 9})
	x.receive(&control.Event{Kind: control.EventOperation})
	x.receive(&control.Event{Kind: control.EventOperation, Operation: &control.Operation{Kind: control.OpReload, State: control.OpDone, Step: "x"}})
	x.step(time.Second, "\x1b[2J\n2 of 3")
	x.end()
	x.want(t, "reload: ?[2J?2 of 3\n")
}

func TestProgressOnATerminalIsOneLineThatGoesAway(t *testing.T) {
	t.Setenv("TERM", "xterm")
	x := newTold(true)
	x.end()
	x.want(t, "")
	x.step(0, "starting worker 9 of generation 2")
	x.want(t, "\rreload: starting worker 9 of…\x1b[K")
	x.step(50*time.Millisecond, "too soon")
	x.step(50*time.Millisecond, "1 of 3 workers replaced")
	x.want(t, "\rreload: 1 of 3 workers repla…\x1b[K")
	x.end()
	x.want(t, "\r\x1b[K")

	t.Setenv("TERM", "dumb")
	x = newTold(true)
	x.step(0, "starting worker 9")
	x.end()
	x.want(t, "reload: starting worker 9\n")
}
