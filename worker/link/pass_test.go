package link

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSendConnGivesACopy(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	conn, client := stream(t)
	var s Sender
	if err := s.SendConn(master, 42, 1234567*time.Nanosecond, NoSlot, conn); err != nil {
		t.Fatal(err)
	}
	p := take(t, worker)
	defer unix.Close(p.FD)
	if p.ID != 42 || p.Waited != 1234*time.Microsecond {
		t.Errorf("connection %d waited %v, want 42 and 1.234ms", p.ID, p.Waited)
	}
	flags, err := unix.FcntlInt(uintptr(p.FD), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, error %v: want close-on-exec", flags, err)
	}
	if flags, _ = unix.FcntlInt(uintptr(p.FD), unix.F_GETFL, 0); flags&unix.O_NONBLOCK != 0 {
		t.Error("the passed descriptor does not block")
	}
	unix.Write(p.FD, []byte("x"))
	if n, err := unix.Read(client, make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("the client read %d bytes, error %v", n, err)
	}
}

func TestPairIsCloseOnExec(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	for _, fd := range []int{master, worker} {
		if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d is not close-on-exec", fd)
		}
	}
	nonblock := func(fd int) bool {
		flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return flags&unix.O_NONBLOCK != 0
	}
	if !nonblock(master) || nonblock(worker) {
		t.Error("want a non-blocking master's end and a blocking worker's end")
	}
}

func TestSendConnBorrowsOnError(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	conn, _ := stream(t)
	closeNow(t, worker)
	var s Sender
	for _, fd := range []int{master, conn, -1} { // gone, no link at all, no descriptor
		if err := s.SendConn(fd, 1, 0, NoSlot, conn); fd != conn && err == nil {
			t.Errorf("descriptor %d took a connection", fd)
		}
		if !isOpen(conn) || !isOpen(master) {
			t.Fatal("SendConn closed what it borrowed")
		}
	}
	if err := s.SendConn(master, 1, 0, NoSlot, -1); !errors.Is(err, unix.EBADF) {
		t.Errorf("passing no descriptor: %v, want EBADF", err)
	}
}

func TestSendConnSaysFull(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	conn, _ := stream(t)
	var s Sender
	var err error
	sent := 0
	for sent = 0; sent < 10_000 && err == nil; sent++ {
		err = s.SendConn(master, uint64(sent+1), 0, NoSlot, conn)
	}
	if err != ErrFull {
		t.Fatalf("after %d connections: %v, want ErrFull", sent, err)
	}
	p := take(t, worker)
	unix.Close(p.FD)
	if err := s.SendConn(master, 99, 0, NoSlot, conn); err != nil {
		t.Errorf("after one was received: %v", err)
	}
}

func TestSendConnSaysLeaving(t *testing.T) {
	t.Run("after SHUT_RD", func(t *testing.T) {
		checkFDs(t)
		master, worker := pair(t)
		conn, _ := stream(t)
		var s Sender
		for id := range uint64(3) {
			if err := s.SendConn(master, id+1, 0, NoSlot, conn); err != nil {
				t.Fatal(err)
			}
		}
		unix.Shutdown(worker, unix.SHUT_RD)
		if err := s.SendConn(master, 4, 0, NoSlot, conn); err != ErrLeaving {
			t.Errorf("%v, want ErrLeaving", err)
		}
		wantQueued(t, worker, 3)
	})
	t.Run("after close with packets unread", func(t *testing.T) {
		checkFDs(t)
		master, worker := pair(t)
		conn, _ := stream(t)
		var s Sender
		if err := s.SendConn(master, 1, 0, NoSlot, conn); err != nil {
			t.Fatal(err)
		}
		closeNow(t, worker)
		for range 2 { // ECONNRESET, then EPIPE
			if err := s.SendConn(master, 2, 0, NoSlot, conn); err != ErrLeaving {
				t.Errorf("%v, want ErrLeaving", err)
			}
		}
	})
}

// wantQueued takes connections 1 to n from fd, then the end of file, twice.
func wantQueued(t *testing.T, fd, n int) {
	t.Helper()
	for id := range uint64(n) {
		p := take(t, fd)
		unix.Close(p.FD)
		if p.ID != id+1 {
			t.Errorf("connection %d came, want %d", p.ID, id+1)
		}
	}
	for range 2 {
		if _, err := Take(fd, unix.MSG_DONTWAIT); err != io.EOF {
			t.Errorf("after the last: %v, want io.EOF", err)
		}
	}
}

func TestRetireGivesQueuedPacketsThenEOF(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	conn, _ := stream(t)
	var s Sender
	for id := range uint64(3) {
		if err := s.SendConn(master, id+1, 0, NoSlot, conn); err != nil {
			t.Fatal(err)
		}
	}
	if err := Retire(master); err != nil {
		t.Fatal(err)
	}
	wantQueued(t, worker, 3)
	// The other direction is open: what the worker holds is still finished.
	if _, err := unix.Write(worker, []byte("DONE=1")); err != nil {
		t.Error(err)
	}
	var r Receiver
	if packet, err := r.Receive(master); err != nil || string(packet) != "DONE=1" {
		t.Errorf("the master received %q, error %v", packet, err)
	}
}

