package worker

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// open has a Worker in this process, which has said READY.
func open(t *testing.T) (*master, *Worker) {
	t.Helper()
	checkFDs(t)
	m, fd := newMaster(t)
	inherit(t, fd)
	w, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); m.close() })
	if err := w.Ready(2); err != nil {
		t.Fatal(err)
	}
	<-m.ready
	return m, w
}

// accept passes a connection on which b was sent.
func accept(t *testing.T, m *master, w *Worker, network string, b []byte) (client net.Conn, c *Conn) {
	t.Helper()
	client, id := m.dial(network)
	client.Write(b)
	c, err := w.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if c.ID() != id || c.Waited() != time.Millisecond {
		t.Errorf("connection %d waited %v, want %d and 1ms", c.ID(), c.Waited(), id)
	}
	return client, c
}

// The master holds a duplicate, so a close alone would end nothing.
func TestDoneEndsTheReplyThoughTheMasterHoldsACopy(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			m, w := open(t)
			m.keep = true
			client, c := accept(t, m, w, network, request("/", ""))
			if _, err := c.ReadRequest(0); err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "reply")
			if err := c.Done(200, 5); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(client); err != nil || string(got) != "reply" {
				t.Errorf("%q, error %v", got, err)
			}
			if done := m.done(c.ID()); done.Code != 200 || done.Bytes != 5 {
				t.Errorf("CODE=%d BYTES=%d", done.Code, done.Bytes)
			}
		})
	}
}

func TestDoneOnce(t *testing.T) {
	m, w := open(t)
	_, c := accept(t, m, w, "unix", nil)
	c.Whole()
	for range 3 { // a second DONE is an error of the test's master
		if err := c.Done(201, 0); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if done := m.done(c.ID()); done.Code != 201 {
		t.Errorf("CODE=%d, want 201", done.Code)
	}
	_, c = accept(t, m, w, "unix", nil) // DONEs are in order, so none is on its way
	c.Whole()
	c.Close()
	m.done(c.ID())
}

func TestDoneDrainsWithinBounds(t *testing.T) {
	t.Run("time", func(t *testing.T) {
		m, w := open(t)
		client, c := accept(t, m, w, "unix", request("/", "")[:9])
		begin := time.Now()
		c.Close()
		if took := time.Since(begin); took < drainTime || took > drainTime+5*time.Second {
			t.Errorf("it took %v", took)
		}
		client.Close()
	})
	t.Run("bytes", func(t *testing.T) {
		m, w := open(t)
		client, c := accept(t, m, w, "unix", nil)
		ended := make(chan bool)
		go func() {
			defer close(ended)
			for {
				if _, err := client.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}()
		c.Close()
		<-ended
		m.done(c.ID())
	})
	t.Run("until the client closes", func(t *testing.T) {
		m, w := open(t)
		client, c := accept(t, m, w, "unix", nil)
		go func() {
			io.ReadAll(client) // until SHUT_WR
			client.Close()
		}()
		begin := time.Now()
		c.Close()
		if took := time.Since(begin); took >= drainTime {
			t.Errorf("it took %v", took)
		}
	})
}

func TestListenGivesConnectionsAndEnds(t *testing.T) {
	checkFDs(t)
	m, worker := newMaster(t)
	inherit(t, worker)
	l, err := Listen(Slots(2))
	if err != nil {
		t.Fatal(err)
	}
	if got := <-m.ready; got.Slots != 2 {
		t.Errorf("%d slots, want 2", got.Slots)
	}
	client, id := m.dial("unix")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.WriteString(client, "question")
		client.(*net.UnixConn).CloseWrite()
	}()
	if got, err := io.ReadAll(c); string(got) != "question" {
		t.Errorf("%q, error %v", got, err)
	}
	io.WriteString(c, "answer")
	c.Close()
	if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
		t.Errorf("%q, error %v", got, err)
	}
	m.done(id)
	m.retire()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("at the end of file: %v, want net.ErrClosed", err)
	}
	l.(*listener).w.Close()
	m.close()
}

func TestListenerCloseWakesAccept(t *testing.T) {
	checkFDs(t)
	m, worker := newMaster(t)
	inherit(t, worker)
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
	l.(*listener).w.Close()
	m.close()
}

func TestCloseTwice(t *testing.T) {
	_, w := open(t)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v, want os.ErrClosed", err)
	}
	if _, err := w.Accept(); err == nil {
		t.Error("Accept after Close gave a connection")
	}
}

func TestDumpHasAllGoroutines(t *testing.T) {
	stop := make(chan bool)
	defer close(stop)
	for range 500 { // more than the first buffer holds
		go func() { <-stop }()
	}
	var b strings.Builder
	dumpStacks(&b)
	if n := strings.Count(b.String(), "TestDumpHasAllGoroutines.func1"); n < 500 {
		t.Errorf("%d of 500 goroutines", n)
	}
}
