package master

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// upgradeTo is a rig that can be upgraded to a shell script; $0 is its path. A
// script that says AnswerGood would be executed in the place of the tests: so
// none does without making that impossible.
func upgradeTo(t *testing.T, script string) (r *rig, muted *atomic.Int32) {
	t.Helper()
	r, listeners := newRig(t, 1)
	set := settings("plain")
	fixed(2)(&set)
	program := filepath.Join(r.dir, "next")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	muted = new(atomic.Int32)
	r.prepare = func(m *Master) {
		m.SetHandover(Handover{
			Program: program, Args: []string{program},
			Carry:    func() (json.RawMessage, []int, error) { return json.RawMessage("{}"), nil, nil },
			Fence:    func() { muted.Add(1) },
			Unfence:  func() { muted.Add(-1) },
			Check:    []string{"check"},
			CheckEnv: []string{"PATH=/usr/bin:/bin"},
		})
	}
	r.start(set, listeners...)
	r.idle(2)
	return r, muted
}

// inheritable lists descriptors that a child of ours would get.
func inheritable(t *testing.T) (all []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`flags:\s+([0-7]+)`)
	for _, e := range entries {
		text, _ := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		var n int
		if m := flags.FindSubmatch(text); m != nil {
			fmt.Sscanf(string(m[1]), "%o", &n)
			if n&unix.O_CLOEXEC == 0 {
				all = append(all, e.Name())
			}
		}
	}
	return all
}

func TestAProgramThatCannotTakeOverLeavesThisOneServing(t *testing.T) {
	replace := `cp "$0" "$0.new"; mv "$0.new" "$0"; echo ` + AnswerGood
	for name, c := range map[string]struct{ script, want string }{
		"ends with 1":      {"echo 'next: no such state' >&2; exit 1", "next cannot take over: exited with status 1: next: no such state"},
		"is killed":        {"kill -SEGV $$", "cannot take over: killed by SIGSEGV"},
		"says nothing":     {"exit 0", "it did not say so"},
		"writes much":      {"yes '\033[31mred' | head -c 1000000 >&2; exit 3", "exited with status 3: ?[31mred"},
		"leaves a child":   {"sleep 1000 & echo left; exit 4", "exited with status 4"},
		"is no program":    {"chmod -x \"$0\"; exit 5", "exited with status 5"},
		"is replaced":      {replace, "was replaced after it was tried"},
		"is not executed":  {"chmod -x \"$0\"; echo " + AnswerGood, "cannot execute the new program"},
		"sees the state":   {"[ -s /proc/self/fd/3 ] && [ ! -e /proc/self/fd/4 ] && exit 6", "status 6"},
		"has no variables": {"[ -z \"$HOME$NOTIFY_SOCKET\" ] && exit 7", "status 7"},
	} {
		t.Run(name, func(t *testing.T) {
			checkFDs(t)
			r, muted := upgradeTo(t, c.script)
			inherited, limit, kids := inheritable(t), fileLimit(t), len(children(t))
			before := r.workers()
			held, let := r.held("a")
			op, err := r.Upgrade(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && len(err.Error()) > 3*maxText*10 {
				t.Errorf("a reason of %d bytes", len(err.Error()))
			}
			got := r.now().Operation
			if got == nil || got.State != control.OpFailed || got.Error != err.Error() || got.Kind != control.OpUpgrade || got.ID != op.ID || got.Ended.IsZero() {
				t.Errorf("the operation is %+v", got)
			}
			let()
			r.want(held, "200 OK")
			r.get("/")
			if after := r.workers(); len(after) != 2 || after[0].pid != before[0].pid || after[1].pid != before[1].pid {
				t.Errorf("workers %+v, were %+v", after, before)
			}
			if now := inheritable(t); len(now) != len(inherited) {
				t.Errorf("descriptors %v would be inherited, before %v", now, inherited)
			}
			if now := fileLimit(t); now != limit {
				t.Errorf("the limit of open files is %+v, was %+v", now, limit)
			}
			if muted.Load() != 0 {
				t.Error("signals stay muted")
			}
			r.until("the child is reaped", func(s control.Status, _ Counters) bool { return len(children(t)) <= kids })
		})
	}
}

func fileLimit(t *testing.T) (l unix.Rlimit) {
	t.Helper()
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAnUpgradeThatIsNotPossibleSaysWhy(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	for _, c := range []struct {
		to   *Handover
		want string
	}{
		{nil, "does not know its own program"},
		{&Handover{Refuse: "it serves HTTP"}, "it serves HTTP"},
		{&Handover{Program: "/no/such/program"}, "no such file or directory"},
	} {
		r.handover = c.to
		if _, err := r.Upgrade(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestAStopEndsATryThatTakesLong(t *testing.T) {
	checkFDs(t)
	r, _ := upgradeTo(t, "echo $$ >\"$0.pid\"; mv \"$0.pid\" \"$0.here\"; exec sleep 1000")
	result := make(chan error, 1)
	go func() { _, err := r.Upgrade(context.Background()); result <- err }()
	r.file(filepath.Join(r.dir, "next.here"))
	r.Finish()
	if err := <-result; err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("got %v", err)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	pid := strings.TrimSpace(strings.Join(r.lines(filepath.Join(r.dir, "next.here")), ""))
	for ended := false; !ended; {
		text, err := os.ReadFile("/proc/" + pid + "/stat")
		_, rest, _ := strings.Cut(string(text), ") ")
		ended = err != nil || rest[0] == 'Z'
	}
}

// While the last step waits for a start that is under way, nobody else waits.
func TestRequestsAreServedWhileTheLastStepWaitsForAStart(t *testing.T) {
	checkFDs(t)
	r, muted := upgradeTo(t, "chmod -x \"$0\"; echo "+AnswerGood)
	result := make(chan error, 1)
	op := &operation{m: r.Master, ctx: t.Context()}
	r.inLoop(func(l *loop) { l.reaper.inFlight++ })
	program, err := identify(r.handover.Program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(r.handover.Program, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		result <- op.execute(&handover{Handover: r.handover, ops: r.ops, program: program, possible: make(chan struct{}, 1)})
	}()
	r.loopUntil("it is due", func(l *loop) bool { return l.op.handover != nil })
	r.get("/")
	if len(result) != 0 || muted.Load() != 0 {
		t.Error("it did not wait")
	}
	r.inLoop(func(l *loop) { l.reaper.inFlight-- })
	if err := <-result; err == nil || !strings.Contains(err.Error(), "cannot execute") {
		t.Errorf("got %v", err)
	}
	r.get("/")
}

// A stop may come just when the last step begins. Nobody would end the wait for it
// then, in which the loop starts no workers.
func TestAStopAtTheLastStepLeavesNoHandoverBehind(t *testing.T) {
	r := begin(t, "plain", oneWorker)
	r.idle(1)
	op := &operation{m: r.Master}
	op.ctx, op.cancel = context.WithCancel(t.Context())
	op.cancel()
	none := func() {}
	to := &Handover{Program: "/no/such/program", Fence: none, Unfence: none}
	if err := op.execute(&handover{Handover: to, ops: r.ops, possible: make(chan struct{}, 1)}); err == nil {
		t.Error("it has no error")
	}
	r.inLoop(func(l *loop) {
		if l.op.handover != nil {
			t.Error("it still waits")
		}
	})
}
