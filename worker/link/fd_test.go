package link

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// checkFDs fails the test when it ends with other descriptors than it began.
// Call it before whatever opens and registers closing them.
func checkFDs(t testing.TB) {
	t.Helper()
	os.ReadDir("/proc/self/fd") // opens the poller's own descriptors
	before := countFDs(t)
	t.Cleanup(func() {
		if after := countFDs(t); after != before {
			t.Errorf("%d descriptors are open after the test, %d before", after, before)
		}
	})
}

func countFDs(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// pair makes a link that is closed at the end.
func pair(t testing.TB) (master, worker int) {
	t.Helper()
	master, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(master); unix.Close(worker) })
	return master, worker
}

// stream makes a connection to pass.
func stream(t testing.TB) (conn, client int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// closeNow closes the socket fd and leaves its number in use, so that the second close
// does not hit somebody else's.
func closeNow(t testing.TB, fd int) {
	t.Helper()
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(null)
}

// sendRaw sends a packet with n copies of a descriptor.
func sendRaw(t testing.TB, fd int, packet []byte, n int) {
	t.Helper()
	var oob []byte
	if n > 0 {
		conn, _ := stream(t)
		fds := make([]int, n)
		for i := range fds {
			fds[i] = conn
		}
		oob = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(fd, packet, oob, nil, unix.MSG_DONTWAIT); err != nil {
		t.Fatal(err)
	}
}

// isOpen tells whether fd is a socket of ours.
func isOpen(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil
}

// take is Take, where a packet has to be there.
func take(t *testing.T, fd int) Packet {
	t.Helper()
	p, err := Take(fd, unix.MSG_DONTWAIT)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
