package main

import (
	"bytes"
	"io"
	"math/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBodyQueueKeepsOrder(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	want := make([]byte, 4<<20)
	random.Read(want)
	s := newBodyQueue(0, patience)
	go func() {
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+random.Intn(64<<10))
			s.Write(rest[:n])
			rest = rest[n:]
		}
		s.end()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came out, %v", len(got), err)
	}
	s.drop()
}

func TestBodyQueueTakesAllWithoutReader(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := newBodyQueue(0, patience)
	for i := range 64 {
		s.Write(bytes.Repeat([]byte{byte(i)}, 64<<10))
	}
	s.end()
	got, _ := io.ReadAll(s)
	for i := range 64 {
		if got[i<<16] != byte(i) || got[i<<16|0xffff] != byte(i) {
			t.Fatalf("piece %d is not in its place", i)
		}
	}
	s.drop()
}

// Without a file, and at the limit, the writer is held up while the program
// reads.
func TestBodyQueueWithoutRoomWaitsForReader(t *testing.T) {
	for name, limit := range map[string]int64{"no file": 0, "limit": 100 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", "/nonexistent")
			s := newBodyQueue(limit, patience)
			go func() {
				for range 64 {
					s.Write(make([]byte, 64<<10))
				}
				s.end()
			}()
			n, err := io.Copy(io.Discard, s)
			if n != 4<<20 || err != nil {
				t.Errorf("%d bytes came out, %v", n, err)
			}
		})
	}
}

func TestDroppedBodyQueueHoldsNobodyUp(t *testing.T) {
	t.Setenv("TMPDIR", "/nonexistent")
	s := newBodyQueue(0, patience)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range 64 {
			s.Write(make([]byte, 64<<10))
		}
	}()
	<-s.full
	s.drop()
	<-written
	if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read gave %d, %v", n, err)
	}
}

func TestBodyQueueAtItsLimitGivesUpOnAProgramThatDoesNotRead(t *testing.T) {
	s := newBodyQueue(1<<20, time.Millisecond)
	written := 0
	for {
		n, err := s.Write(make([]byte, 64<<10))
		if err == errUnread {
			break
		}
		if written += n; err != nil || written > 1<<20 {
			t.Fatalf("%d bytes are kept, %v", written, err)
		}
	}
	if written != 1<<20 {
		t.Errorf("%d bytes are kept", written)
	}
	s.drop()
}

// A body that the program does not read takes no more room than it may.
func TestABodyThatNobodyReadsIsBoundedAndGets413(t *testing.T) {
	t.Setenv(unreadFor, "300ms")
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	path := install(t, t.TempDir(), "deaf.sh", "#!/bin/sh\nexec sleep 1000\n")
	m := startWorker(t, "--max-spool", "1M", path)
	c, done := m.connect()
	go c.Write(append(requestHeader(t, 8<<20, "REQUEST_METHOD=POST"), make([]byte, 8<<20)...))
	text, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, text); r.code != 413 {
		t.Errorf("got %+v", r)
	}
	c.Close()
	if msg := m.await(done); msg.Code != 413 {
		t.Errorf("CODE=%d", msg.Code)
	}
	m.wantLog("the program does not read the request's body: the limit of --max-spool is reached")
}

// Where there is no room for a file too, nobody waits for a program that reads
// nothing, such as one whose reply the client does not read before it has sent all.
func TestABodyWithoutRoomThatNobodyReadsGets507(t *testing.T) {
	t.Setenv(unreadFor, "300ms")
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	path := install(t, t.TempDir(), "deaf.sh", "#!/bin/sh\nexec sleep 1000\n")
	m := startWorker(t, path)
	c, done := m.connect()
	go c.Write(append(requestHeader(t, 8<<20, "REQUEST_METHOD=POST"), make([]byte, 8<<20)...))
	text, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, text); r.code != 507 {
		t.Errorf("got %+v", r)
	}
	c.Close()
	m.await(done)
	m.wantLog("the program does not read the request's body: there is no room to keep it")
}

// A program that reads more slowly than its client sends gets all of the body.
func TestABodyThatIsReadSlowlyIsNotCut(t *testing.T) {
	path := install(t, t.TempDir(), "slow.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nsleep 0.2\nexec wc -c\n")
	m := startWorker(t, "--max-spool", "64K", path)
	if r := m.ask(string(make([]byte, 8<<20)), "REQUEST_METHOD=POST"); r.code != 200 || r.body != "8388608\n" {
		t.Errorf("got %+v", r)
	}
}

// At the limit a program that waits for its reply to be read is helped on.
func TestABodyBeyondTheLimitFlowsThroughAProgramThatWritesAsItReads(t *testing.T) {
	path := install(t, t.TempDir(), "cat.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nexec cat\n")
	m := startWorker(t, "--max-spool", "64K", path)
	c, done := m.connect()
	body := strings.Repeat("x", 4<<20)
	go writeRequest(t, c, body)
	text, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, text); r.code != 200 || r.body != body {
		t.Errorf("got %d, %d bytes", r.code, len(r.body))
	}
	c.Close()
	m.await(done)
	m.wantNoLog()
}

func TestSizesOnTheCommandLine(t *testing.T) {
	for in, want := range map[string]string{
		"65536": "64K", "64K": "64K", "1M": "1M", "1536M": "1536M", "2G": "2G", "65537": "65537", "1073741824": "1G",
		"": "", "K": "", "1": "", "63K": "", "0": "", "-1M": "", "1MM": "", "1T": "", "1.5G": "", "99999999999G": "", "64k": "",
	} {
		var s size
		err := s.Set(in)
		if (err == nil) != (want != "") || err == nil && s.String() != want {
			t.Errorf("%q: got %s, %v; want %q", in, &s, err, want)
		}
	}
}
