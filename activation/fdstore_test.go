package activation

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// memfd makes a file in memory with this text.
func memfd(t *testing.T, text string) int {
	t.Helper()
	fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return fd
}

// wantStored takes the next two messages, which must remove an entry and store
// it anew, and returns what is in it.
func (m *manager) wantStored(name string) string {
	m.t.Helper()
	m.want("FDSTOREREMOVE=1\nFDNAME=" + name)
	m.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf, oob := make([]byte, 8192), make([]byte, 1024)
	n, oobn, _, _, err := m.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		m.t.Fatal(err)
	}
	if got := string(buf[:n]); got != "FDSTORE=1\nFDNAME="+name {
		m.t.Fatalf("the manager got %q", got)
	}
	control, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(control) != 1 {
		m.t.Fatalf("%d control messages, %v", len(control), err)
	}
	fds, err := unix.ParseUnixRights(&control[0])
	if err != nil || len(fds) != 1 {
		m.t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	f := os.NewFile(uintptr(fds[0]), name)
	defer f.Close()
	text := make([]byte, 100)
	n, _ = f.ReadAt(text, 0)
	return string(text[:n])
}

func TestStoredDescriptorReachesTheManagerBeforeAllElse(t *testing.T) {
	checkFDs(t)
	path, c := filepath.Join(shortDir(t), "notify"), newFakeClock()
	n := startNotifier(path, nil, c.now, c.after)
	defer n.Close()
	n.Watchdog()
	c.wait(t) // it could not be sent
	n.Ready("up")
	n.Stopping()
	for _, text := range []string{"first", "second"} {
		fd := memfd(t, text)
		if err := n.Store("state", fd); err != nil {
			t.Error(err)
		}
		unix.Close(fd) // borrowed
	}
	m := newManager(t, path)
	defer m.conn.Close()
	c.advance(time.Minute)
	if got := m.wantStored("state"); got != "second" {
		t.Errorf("the manager was given %q", got)
	}
	m.want("READY=1\nWATCHDOG=1\nSTATUS=up")
	m.want("STOPPING=1")
}

func TestStoreIsTriedAgainAndGivenUpInTheEnd(t *testing.T) {
	checkFDs(t)
	path, c := filepath.Join(shortDir(t), "notify"), newFakeClock()
	n := startNotifier(path, nil, c.now, c.after)
	fd := memfd(t, "kept")
	defer unix.Close(fd)
	if err := n.Store("state", fd); err != nil {
		t.Fatal(err)
	}
	c.wait(t)
	m := newManager(t, path)
	defer m.conn.Close()
	c.advance(time.Minute)
	if got := m.wantStored("state"); got != "kept" {
		t.Errorf("the manager was given %q", got)
	}
	m.conn.Close()
	if err := n.Store("state", fd); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- n.Close() }()
	for {
		select {
		case d := <-c.waiting:
			c.advance(d)
		case err := <-closed:
			wantError(t, err, "cannot notify the service manager")
			return
		}
	}
}

func TestStoreWithoutManagerDoesNothing(t *testing.T) {
	checkFDs(t)
	n := startNotifier("", nil, time.Now, time.After)
	fd := memfd(t, "")
	defer unix.Close(fd)
	if err := n.Store("state", fd); err != nil || n.HasManager() {
		t.Errorf("has a manager: %v, %v", n.HasManager(), err)
	}
}

func TestStoreSaysWhyItCannot(t *testing.T) {
	n, m, _ := notifier(t)
	wantError(t, n.Store("state", -1), `cannot store descriptor "state": fcntl: bad file descriptor`)
	n.Watchdog()
	m.want("WATCHDOG=1")
}
