package link

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// end makes a link with an End.
func end(t *testing.T) (master int, e *End) {
	t.Helper()
	master, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	e, err = NewEnd(worker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(master); e.Close() })
	return master, e
}

// receive waits for a packet of the worker.
func receive(t *testing.T, r *Receiver, master int) string {
	t.Helper()
	for {
		packet, err := r.Receive(master)
		if err == nil {
			return string(packet)
		}
		if err != ErrEmpty {
			t.Fatal(err)
		}
		unix.Poll([]unix.PollFd{{Fd: int32(master), Events: unix.POLLIN}}, 10_000)
	}
}

func TestReceiveWaitsForAConnection(t *testing.T) {
	checkFDs(t)
	master, e := end(t)
	conn, _ := stream(t)
	got := make(chan Packet)
	go func() {
		p, err := e.Receive()
		if err != nil {
			t.Error(err)
		}
		got <- p
	}()
	var s Sender
	if err := s.SendConn(master, 3, 0, NoSlot, conn); err != nil {
		t.Fatal(err)
	}
	p := <-got
	if p.ID != 3 || !isOpen(p.FD) {
		t.Errorf("connection %d came, want 3", p.ID)
	}
	unix.Close(p.FD)
}

func TestLeaveWakesAndKeepsWhatWasSent(t *testing.T) {
	checkFDs(t)
	for round := range 200 {
		master, e := end(t)
		conn, _ := stream(t)
		sent := make(chan int)
		go func() {
			var s Sender
			n := 0
			for n < 5 && s.SendConn(master, uint64(n+1), 0, NoSlot, conn) == nil {
				n++
			}
			sent <- n
		}()
		left := make(chan error)
		go func() { left <- errors.Join(e.Leave(), e.Leave()) }()
		received := 0
		for {
			p, err := e.Receive()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(p.FD)
			received++
		}
		if err := <-left; err != nil {
			t.Fatal(err)
		}
		if n := <-sent; n != received {
			t.Fatalf("round %d: %d were sent, %d received", round, n, received)
		}
	}
}

func TestMessagesAreWhatParseReads(t *testing.T) {
	checkFDs(t)
	master, e := end(t)
	for _, err := range []error{
		e.Ready(4, "USR2"), e.Ready(1, ""), e.Done(7, 200, 1<<40), e.Done(8, 0, 0),
		e.Fail("two\nlines\r"), e.Status("so\nso"), e.Status(strings.Repeat("x", 3*MaxMessage)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var r Receiver
	for _, want := range []string{
		"READY=1\nSLOTS=4\nDUMPSIGNAL=USR2", "READY=1\nSLOTS=1", "DONE=7\nCODE=200\nBYTES=1099511627776", "DONE=8",
		"FAILED=two lines ", "STATUS=so so", "STATUS=" + strings.Repeat("x", MaxMessage/2),
	} {
		got := receive(t, &r, master)
		if got != want {
			t.Errorf("%.60q, want %.60q", got, want)
		}
		if _, err := Parse([]byte(got)); err != nil {
			t.Error(err)
		}
	}
}

func TestDoneWaitsForRoom(t *testing.T) {
	checkFDs(t)
	master, e := end(t)
	const n = 5000 // far more than a link holds
	done := make(chan error, 1)
	go func() {
		var err error
		for id := uint64(1); id <= n && err == nil; id++ {
			err = e.Done(id, 200, 0)
		}
		done <- err
	}()
	var r Receiver
	for id := 1; id <= n; id++ {
		want := "DONE=" + strconv.Itoa(id) + "\nCODE=200"
		if got := receive(t, &r, master); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDoneWithoutAMasterIsAnErrorNotASignal(t *testing.T) {
	checkFDs(t)
	master, e := end(t)
	closeNow(t, master)
	if err := e.Done(1, 0, 0); !errors.Is(err, unix.EPIPE) {
		t.Errorf("%v, want EPIPE", err)
	}
	if _, err := e.Receive(); err != io.EOF {
		t.Errorf("%v, want io.EOF", err)
	}
}

func TestInheritTakesTheDescriptorFromTheEnvironment(t *testing.T) {
	checkFDs(t)
	master, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(master)
	unix.FcntlInt(uintptr(worker), unix.F_SETFD, 0) // as a child finds it
	t.Setenv(EnvFD, strconv.Itoa(worker))
	t.Setenv(EnvProtocol, "1")
	e, err := Inherit()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if flags, _ := unix.FcntlInt(uintptr(worker), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("the link would reach a child")
	}
	if _, ok := os.LookupEnv(EnvFD); ok {
		t.Error("the variable would reach a child")
	}
	if _, err := Inherit(); err != ErrNoMaster {
		t.Errorf("a second time: %v, want ErrNoMaster", err)
	}
}

func TestInheritRefusesWhatIsNoLink(t *testing.T) {
	checkFDs(t)
	refused := func(fd, protocol string) {
		t.Helper()
		t.Setenv(EnvFD, fd)
		t.Setenv(EnvProtocol, protocol)
		if e, err := Inherit(); err == nil {
			e.Close()
			t.Errorf("%s=%s, protocol %s: taken for a link", EnvFD, fd, protocol)
		}
	}
	refused("", "1")
	refused("-1", "1")
	refused("three", "1")
	refused("987654", "1")
	conn, _ := stream(t)
	dup, err := unix.FcntlInt(uintptr(conn), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	refused(strconv.Itoa(dup), "1") // which closes it
	_, worker := pair(t)
	refused(strconv.Itoa(worker), "2")
}
