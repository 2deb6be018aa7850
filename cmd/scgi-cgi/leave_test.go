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

// family starts a request of a program with a child, and returns the pids of
// both once they run.
func family(t *testing.T, c io.ReadWriter, body string, length int) []int {
	t.Helper()
	_, err := c.Write(append(requestHeader(t, length, "REQUEST_METHOD=POST"), body...))
	must(t, err)
	return readPids(t, c)
}

// readPids reads the program's first lines: a header, then its pids.
func readPids(t *testing.T, c io.Reader) []int {
	t.Helper()
	var text []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(text), ".\n"); text = append(text, b[0]) {
		_, err := c.Read(b)
		must(t, err)
	}
	_, text2, _ := strings.Cut(string(text), "\r\n\r\n")
	pids := make([]int, 2)
	_, err := fmt.Sscanf(text2, "%d %d.\n", &pids[0], &pids[1])
	must(t, err)
	return pids
}

const familyText = "#!/bin/sh\n%s\nprintf 'Content-Type: text/plain\\n\\n'\nsleep 1000 &\necho $$ $!.\nwait\nwait\n"

func TestLeavingClientEndsProgramAndChildren(t *testing.T) {
	path := install(t, t.TempDir(), "family.sh", fmt.Sprintf(familyText, ""))
	m := startWorker(t, path)

	c, done := m.connect()
	pids := family(t, c, "", 0)
	c.Close()
	gone(t, pids...)
	m.await(done)

	tcp, done := m.connectTCP()
	pids = family(t, tcp, "", 0)
	tcp.SetLinger(0) // closes with a reset, as a close with unread data does
	tcp.Close()
	gone(t, pids...)
	m.await(done)
	m.wantLog("request 1: the client left")
	m.wantLog("request 2: the client left")

	if !eventually(func() bool { return children(m.cmd.Process.Pid) == 0 }) {
		t.Error("the worker has not reaped its children")
	}
}

func TestProgramThatIgnoresTERMIsKilled(t *testing.T) {
	path := install(t, t.TempDir(), "family.sh", fmt.Sprintf(familyText, "trap '' TERM"))
	m := startWorker(t, path)
	c, done := m.connect()
	pids := family(t, c, "", 0)
	c.Close()
	gone(t, pids...)
	m.await(done)
	if !eventually(func() bool { return children(m.cmd.Process.Pid) == 0 }) {
		t.Error("the worker has not reaped its children")
	}
}

// The program goes at once; its child stays until SIGKILL, and the group's
// number is kept for that.
func TestChildThatIgnoresTERMIsKilled(t *testing.T) {
	path := install(t, t.TempDir(), "family.sh", "#!/bin/sh\n"+
		"(trap '' TERM; printf 'Content-Type: text/plain\\n\\n'; exec sh -c 'echo '$$' $$.; while :; do sleep 1000; done') &\nwait\n")
	m := startWorker(t, path)
	c, done := m.connect()
	pids := family(t, c, "", 0)
	c.Close()
	gone(t, pids[0])
	m.await(done) // the slot is free before the child is gone
	gone(t, pids[1])
	if !eventually(func() bool { return children(m.cmd.Process.Pid) == 0 }) {
		t.Error("the worker has not reaped its children")
	}
}

// A client is missed also when it leaves while its body is on the way and the
// program reads nothing.
func TestLeavingDuringUploadEndsProgram(t *testing.T) {
	dir := t.TempDir()
	said := filepath.Join(dir, "said")
	// Its reply would wait for the whole body: so it tells its pids aside.
	path := install(t, dir, "family.sh", fmt.Sprintf(familyText,
		"sleep 1000 &\nprintf 'X: y\\r\\n\\r\\n%s %s.\\n' $$ $! >"+said+".new; mv "+said+".new "+said+"; wait"))
	m := startWorker(t, path)
	c, done := m.connect()
	_, err := c.Write(append(requestHeader(t, 2<<20, "REQUEST_METHOD=POST"), strings.Repeat("x", 1<<20)...))
	must(t, err)
	if !eventually(func() bool { _, err := os.Stat(said); return err == nil }) {
		t.Fatal("the program does not run")
	}
	f, err := os.Open(said)
	must(t, err)
	defer f.Close()
	pids := readPids(t, f)
	c.Close()
	gone(t, pids...)
	m.await(done)
}

// nginx stops sending a body once it has the header of the reply.
func TestReplyWaitsForTheWholeBody(t *testing.T) {
	dir := t.TempDir()
	path := install(t, dir, "early.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ntouch "+dir+"/wrote\nwc -c\n")
	m := startWorker(t, path)
	c, done := m.connect()
	const n = 1 << 20
	_, err := c.Write(append(requestHeader(t, n, "REQUEST_METHOD=POST"), strings.Repeat("x", n-1)...))
	must(t, err)
	if !eventually(func() bool { _, err := os.Stat(dir + "/wrote"); return err == nil }) {
		t.Fatal("the program does not run")
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the reply began before the body was whole: %d bytes, %v", n, err)
	}
	c.SetReadDeadline(time.Time{})
	_, err = c.Write([]byte("x"))
	must(t, err)
	b, err := io.ReadAll(c)
	must(t, err)
	if !strings.HasSuffix(string(b), fmt.Sprintf("%d\n", n)) {
		t.Errorf("got %q", b)
	}
	m.await(done)
}

// Without room for the body, a client that reads while it writes still gets
// through to a program that does both, and the log says what is wrong.
func TestWithoutRoomForTheBodyItFlowsThroughTheProgram(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	path := install(t, t.TempDir(), "cat.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nexec cat\n")
	m := startWorker(t, path)
	c, done := m.connect()
	body := strings.Repeat("x", 2<<20)
	go writeRequest(t, c, body)
	text, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, text); r.body != body {
		t.Errorf("got %d bytes", len(r.body))
	}
	c.Close()
	m.await(done)
	m.wantLog("no room to keep its body for the program: open")
}

