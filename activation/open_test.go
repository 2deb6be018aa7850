package activation

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOpenListens(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	tests := []struct{ addr, want string }{
		{path, path},
		{"unix:" + path, path},
		{"@" + path, "@" + path},
		{"unix:@" + path, "@" + path},
		{"127.0.0.1:0", "127.0.0.1:"},
		{"tcp:127.0.0.1:0", "127.0.0.1:"},
		{"0.0.0.0:0", "0.0.0.0:"},
	}
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			s := mustOpen(t, tt.addr, Options{})
			if !strings.HasPrefix(s.Addr(), tt.want) || strings.HasSuffix(s.Addr(), ":0") {
				t.Errorf("address %s, want %s", s.Addr(), tt.want)
			}
			if s.Name() != "scgi" || s.Inherited() || s.Unix() != strings.Contains(tt.want, "/") {
				t.Errorf("name %q, inherited %v, unix %v", s.Name(), s.Inherited(), s.Unix())
			}
			if nonblock, cloexec := flags(t, s.FD()); !nonblock || !cloexec {
				t.Errorf("nonblock %v, cloexec %v", nonblock, cloexec)
			}
			exchange(t, s)
			s.Close()
			again := mustOpen(t, s.Addr(), Options{}) // the form Addr gives
			exchange(t, again)
		})
	}
}

func TestOpenResolvesHostName(t *testing.T) {
	checkFDs(t)
	s, err := Open("localhost:0", Options{})
	if err != nil {
		if _, e := net.LookupHost("localhost"); e != nil {
			t.Skipf("needs the name localhost: %v", e)
		}
		t.Fatal(err)
	}
	defer s.Close()
	exchange(t, s)
}

func TestOpenIPv6IsIPv6Only(t *testing.T) {
	haveIPv6(t)
	checkFDs(t)
	exchange(t, mustOpen(t, "[::1]:0", Options{}))
	all := mustOpen(t, "[::]:0", Options{})
	_, port, err := net.SplitHostPort(all.Addr())
	if err != nil {
		t.Fatal(err)
	}
	// Its IPv4 namesake is free for another socket.
	mustOpen(t, "0.0.0.0:"+port, Options{})
}

func TestOpenAllNumbersNames(t *testing.T) {
	checkFDs(t)
	sockets, err := OpenAll([]string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeSockets(sockets)
	for i, want := range []string{"scgi", "scgi-2", "scgi-3"} {
		if got := sockets[i].Name(); got != want {
			t.Errorf("socket %d is %q, want %q", i, got, want)
		}
	}
}

func TestOpenAllIsAllOrNothing(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	_, err := OpenAll([]string{path, "127.0.0.1:0", "rubbish"}, Options{})
	wantError(t, err, "cannot listen on rubbish: ")
	if _, err := os.Lstat(path); err == nil {
		t.Error("the first socket's path was left behind")
	}
}

func TestOpenRefuses(t *testing.T) {
	checkFDs(t)
	dir := shortDir(t)
	plain := filepath.Join(dir, "plain")
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(plain, []byte("data"), 0o600), os.Symlink(dir+"/nowhere", link)); err != nil {
		t.Fatal(err)
	}
	long := "/" + strings.Repeat("x", 107)
	tests := []struct{ addr, want string }{
		{long, "has 108 bytes, at most 107 are possible"},
		{"@" + strings.Repeat("x", 108), "has 108 bytes, at most 107"},
		{"run/x.sock", "an absolute path is wanted"},
		{"./x.sock", "an absolute path is wanted"},
		{"unix:x.sock", "an absolute path is wanted"},
		{"unix:", "an absolute path is wanted"},
		{"/run/", "not of a directory"},
		{"@", "at least one character"},
		{"/run/a\x00b", "NUL"},
		{"", "neither an absolute path"},
		{"4000", "neither an absolute path"},
		{"::1:4000", "neither an absolute path"},
		{":4000", "every address of the machine; write 0.0.0.0:4000 or [::]:4000 if that is meant"},
		{"*:4000", "every address of the machine; write 0.0.0.0:4000 or [::]:4000 if that is meant"},
		{"127.0.0.1:http", "a number from 0 to 65535"},
		{"127.0.0.1:65536", "a number from 0 to 65535"},
		{"192.0.2.1:4000", "cannot assign requested address"},
		{"[fe80::1%nosuchif]:4000", `no network interface "nosuchif"`},
		{dir + "/no/x.sock", "directory " + dir + "/no does not exist"},
		{plain, "it exists and is a regular file"},
		{plain + "/x", "not a directory"},
		{link, "it exists and is a symbolic link"},
		{dir, "it exists and is a directory"},
	}
	for _, tt := range tests {
		s, err := Open(tt.addr, Options{})
		if err == nil {
			s.Close()
		}
		wantError(t, err, "cannot listen on "+tt.addr+": ", tt.want)
	}
	if b, err := os.ReadFile(plain); err != nil || string(b) != "data" {
		t.Errorf("the regular file is now %q, %v", b, err)
	}
	_, err := Open(dir+"/x", Options{Mode: os.ModeSetuid | 0o600})
	wantError(t, err, "more than permissions")
}

