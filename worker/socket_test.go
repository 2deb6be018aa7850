package worker

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/worker/link"
)

// pair makes both ends of a connection, the second as a worker has it.
func pair(t *testing.T, network string) (client net.Conn, s *socket) {
	t.Helper()
	checkFDs(t)
	client, accepted, err := streamPair(network)
	if err != nil {
		t.Fatal(err)
	}
	s = newSocket(accepted, link.Mark{})
	t.Cleanup(func() { client.Close(); s.Close() })
	return client, s
}

func TestALaterDeadlineReplacesOneThatHasPassed(t *testing.T) {
	client, s := pair(t, "unix")
	b := make([]byte, 1)
	for range 2 { // before anybody had to wait, and after
		s.SetDeadline(time.Unix(1, 0))
		if _, err := s.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if _, err := s.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
		s.SetDeadline(time.Now().Add(time.Millisecond))
		_, err := s.Read(b) // waits
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("read: %v", err)
		}
		s.SetDeadline(time.Time{})
		client.Write([]byte("x"))
		if n, err := s.Read(b); n != 1 || err != nil {
			t.Errorf("read: %d, %v", n, err)
		}
		if n, err := s.Write(b); n != 1 || err != nil {
			t.Errorf("write: %d, %v", n, err)
		}
	}
}

// wait begins a call that waits until something ends it. It returns when the
// runtime's poller has been asked.
func wait(s *socket, what int) (ended <-chan error) {
	asked, end := make(chan bool), make(chan error, 1)
	go func() {
		tries := 0
		end <- rawSocket{s}.try(what, func(uintptr) bool {
			if tries++; tries == 2 {
				close(asked)
			}
			return false
		})
	}()
	<-asked
	return end
}

func TestADeadlineEndsAWait(t *testing.T) {
	for _, what := range []int{reading, writing} {
		_, s := pair(t, "unix")
		ended := wait(s, what)
		if s.SetDeadline(time.Unix(1, 0)); !errors.Is(<-ended, os.ErrDeadlineExceeded) {
			t.Error("a deadline that has passed did not end a wait")
		}
	}
}

func TestCloseEndsAWait(t *testing.T) {
	_, s := pair(t, "unix")
	read, write := wait(s, reading), wait(s, writing)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, ended := range []<-chan error{read, write} {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("in progress: %v", err)
		}
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	for what, err := range map[string]error{"Close": s.Close(), "SetDeadline": s.SetDeadline(time.Time{})} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A descriptor that is closed while another goroutine is about to use its number
// would hit whoever opens the next one.
func TestCloseAtAnyMomentHitsNobodyElse(t *testing.T) {
	rounds := 2000
	if raceEnabled {
		rounds = 200
	}
	checkFDs(t)
	for range rounds {
		client, accepted, err := streamPair("unix")
		if err != nil {
			t.Fatal(err)
		}
		s := newSocket(accepted, link.Mark{})
		var all sync.WaitGroup
		for _, use := range []func(){
			func() { s.Read(make([]byte, 1)) },
			func() { s.Write([]byte("reply")) },
			func() { s.shutdown(unix.SHUT_WR) },
			func() { s.Close() },
		} {
			all.Add(1)
			go func() { defer all.Done(); use() }()
		}
		r, w, err := os.Pipe() // which takes the number, if it is free
		if err != nil {
			t.Fatal(err)
		}
		all.Wait()
		w.Write([]byte("mine"))
		w.Close()
		if b, err := io.ReadAll(r); string(b) != "mine" || err != nil {
			t.Fatalf("the pipe gave %q, %v", b, err)
		}
		r.Close()
		client.Close()
	}
}

func TestPartsAreWrittenWholeThoughTheReaderIsSlow(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		client, s := pair(t, network)
		text := strings.Repeat("a long text\n", 1<<18)
		var parts [][]byte
		for _, p := range []string{"head", "er", text, "of", text} {
			parts = append(parts, []byte(p))
		}
		want := "header" + text + "of" + text
		wrote := make(chan error)
		go func() {
			n, err := s.writeAll(parts)
			if n != int64(len(want)) {
				t.Errorf("%d bytes, want %d", n, len(want))
			}
			s.Close()
			wrote <- err
		}()
		got, err := io.ReadAll(client)
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes came, want %d; error %v", network, len(got), len(want), err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
}

func TestAWriteToNobodyIsAnErrorNotASignal(t *testing.T) {
	client, s := pair(t, "unix")
	client.Close()
	for _, parts := range [][][]byte{{[]byte("x")}, {[]byte("x"), []byte("y")}} {
		if _, err := s.writeAll(parts); !errors.Is(err, unix.EPIPE) {
			t.Errorf("%v, want EPIPE", err)
		}
	}
	if _, err := s.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v, want io.EOF", err)
	}
}

func TestSyscallConnDoesNotBlockAndWaits(t *testing.T) {
	client, s := pair(t, "unix")
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if flags, _ := unix.FcntlInt(fd, unix.F_GETFL, 0); flags&unix.O_NONBLOCK == 0 {
			t.Error("the descriptor blocks")
		}
	})
	if err != nil || s.file != nil {
		t.Errorf("error %v, or the poller was asked for nothing", err)
	}
	tries, b := 0, make([]byte, 1)
	err = raw.Read(func(fd uintptr) bool {
		n, _ := unix.Read(int(fd), b)
		if tries++; tries == 1 {
			go client.Write([]byte("x"))
		}
		return n == 1
	})
	if err != nil || tries < 2 {
		t.Errorf("%d tries, error %v", tries, err)
	}
	s.Close()
	if err := raw.Control(func(uintptr) { t.Error("a closed connection has a descriptor") }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
}

func TestConnectionsHaveTheirAddresses(t *testing.T) {
	client, s := pair(t, "tcp")
	if got, want := s.RemoteAddr().String(), client.LocalAddr().String(); got != want {
		t.Errorf("remote %s, want %s", got, want)
	}
	if got, want := s.LocalAddr().String(), client.RemoteAddr().String(); got != want {
		t.Errorf("local %s, want %s", got, want)
	}
	_, s = pair(t, "unix")
	if a, b := s.LocalAddr().Network(), s.RemoteAddr().Network(); a != "unix" || b != "unix" {
		t.Errorf("networks %s, %s", a, b)
	}
	s.Close()
	if s.LocalAddr() == nil || s.RemoteAddr() == nil {
		t.Error("a closed connection has nil for an address")
	}
}
