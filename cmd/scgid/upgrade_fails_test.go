package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

func TestAProgramThatCannotTakeOverLeavesTheOldOneServing(t *testing.T) {
	u := startUpgradable(t, nil, eightWorkers...)
	pids := u.allReady(8)
	for name := range builds {
		scgidBuild(t, name) // not under load
	}
	l := startTraffic(u.addr, 32)
	first := u.now()
	for _, c := range []struct{ name, want string }{
		{"exits 1", "cannot take over: exited with status 1: not today"},
		{"is no program", "exec format error"},
		{"other", `version "one" wrote it in format "2", this program reads format "other"`},
		{"error", "the new program could not continue: this build is broken"},
		{"panic", "the new program could not continue: panic: this build is broken"},
		{"hang", "the new program could not continue: it did not continue within"},
	} {
		executed := false
		switch c.name {
		case "exits 1":
			u.write([]byte("#!/bin/sh\necho not today >&2\nexit 1\n"))
		case "is no program":
			u.write([]byte("junk"))
		default:
			u.install(c.name)
			executed = c.name != "other"
		}
		op, answer := u.upgrade()
		if op.State != control.OpFailed || !strings.Contains(op.Error, c.want) {
			t.Errorf("%s: %+v, want %q", c.name, op, c.want)
		}
		if e := control.AsError(answer); !executed && (answer == nil || !strings.Contains(e.Text, c.want)) {
			t.Errorf("%s: the call returned %v, want %q", c.name, answer, c.want)
		}
		u.until("the log says why", func() bool { return strings.Contains(u.log.String(), c.want) })
		st := u.now()
		if st.Build != first.Build || st.Version != "one" || st.PID != first.PID || !st.Since.Equal(first.Since) || st.Starts != first.Starts {
			t.Errorf("%s: after it\n%+v\nbefore\n%+v", c.name, st, first)
		}
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", st.PID)); string(comm) != "scgid\n" {
			t.Errorf("%s: the process is called %q", c.name, comm)
		}
	}
	// The path is still the one of the beginning, and the next one is good.
	u.install("two")
	if op, answer := u.upgrade(); op.State != control.OpDone || u.now().Version != "two" {
		t.Errorf("%+v, %v", op, answer)
	}
	if now := u.allReady(8); !slices.Equal(now, pids) {
		t.Errorf("workers %v, were %v", now, pids)
	}
	l.judge(t, l.end(t, u.journal))
	for key, why := range l.failed {
		t.Errorf("%s failed: %s", key, why)
	}
	u.stop()
}

// Signals are ignored for the moment of execve, and heard again if it fails.
func TestSignalsAreHeardAfterAProgramThatCouldNotBeExecuted(t *testing.T) {
	u := startUpgradable(t, nil)
	u.write([]byte("#!/bin/sh\nchmod -x \"$0\"\necho STATE=good\n"))
	if op, answer := u.upgrade(); op.State != control.OpFailed || answer == nil || !strings.Contains(op.Error, "cannot execute the new program") {
		t.Errorf("%+v, %v", op, answer)
	}
	if text, err := exchange(u.addr, "/x"); err != nil || !strings.HasSuffix(text, "/x") {
		t.Errorf("%q %v", text, err)
	}
	u.stop()
}

// A program that writes where nobody reads gets SIGPIPE, and so may we.
func TestSIGPIPEAtAnyMomentOfAnUpgradeIsNothing(t *testing.T) {
	u := startUpgradable(t, nil)
	for _, name := range []string{"one", "two", "error"} {
		scgidBuild(t, name)
	}
	end := u.throw(unix.SIGPIPE, 50*time.Microsecond)
	for i, name := range []string{"two", "one", "error", "two", "one", "error", "two", "one"} {
		u.install(name)
		want := control.OpDone
		if name == "error" {
			want = control.OpFailed
		}
		if op, answer := u.upgrade(); op.State != want {
			t.Fatalf("upgrade %d: %+v, %v", i+1, op, answer)
		}
	}
	end()
	u.stop()
}

func TestAPoolThatServesHTTPItselfIsNotUpgraded(t *testing.T) {
	u := startUpgradable(t, nil, "--http", "127.0.0.1:0")
	op, answer := u.upgrade()
	if op.State != control.OpFailed || answer == nil || !strings.Contains(answer.Error(), "--http") {
		t.Errorf("%+v, %v", op, answer)
	}
	u.stop()
}
