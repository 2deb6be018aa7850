package link

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// receiveAll receives a packet with its descriptors, as a preloaded process does.
func receiveAll(t *testing.T, fd int) (text string, fds []int) {
	t.Helper()
	buf, oob := make([]byte, MaxMessage), make([]byte, 256)
	n, oobn, _, err := recvmsg(fd, buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	fds, err = rights(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(fds) })
	return string(buf[:n]), fds
}

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestARequestForAWorkerBringsItsVariablesAndDescriptors(t *testing.T) {
	before := openFDs(t)
	t.Run("it", func(t *testing.T) {
		ours, theirs, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(ours)
		defer unix.Close(theirs)
		if err := SendFork(ours, 7, []string{"A=1", "B=x=y"}, theirs, 1, 2); err != nil {
			t.Fatal(err)
		}
		if err := SendOutput(ours, 1, 2); err != nil {
			t.Fatal(err)
		}
		if text, fds := receiveAll(t, theirs); text != "WORKER=7\nVAR=A=1\nVAR=B=x=y" || len(fds) != 3 {
			t.Errorf("got %q with %d descriptors", text, len(fds))
		}
		if text, fds := receiveAll(t, theirs); text != "OUTPUT=1" || len(fds) != 2 {
			t.Errorf("got %q with %d descriptors", text, len(fds))
		}
		if err := SendFork(ours, 7, []string{"A=" + strings.Repeat("x", MaxMessage)}, theirs); err == nil {
			t.Error("variables of any length are sent")
		}
	})
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestTheKernelSaysWhichProcessHasStarted(t *testing.T) {
	before := openFDs(t)
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	if err := Credentials(ours, true); err != nil {
		t.Fatal(err)
	}
	if _, err := ReceiveStarted(ours); !errors.Is(err, ErrEmpty) {
		t.Errorf("before it has started: %v", err)
	}
	unix.Sendto(theirs, []byte("STARTED=1"), 0, nil)
	if pid, err := ReceiveStarted(ours); err != nil || pid != os.Getpid() {
		t.Errorf("got %d, %v", pid, err)
	}
	var violation *ParseError
	for _, send := range []func(){
		func() { unix.Sendto(theirs, []byte("READY=1"), 0, nil) },
		func() { unix.Sendmsg(theirs, []byte("STARTED=1"), unix.UnixRights(1), nil, 0) },
		func() { unix.Sendto(theirs, []byte("STARTED=1"+strings.Repeat("\n", 100)), 0, nil) },
	} {
		send()
		if pid, err := ReceiveStarted(ours); !errors.As(err, &violation) {
			t.Errorf("got %d, %v", pid, err)
		}
	}
	// Without credentials a message is a worker's, even one that was sent before.
	unix.Sendto(theirs, []byte("READY=1"), 0, nil)
	if err := Credentials(ours, false); err != nil {
		t.Fatal(err)
	}
	if packet, err := new(Receiver).Receive(ours); err != nil || string(packet) != "READY=1" {
		t.Errorf("got %q, %v", packet, err)
	}
	unix.Close(theirs)
	if _, err := ReceiveStarted(ours); !errors.As(err, &violation) {
		t.Errorf("at the end of file: %v", err)
	}
	unix.Close(ours)
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestRecallPassesOverWhatAForkedWorkerDidNotReceive(t *testing.T) {
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ours)
	defer unix.Close(theirs)
	if err := SendGo(ours); err != nil {
		t.Fatal(err)
	}
	if err := new(Sender).SendConn(ours, 9, 0, NoSlot, 1); err != nil {
		t.Fatal(err)
	}
	if id, err := Recall(theirs); id != 9 || err != nil {
		t.Errorf("got %d, %v", id, err)
	}
	SendGo(ours)
	Retire(ours)
	if _, err := Recall(theirs); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

func TestWhatAPreloadedProcessSays(t *testing.T) {
	for text, ok := range map[string]bool{
		"PRELOAD=worker": true, "READY=1\nPRELOAD=application": true, "REFUSED=thread 'beat'": true, "WORKER=7\nFAILED=cannot fork": true,
		"PRELOAD=": false, "WORKER=x\nFAILED=y": false, "WORKER=-1": false,
	} {
		if m, err := Parse([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
	m, err := Parse([]byte("WORKER=7\nFAILED=cannot fork"))
	if err != nil || m.Worker != 7 || string(m.Failed) != "cannot fork" || m.Preload != nil {
		t.Errorf("%+v, %v", m, err)
	}
}