// EPIPE while the reply is written.
func TestLeavingDuringReplyEndsProgram(t *testing.T) {
	path := install(t, t.TempDir(), "yes.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\necho $$ $$.\nexec yes\n")
	m := startWorker(t, path)
	for i, connect := range []func() (net.Conn, <-chan any){
		func() (net.Conn, <-chan any) { c, d := m.connect(); return c, relayed(d) },
		func() (net.Conn, <-chan any) { c, d := m.connectTCP(); return c, relayed(d) },
	} {
		c, done := connect()
		pids := family(t, c, "", 0)
		c.Close()
		gone(t, pids[0])
		<-done
		m.wantLog(fmt.Sprintf("request %d: the client left", i+1))
	}
}

func relayed[T any](in <-chan T) <-chan any {
	out := make(chan any, 1)
	go func() { out <- <-in }()
	return out
}

// A half-close does not mean that the client left: lighttpd passes on its
// client's.
func TestHalfCloseIsNotLeaving(t *testing.T) {
	path := install(t, t.TempDir(), "cat.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ncat\n")
	m := startWorker(t, path)
	c, done := m.connect()
	writeRequest(t, c, "hello", "REQUEST_METHOD=POST")
	must(t, c.CloseWrite())
	text, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, text); r.code != 200 || r.body != "hello" {
		t.Errorf("got %+v", r)
	}
	m.await(done)
}

func TestBodyThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	mark := t.TempDir() + "/whole"
	path := install(t, t.TempDir(), "eat.sh", "#!/bin/sh\ncat >/dev/null\necho whole >"+mark+"\nprintf 'Content-Type: text/plain\\n\\nthanks'\n")
	m := startWorker(t, path)
	for _, size := range []int{feedAtOnce, 1 << 20} {
		c, done := m.connect()
		_, err := c.Write(append(requestHeader(t, size, "REQUEST_METHOD=POST"), strings.Repeat("x", size-1)...))
		must(t, err)
		must(t, c.CloseWrite())
		text, err := io.ReadAll(c)
		must(t, err)
		if r := readReply(t, text); r.code != 400 {
			t.Errorf("%d bytes: got %+v", size, r)
		}
		m.await(done)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a program took a part of a body for the whole")
	}
	m.wantLog("the request's body broke off")
}

func TestBadRequestsGetAnAnswer(t *testing.T) {
	m := startWorker(t, "/bin/true")
	for text, code := range map[string]int{
		"5:hello,": 400,
		"2000000:": 431,
		"24:CONTENT_LENGTH\x000\x00SCGI\x002\x00,":  400,
		"25:CONTENT_LENGTH\x00-1\x00SCGI\x001\x00,": 411,
	} {
		c, done := m.connect()
		_, err := c.Write([]byte(text))
		must(t, err)
		must(t, c.CloseWrite())
		reply, err := io.ReadAll(c)
		must(t, err)
		if !strings.HasPrefix(string(reply), fmt.Sprintf("Status: %d ", code)) {
			t.Errorf("%q: got %q, want %d", text, reply, code)
		}
		m.await(done)
	}
	c, done := m.connect() // a health check
	c.Close()
	m.await(done)
	if log := m.endLog(); strings.Count(log, "\n") != 4 || strings.Contains(log, "request 5") {
		t.Errorf("a connection without a request made a line in the log:\n%s", log)
	}
}

// The end of the reply reaches the client although a duplicate of the
// connection is held; over TCP too.
func TestReplyEndsOverTCP(t *testing.T) {
	path := install(t, t.TempDir(), "big.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nhead -c 5000000 /dev/zero\n")
	m := startWorker(t, path)
	c, done := m.connectTCP()
	writeRequest(t, c, "")
	text, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, text); len(r.body) != 5000000 {
		t.Errorf("the body has %d bytes", len(r.body))
	}
	if msg := m.await(done); msg.Bytes != 5000000 {
		t.Errorf("the master was told %d bytes", msg.Bytes)
	}
}

// SIGTERM is for the children too: they get the time to end in order.
func TestChildrenGetTERM(t *testing.T) {
	said := fifo(t, "said")
	path := install(t, t.TempDir(), "family.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n"+
		"sh -c 'trap \"echo TERM >"+said+"; exit\" TERM; echo '$$' $$.; while :; do sleep 0.01; done' &\nwait\n")
	m := startWorker(t, path)
	c, done := m.connect()
	pids := family(t, c, "", 0)
	heard, err := os.OpenFile(said, os.O_RDWR, 0)
	must(t, err)
	defer heard.Close()
	c.Close()
	gone(t, pids...)
	m.await(done)
	must(t, heard.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 16)
	if n, err := heard.Read(b); string(b[:n]) != "TERM\n" {
		t.Errorf("the child said %q, %v", b[:n], err)
	}
}

// A program can leave its process group, and still ends with its client.
func TestAProgramOutsideOfItsGroupEndsWithItsClient(t *testing.T) {
	path := install(t, t.TempDir(), "away.pl", "#!/usr/bin/perl\nsetpgrp(0, getpgrp(getppid)); $SIG{TERM} = 'IGNORE'; $| = 1;\n"+
		"print \"Content-Type: text/plain\\n\\n$$ $$.\\n\"; sleep 1000;\n")
	m := startWorker(t, path)
	c, done := m.connect()
	pids := family(t, c, "", 0)
	c.Close()
	gone(t, pids[0])
	m.await(done)
}