func TestOpenLeavesLiveSocketAlone(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	for _, addr := range []string{path, "@" + path, "127.0.0.1:0"} {
		live := mustOpen(t, addr, Options{Backlog: 1})
		for range 3 { // the last ones find the backlog full
			_, err := Open(live.Addr(), Options{})
			wantError(t, err, "address already in use: another server", "answers on it")
			if !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("%v is not EADDRINUSE", err)
			}
			if addr == "127.0.0.1:0" {
				break
			}
		}
		live.Close()
	}
}

func TestOpenLeavesOtherKindsOfSocketAlone(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	c, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = Open(path, Options{})
	wantError(t, err, "another program uses it as a socket that is not a stream")
}

// stale leaves a path as a server that was killed does.
func stale(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
}

func TestOpenReplacesStalePath(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	stale(t, path)
	exchange(t, mustOpen(t, path, Options{}))
}

func TestOneOfManyStartersGetsTheStalePath(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	for range 50 {
		stale(t, path)
		var wg sync.WaitGroup
		won := make(chan *Socket, 8)
		for range cap(won) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if s, err := Open(path, Options{}); err == nil {
					won <- s
				} else if !errors.Is(err, unix.EADDRINUSE) {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
		close(won)
		if len(won) != 1 {
			t.Fatalf("%d starters got the path", len(won))
		}
		s := <-won
		exchange(t, s)
		s.Close()
	}
}

func TestOpenLeavesNothingBesideThePath(t *testing.T) {
	dir := shortDir(t)
	s := mustOpen(t, filepath.Join(dir, "x.sock"), Options{})
	if names := list(t, dir); len(names) != 1 {
		t.Errorf("while open: %v", names)
	}
	s.Close()
	if names := list(t, dir); len(names) != 0 {
		t.Errorf("after Close: %v", names)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCloseSparesAReplacedPath(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	old := mustOpen(t, path, Options{})
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	mine := mustOpen(t, path, Options{})
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	exchange(t, mine)
	if err := old.Close(); err != nil || old.FD() != -1 {
		t.Errorf("second Close: %v, fd %d", err, old.FD())
	}
}

func TestOpenKeepsDescriptorsWhenTheyRunOut(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	stale(t, path)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	free, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(free)
	failed := 0
	for limit := uint64(free); ; limit++ {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
		if err == nil {
			s.Close()
			break
		}
		if !errors.Is(err, unix.EMFILE) {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Fatalf("the stale path is gone: %v", err)
		}
		failed++
	}
	if failed < 3 {
		t.Errorf("ran out %d times, want one for each descriptor Open uses", failed)
	}
}

// Whoever may read the directory can hold its lock: that delays a start, and does
// not prevent it.
func TestALockThatSomebodyHoldsDelaysOnly(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s, err := Open(dir+"/s", Options{lockWait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("the lock was waited for %v", took)
	}
}