func TestUnreceivedPacketComesBackThroughADuplicate(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	dup, err := unix.FcntlInt(uintptr(worker), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dup)
	conn, client := stream(t)
	var s Sender
	if err := s.SendConn(master, 5, 0, NoSlot, conn); err != nil {
		t.Fatal(err)
	}
	closeNow(t, worker)
	p := take(t, dup)
	defer unix.Close(p.FD)
	if p.ID != 5 {
		t.Errorf("connection %d came back, want 5", p.ID)
	}
	unix.Write(p.FD, []byte("x"))
	if n, _ := unix.Read(client, make([]byte, 2)); n != 1 {
		t.Error("what came back is not the connection")
	}
}

// Linux reports ECONNRESET before the queued packets when the other end closed
// with packets unread.
func TestQueuedPacketsSurviveTheOtherEnd(t *testing.T) {
	t.Run("master", func(t *testing.T) {
		checkFDs(t)
		master, worker := pair(t)
		conn, _ := stream(t)
		var s Sender
		if err := s.SendConn(master, 1, 0, NoSlot, conn); err != nil {
			t.Fatal(err)
		}
		unix.Write(worker, []byte("DONE=9"))
		closeNow(t, master)
		wantQueued(t, worker, 1)
	})
	t.Run("worker", func(t *testing.T) {
		checkFDs(t)
		master, worker := pair(t)
		conn, _ := stream(t)
		var s Sender
		if err := s.SendConn(master, 1, 0, NoSlot, conn); err != nil {
			t.Fatal(err)
		}
		unix.Write(worker, []byte("DONE=9"))
		closeNow(t, worker)
		var r Receiver
		if packet, err := r.Receive(master); err != nil || string(packet) != "DONE=9" {
			t.Errorf("the master received %q, error %v", packet, err)
		}
	})
}

func TestTakeClosesWhateverArrives(t *testing.T) {
	for _, test := range []struct {
		name   string
		packet string
		fds    int
		ok     bool
	}{
		{"one", "CONN=1", 1, true},
		{"unknown key", "NEW=x\nCONN=1", 1, true},
		{"none", "CONN=1", 0, false},
		{"two", "CONN=1", 2, false},
		{"ten", "CONN=1", 10, false},
		{"as many as there can be", "CONN=1", 253, false},
		{"no id", "WAITED=1", 1, false},
		{"id 0", "CONN=0", 1, false},
		{"bad id", "CONN=1x", 1, false},
		{"empty with a descriptor", "", 1, false},
		{"too long", "CONN=1\nX=" + strings.Repeat("x", MaxMessage), 1, false},
		{"too long with two", "CONN=1\nX=" + strings.Repeat("x", MaxMessage), 2, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkFDs(t)
			master, worker := pair(t)
			sendRaw(t, master, []byte(test.packet), test.fds)
			before := countFDs(t)
			p, err := Take(worker, unix.MSG_DONTWAIT)
			if test.ok {
				if err != nil || p.ID != 1 {
					t.Fatalf("connection %d, error %v", p.ID, err)
				}
				unix.Close(p.FD)
			} else if violation := (*ParseError)(nil); !errors.As(err, &violation) {
				t.Errorf("error %v, want a *ParseError", err)
			}
			if after := countFDs(t); after != before {
				t.Errorf("%d descriptors more", after-before)
			}
		})
	}
}

// The master takes a packet back without its descriptor, and so also when it may
// open no more.
func TestRecallGivesTheIDAndNoDescriptor(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	conn, client := stream(t)
	var s Sender
	for id := uint64(1); id <= 2; id++ {
		if err := s.SendConn(master, id, time.Second, NoSlot, conn); err != nil {
			t.Fatal(err)
		}
	}
	before := countFDs(t)
	for id := uint64(1); id <= 2; id++ {
		if got, err := Recall(worker); got != id || err != nil {
			t.Errorf("connection %d, error %v", got, err)
		}
	}
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors more", after-before)
	}
	if _, err := Recall(worker); err != ErrEmpty {
		t.Errorf("%v, want ErrEmpty", err)
	}
	sendRaw(t, master, []byte("CONN=x"), 1)
	sendRaw(t, master, nil, 1) // no end of file
	for range 2 {
		if _, err := Recall(worker); !errors.As(err, new(*ParseError)) {
			t.Errorf("%v, want a *ParseError", err)
		}
	}
	closeNow(t, conn) // nobody holds a copy in the end
	if n, err := unix.Read(client, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the connection continues: %d, %v", n, err)
	}
	closeNow(t, master)
	if _, err := Recall(worker); err != io.EOF {
		t.Errorf("%v, want io.EOF", err)
	}
}

