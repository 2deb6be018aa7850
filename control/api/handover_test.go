package api

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Who connects while nobody accepts waits in the backlog, and the path is
// removed by the last holder.
func TestTheControlSocketKeepsItsBacklogWhenItIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := HandOver(l)
	if err != nil {
		t.Fatal(err)
	}
	// Across execve the numbers stay; here they are copies.
	for _, fd := range []*int{&h.FD, &h.File} {
		if *fd, err = unix.FcntlInt(uintptr(*fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			t.Fatal(err)
		}
	}
	defer unix.Close(h.FD)
	defer unix.Close(h.File)
	waiting, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	again, err := TakeOver(h)
	if err != nil {
		t.Fatal(err)
	}
	c, err := again.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if again.Addr().String() != path {
		t.Errorf("its address is %s", again.Addr())
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the path is still there: %v", err)
	}
	l.Close()
}

func TestOnlyAControlSocketIsHandedOver(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := HandOver(l); err == nil {
		t.Error("another socket is handed over")
	}
	if _, err := TakeOver(Handed{FD: 99999}); err == nil {
		t.Error("a descriptor that is not open is taken over")
	}
}
