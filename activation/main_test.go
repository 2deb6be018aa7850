package activation

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the process that inherits sockets.
func TestMain(m *testing.M) {
	if n := os.Getenv("ACTIVATION_HEIR"); n != "" {
		heir()
		return
	}
	// The runtime's poller opens its descriptors at the first use of net.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	os.Exit(m.Run())
}

// checkFDs fails the test if it ends with more or fewer descriptors than now.
func checkFDs(t *testing.T) {
	t.Helper()
	before := openFDs(t)
	t.Cleanup(func() {
		if after := openFDs(t); len(after) != len(before) {
			t.Errorf("descriptors before: %v\nafter: %v", before, after)
		}
	})
}

func openFDs(t *testing.T) []string {
	t.Helper()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		to, _ := os.Readlink("/proc/self/fd/" + n)
		names[i] = n + "=" + to
	}
	return names
}

func mustOpen(t *testing.T, addr string, o Options) *Socket {
	t.Helper()
	s, err := Open(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// wantError fails unless err says each of parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error is %q, want %q in it", err, p)
		}
	}
}

// exchange connects to s's own address and sees the connection arrive.
func exchange(t *testing.T, s *Socket) {
	t.Helper()
	network := "tcp"
	if s.Unix() {
		network = "unix"
	}
	c, err := net.Dial(network, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	poll := []unix.PollFd{{Fd: int32(s.FD()), Events: unix.POLLIN}}
	if _, err := unix.Poll(poll, 5000); err != nil {
		t.Fatal(err)
	}
	fd, _, err := unix.Accept4(s.FD(), unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	unix.Close(fd)
}

func flags(t *testing.T, fd int) (nonblock, cloexec bool) {
	t.Helper()
	fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd2, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fl&unix.O_NONBLOCK != 0, fd2&unix.FD_CLOEXEC != 0
}

// shortDir is like t.TempDir, but short enough for a socket's path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "act")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Clean(dir)
}

func haveIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("needs IPv6 on the loopback: %v", err)
	}
	l.Close()
}