func TestTakeSaysEmpty(t *testing.T) {
	checkFDs(t)
	_, worker := pair(t)
	if _, err := Take(worker, unix.MSG_DONTWAIT); err != ErrEmpty {
		t.Errorf("%v, want ErrEmpty", err)
	}
}

func FuzzTake(f *testing.F) {
	f.Add([]byte("CONN=1\nWAITED=2"), 1)
	f.Add([]byte("CONN=1"), 2)
	f.Add([]byte(""), 1)
	f.Add(make([]byte, MaxMessage+1), 10)
	f.Fuzz(func(t *testing.T, packet []byte, fds int) {
		fds &= 15
		if len(packet) > 64<<10 {
			return
		}
		checkFDs(t)
		master, worker := pair(t)
		sendRaw(t, master, packet, fds)
		p, err := Take(worker, unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		if fds != 1 || p.ID == 0 {
			t.Errorf("%q with %d descriptors gave connection %d", packet, fds, p.ID)
		}
		unix.Close(p.FD)
	})
}

func TestReceiveTakesPacketsInOrder(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	unix.Write(worker, []byte("DONE=1"))
	unix.Write(worker, []byte("DONE=2"))
	var r Receiver
	for _, want := range []string{"DONE=1", "DONE=2"} {
		if packet, err := r.Receive(master); err != nil || string(packet) != want {
			t.Errorf("%q, error %v, want %q", packet, err, want)
		}
	}
	if _, err := r.Receive(master); err != ErrEmpty {
		t.Errorf("%v, want ErrEmpty", err)
	}
}

func TestReceiveRefusesWhatIsNoMessage(t *testing.T) {
	for _, test := range []struct {
		name   string
		packet string
		fds    int
	}{
		{"a descriptor", "DONE=1", 1},
		{"ten descriptors", "DONE=1", 10},
		{"a descriptor alone", "", 1},
		{"too long", strings.Repeat("x", MaxMessage+1), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkFDs(t)
			master, worker := pair(t)
			sendRaw(t, worker, []byte(test.packet), test.fds)
			before := countFDs(t)
			var r Receiver
			_, err := r.Receive(master)
			if violation := (*ParseError)(nil); !errors.As(err, &violation) {
				t.Errorf("error %v, want a *ParseError", err)
			}
			if after := countFDs(t); after != before {
				t.Errorf("%d descriptors more", after-before)
			}
		})
	}
}

func TestReceiveTakesTheLongestMessage(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	unix.Write(worker, []byte("STATUS="+strings.Repeat("x", MaxMessage-7)))
	var r Receiver
	if packet, err := r.Receive(master); err != nil || len(packet) != MaxMessage {
		t.Errorf("%d bytes, error %v", len(packet), err)
	}
}

func TestEmptyPacketIsAViolationToParse(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	sendRaw(t, worker, nil, 0)
	var r Receiver
	packet, err := r.Receive(master)
	if err != nil || len(packet) != 0 {
		t.Fatalf("%q, error %v", packet, err)
	}
	if _, err := Parse(packet); err == nil {
		t.Error("an empty packet was taken for a message")
	}
}

func TestSendConnAndReceiveAllocateNothing(t *testing.T) {
	checkFDs(t)
	master, worker := pair(t)
	conn, _ := stream(t)
	s, r := new(Sender), new(Receiver)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.SendConn(master, 1<<60, time.Hour, NoSlot, conn); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("SendConn: %v allocations", n)
	}
	for range 101 {
		unix.Write(worker, []byte("DONE=1152921504606846976\nCODE=200"))
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Receive(master); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("Receive: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { // without a packet
		if _, err := r.Receive(master); err != ErrEmpty {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("Receive of nothing: %v allocations", n)
	}
}

// unix(7), ETOOMANYREFS: more descriptors in flight than RLIMIT_NOFILE, for a
// caller without CAP_SYS_RESOURCE and CAP_SYS_ADMIN.
func TestSendConnSaysBusy(t *testing.T) {
	if os.Getenv("LINK_TEST_BUSY") != "" {
		sendUntilBusy(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSendConnSaysBusy$", "-test.v")
	cmd.Env = append(os.Environ(), "LINK_TEST_BUSY=1")
	cmd.Dir = "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS") {
		t.Errorf("the test did not run as another user:\n%s", out)
	}
}

func sendUntilBusy(t *testing.T) {
	master, worker := pair(t)
	conn, _ := stream(t)
	unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 32, Max: 32})
	var s Sender
	var err error
	for id := uint64(1); id < 200 && err == nil; id++ {
		err = s.SendConn(master, id, 0, NoSlot, conn)
	}
	if err != ErrBusy {
		t.Fatalf("%v, want ErrBusy", err)
	}
	p := take(t, worker)
	unix.Close(p.FD)
	unix.Close(take(t, worker).FD)
	if err := s.SendConn(master, 1, 0, NoSlot, conn); err != nil {
		t.Errorf("after two were received: %v", err)
	}
}
