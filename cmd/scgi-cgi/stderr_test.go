package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const hello = "\nprintf 'Content-Type: text/plain\\n\\nhi'\n"

func TestStderrComesLineByLineWithTheRequestsNumber(t *testing.T) {
	path := install(t, t.TempDir(), "grumble.sh", "#!/bin/sh\necho one >&2; printf 'two\\r\\n\\nthree' >&2"+hello)
	m := startWorker(t, path)
	for range 15 {
		if r := m.ask(""); r.body != "hi" {
			t.Fatalf("got %+v", r)
		}
	}
	for i := range 15 {
		for _, line := range []string{"one", "two", "three"} {
			m.wantLog(fmt.Sprintf("scgi-cgi: request %d: stderr: %s\n", i+1, line))
		}
	}
	if n := strings.Count(m.stderr.String(), "\n"); n != 45 {
		t.Errorf("%d lines in the log:\n%s", n, m.stderr)
	}
}

// A line comes when it is written, not when the program ends.
func TestStderrOfARunningProgramIsInTheLog(t *testing.T) {
	release := fifo(t, "release")
	path := install(t, t.TempDir(), "wait.sh", "#!/bin/sh\necho waiting >&2\nread x <"+release+hello)
	m := startWorker(t, path)
	c, done := m.connect()
	writeRequest(t, c, "")
	m.wantLog("request 1: stderr: waiting\n")
	m.tell(release, "go\n")
	m.await(done)
}

// Under systemd standard error is a socket, which cannot be opened by name.
func TestProgramsCanOpenDevStderr(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "journal"), os.NewFile(uintptr(fds[1]), "stderr")
	journal, err := net.FileConn(ours)
	must(t, err)
	defer journal.Close()
	ours.Close()
	path := install(t, t.TempDir(), "dev.sh", "#!/bin/sh\necho written by name >/dev/stderr || exit 1"+hello)
	m := launchWith(t, theirs, path).awaitReady()
	theirs.Close()
	if r := m.ask(""); r.code != 200 {
		t.Errorf("got %+v", r)
	}
	must(t, journal.SetReadDeadline(time.Now().Add(patience)))
	if line, err := bufio.NewReader(journal).ReadString('\n'); line != "scgi-cgi: request 1: stderr: written by name\n" {
		t.Errorf("the log has %q, %v", line, err)
	}
}

func TestLinesOfStderrAreBoundedAndPrintable(t *testing.T) {
	path := install(t, t.TempDir(), "long.sh", "#!/bin/sh\nhead -c 10000 /dev/zero | tr '\\0' y >&2; printf '\\n\\033[2Jcaf\\303\\251 \\302\\233 \\377 \\0 a\\tb\\n' >&2"+hello)
	m := startWorker(t, path)
	m.ask("")
	m.wantLog("request 1: stderr: \\x1b[2Jcafé \\u009b \\xff \\x00 a\tb\n")
	for i, line := range strings.Split(m.stderr.String(), "\n")[:3] {
		if got, want := strings.Count(line, "y"), min(maxLine, 10000-i*maxLine); got != want {
			t.Errorf("piece %d has %d bytes, want %d", i, got, want)
		}
	}
}

// A background child that holds standard error delays no reply, its lines still
// have the request's number, and what the worker keeps open for it is bounded.
func TestBackgroundChildrenMayKeepStderr(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	must(t, unix.Mkfifo(release, 0o600))
	path := install(t, t.TempDir(), "daemon.sh", "#!/bin/sh\n(exec <"+release+"; echo later >&2) >/dev/null &"+hello)
	m := startWorker(t, path)
	before := descriptors(t, m.cmd.Process.Pid)
	const requests = 40
	for range requests {
		if r := m.ask(""); r.code != 200 || r.body != "hi" {
			t.Fatalf("got %+v", r)
		}
	}
	if after := descriptors(t, m.cmd.Process.Pid); after > before+maxLingering {
		t.Errorf("%d descriptors before, %d after %d requests", before, after, requests)
	}
	f, err := os.OpenFile(release, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	for i := range maxLingering {
		m.wantLog(fmt.Sprintf("request %d: stderr: later\n", requests-i))
	}
	if !eventually(func() bool { return descriptors(t, m.cmd.Process.Pid) == before }) {
		t.Errorf("%d descriptors before, %d after all have ended", before, descriptors(t, m.cmd.Process.Pid))
	}
}

// The reader of the log is stuck: requests are answered all the same, and what
// was dropped is told once it reads again.
func TestAStuckReaderOfTheLogHoldsUpNothing(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	path := install(t, t.TempDir(), "flood.sh", "#!/bin/sh\nyes 'a line that says nothing new' | head -c 2000000 >&2"+hello)
	m := launchWith(t, w, path).awaitReady()
	w.Close()
	for range 3 {
		if got := m.ask(""); got.code != 200 || got.body != "hi" {
			t.Fatalf("got %+v", got)
		}
	}
	must(t, r.SetReadDeadline(time.Now().Add(patience)))
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		must(t, err)
		if strings.HasSuffix(line, "lines are missing here: the log is not read fast enough\n") {
			break
		}
	}
}

// The reader of the log is gone, as after "2>&1 | head -1".
func TestAReaderOfTheLogThatIsGoneEndsNothing(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	path := install(t, t.TempDir(), "grumble.sh", "#!/bin/sh\necho complaint >&2 || exit 1"+hello)
	m := launchWith(t, w, path).awaitReady()
	w.Close()
	r.Close()
	for range 20 {
		if got := m.ask(""); got.code != 200 || got.body != "hi" {
			t.Fatalf("got %+v", got)
		}
	}
}

// A background child that never stops writing holds up neither other requests
// nor the worker's end.
func TestAFloodOnStderrHoldsUpNothing(t *testing.T) {
	path := install(t, t.TempDir(), "flood.sh", "#!/bin/sh\nyes >&2 &"+hello)
	m := startWorker(t, path)
	for range 3 {
		if r := m.ask(""); r.code != 200 || r.body != "hi" {
			t.Fatalf("got %+v", r)
		}
	}
	m.endLog()
}

// Whatever a program writes, in whatever pieces, each line in the log is bounded,
// one line, and printable; nothing but line ends is lost.
func FuzzStderrLines(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\nthree"), uint8(3))
	f.Add([]byte("\x1b[2J\x00\xff\xc2\x9bcaf\xc3\xa9\t"), uint8(1))
	f.Add([]byte(strings.Repeat("x", 3*maxLine)+"\n"), uint8(255))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		var out bytes.Buffer
		e := &errOutput{request: 7, log: log.New(&out, "", 0)}
		for rest := in; len(rest) > 0; {
			n := min(len(rest), int(size)+1)
			e.take(rest[:n])
			rest = rest[n:]
		}
		e.flush()
		letters := 0
		for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
			text, ok := strings.CutPrefix(line, "request 7: stderr: ")
			if !ok && line != "" || len(text) > 10*maxLine || !utf8.ValidString(text) {
				t.Fatalf("%q became %q", in, line)
			}
			for _, r := range text {
				if r != '\t' && !strconv.IsPrint(r) {
					t.Fatalf("%q became %q", in, line)
				}
			}
			letters += strings.Count(text, "z")
		}
		if want := bytes.Count(in, []byte("z")); letters != want {
			t.Fatalf("%q: %d of %d letters came out", in, letters, want)
		}
	})
}
