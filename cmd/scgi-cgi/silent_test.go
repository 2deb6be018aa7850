package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSilentClientsGet408(t *testing.T) {
	t.Setenv(silently, "50ms")
	mark := filepath.Join(t.TempDir(), "ran")
	path := install(t, t.TempDir(), "mark.sh", "#!/bin/sh\ntouch "+mark+"\nprintf 'Content-Type: text/plain\\n\\nhi'\n")
	m := startWorker(t, path)
	head := requestHeader(t, 5, "REQUEST_METHOD=POST")
	for text, log := range map[string]string{
		string(head[:10]):    "the request's header did not come in time",
		string(head) + "abc": "the request's body did not come in time",
	} {
		c, done := m.connect()
		_, err := c.Write([]byte(text))
		must(t, err)
		b, err := io.ReadAll(c)
		must(t, err)
		if r := readReply(t, b); r.code != 408 {
			t.Errorf("%q: got %+v", text, r)
		}
		c.Close()
		if msg := m.await(done); msg.Code != 408 {
			t.Errorf("%q: CODE=%d", text, msg.Code)
		}
		m.wantLog(log)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a program was started for a request that did not come whole")
	}
}

// A program runs, and has begun its reply, when its client falls silent. It is
// let alone as long as something comes.
func TestSilenceDuringUploadEndsProgram(t *testing.T) {
	const wait = time.Second
	t.Setenv(silently, wait.String())
	dir := t.TempDir()
	said := filepath.Join(dir, "said")
	path := install(t, dir, "family.sh", fmt.Sprintf(familyText,
		"printf 'Content-Type: text/plain\\n\\n'\nsleep 1000 &\nprintf 'X: y\\r\\n\\r\\n%s %s.\\n' $$ $! >"+said+".new; mv "+said+".new "+said+"; wait"))
	m := startWorker(t, path)
	c, done := m.connect()
	_, err := c.Write(requestHeader(t, 1<<20, "REQUEST_METHOD=POST"))
	must(t, err)
	begin := time.Now()
	if !eventually(func() bool {
		_, err := c.Write([]byte("x"))
		must(t, err)
		_, err = os.Stat(said)
		return err == nil && time.Since(begin) > 2*wait
	}) {
		t.Fatalf("the program does not run; log:\n%s", m.stderr)
	}
	f, err := os.Open(said)
	must(t, err)
	defer f.Close()
	pids := readPids(t, f)
	// Longer than wait since the beginning, but not since the last byte.
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("it was not let alone while something came: %v; log:\n%s", err, m.stderr)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, b); r.code != 408 {
		t.Errorf("got %+v", r)
	}
	c.Close()
	gone(t, pids...)
	m.await(done)
	m.wantLog("the request's body did not come in time, so ")
}

// A read that begins after stop would wait for silence if it set a deadline.
func TestStoppedBodyIsNotWaitedFor(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	c := &clientBody{conn: ours, body: ours, silence: patience}
	c.stop()
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Error("the read continues")
	}
}

// The reply of a program that did not want the rest of its body is a whole one.
func TestProgramMayLeaveTheBody(t *testing.T) {
	path := install(t, t.TempDir(), "enough.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nenough'\n")
	m := startWorker(t, path)
	c, done := m.connect()
	_, err := c.Write(append(requestHeader(t, 1<<20, "REQUEST_METHOD=POST"), "x"...))
	must(t, err)
	b, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, b); r.code != 200 || r.body != "enough" {
		t.Errorf("got %+v", r)
	}
	c.Close()
	m.await(done)
	m.wantNoLog()
}

// The master's SIGKILL does not reach the program's process group.
func TestKilledWorkerTakesItsProgramsAlong(t *testing.T) {
	path := install(t, t.TempDir(), "sleep.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\necho $$ $$.\nexec sleep 1000\n")
	m := startWorker(t, path)
	m.mayFail = true
	c, _ := m.connect()
	pids := family(t, c, "", 0)
	must(t, m.cmd.Process.Kill())
	if err := m.wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the worker ended with %v", err)
	}
	gone(t, pids...)
}
