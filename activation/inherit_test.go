package activation

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// seen is what the heir tells of what it inherited.
type seen struct {
	Sockets []seenSocket
	Stored  []string
	Err     string
	Again   int      // sockets at a second call
	Leaked  []string // passed descriptors still open, and new ones, beside the sockets
	Left    []string // LISTEN_ variables
}

type seenSocket struct {
	Name, Addr                         string
	Unix, Inherited, Nonblock, Cloexec bool
}

// heir is the child's side: it does what a server does, and reports.
func heir() {
	if os.Getenv("LISTEN_PID") == "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	t := &testing.T{}
	passed := heirFDs(firstFD)
	sockets, stored, err := Inherited()
	var s seen
	if err != nil {
		s.Err = err.Error()
	}
	mine := map[int]bool{0: true, 1: true, 2: true}
	for _, k := range sockets {
		nonblock, cloexec := flags(t, k.FD())
		s.Sockets = append(s.Sockets, seenSocket{k.Name(), k.Addr(), k.Unix(), k.Inherited(), nonblock, cloexec})
		mine[k.FD()] = true
	}
	for _, f := range stored {
		s.Stored = append(s.Stored, f.Name())
		if _, cloexec := flags(t, int(f.Fd())); !cloexec {
			s.Err += f.Name() + " is not close-on-exec"
		}
		f.Close()
	}
	n, _ := strconv.Atoi(os.Getenv("ACTIVATION_PASSED"))
	for fd, to := range heirFDs(firstFD) {
		if !mine[fd] && (fd < firstFD+n || passed[fd] != to) {
			s.Leaked = append(s.Leaked, to)
		}
	}
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "LISTEN_") {
			s.Left = append(s.Left, e)
		}
	}
	again, _, _ := Inherited()
	s.Again = len(again)
	for _, k := range sockets {
		k.Close()
	}
	json.NewEncoder(os.Stdout).Encode(s)
}

// heirFDs tells what the descriptors from lowest on are.
func heirFDs(lowest int) map[int]string {
	fds := map[int]string{}
	for fd := lowest; fd < 64; fd++ {
		if to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			fds[fd] = to
		}
	}
	return fds
}

// inherit runs an heir with files from 3 on. env overrides.
func inherit(t *testing.T, names string, files []*os.File, env ...string) seen {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.ExtraFiles = files
	cmd.Env = append([]string{"ACTIVATION_HEIR=1", "GORACE=atexit_sleep_ms=0",
		"ACTIVATION_PASSED=" + strconv.Itoa(len(files)), "LISTEN_FDS=" + strconv.Itoa(len(files)),
		"LISTEN_FDNAMES=" + names, "LISTEN_PIDFDID=7"}, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var s seen
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if s.Leaked != nil {
		t.Errorf("left open: %v", s.Leaked)
	}
	if s.Left != nil {
		t.Errorf("left in the environment: %v", s.Left)
	}
	if s.Again != 0 {
		t.Errorf("a second call found %d sockets", s.Again)
	}
	return s
}

func listenFile(t *testing.T, network, addr string) *os.File {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func pairFile(t *testing.T, typ int) *os.File {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, g := os.NewFile(uintptr(p[0]), "pair"), os.NewFile(uintptr(p[1]), "pair")
	t.Cleanup(func() { f.Close(); g.Close() })
	return f
}

func socketFile(t *testing.T, family, typ int) *os.File {
	t.Helper()
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
	return f
}

func plainFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func pipeFile(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r
}

func TestInheritedKeepsNamesAndOrder(t *testing.T) {
	path := filepath.Join(shortDir(t), "x.sock")
	onPath, onTCP := listenFile(t, "unix", path), listenFile(t, "tcp", "127.0.0.1:0")
	abstract := listenFile(t, "unix", "@"+path)
	tcpAddr, _, err := boundAddr(int(onTCP.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	got := inherit(t, "control:scgi:scgi", []*os.File{onPath, onTCP, abstract})
	if got.Err != "" {
		t.Fatal(got.Err)
	}
	want := []seenSocket{
		{"control", path, true, true, true, true},
		{"scgi", tcpAddr, false, true, true, true},
		{"scgi", "@" + path, true, true, true, true},
	}
	if !reflect.DeepEqual(got.Sockets, want) {
		t.Errorf("inherited %+v\nwant %+v", got.Sockets, want)
	}
	// The heir closed its sockets: the path is the manager's and stays.
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestInheritedTakesIPv6(t *testing.T) {
	haveIPv6(t)
	got := inherit(t, "scgi", []*os.File{listenFile(t, "tcp", "[::1]:0")})
	if got.Err != "" || len(got.Sockets) != 1 || !strings.HasPrefix(got.Sockets[0].Addr, "[::1]:") {
		t.Errorf("inherited %+v", got)
	}
}

func TestInheritedDoesNotListenAgain(t *testing.T) {
	s := mustOpen(t, filepath.Join(shortDir(t), "x.sock"), Options{Backlog: 1})
	fd, err := unix.FcntlInt(uintptr(s.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "x")
	defer f.Close()
	if got := inherit(t, "scgi", []*os.File{f}); got.Err != "" {
		t.Fatal(got.Err)
	}
	// A backlog of 1 holds two connections; a new listen would have raised it.
	for i := range 3 {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		err = unix.Connect(c, &unix.SockaddrUnix{Name: s.Addr()})
		if full := err == unix.EAGAIN; full != (i == 2) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}

func TestInheritedNamesWithoutFDNAMES(t *testing.T) {
	got := inherit(t, "", []*os.File{listenFile(t, "tcp", "127.0.0.1:0")})
	if len(got.Sockets) != 1 || got.Sockets[0].Name != "LISTEN_FD_3" {
		t.Errorf("inherited %+v", got)
	}
}

func TestInheritedHandsOverDescriptorStore(t *testing.T) {
	got := inherit(t, "app:scgid-state:stored:scgid-state-2",
		[]*os.File{listenFile(t, "tcp", "127.0.0.1:0"), plainFile(t), pipeFile(t), plainFile(t)})
	if got.Err != "" || len(got.Sockets) != 1 || got.Sockets[0].Name != "app" {
		t.Errorf("inherited %+v", got)
	}
	if want := []string{"scgid-state", "stored", "scgid-state-2"}; !reflect.DeepEqual(got.Stored, want) {
		t.Errorf("stored %q, want %q", got.Stored, want)
	}
}

func TestInheritedSaysWhatArrivedInstead(t *testing.T) {
	tests := []struct {
		file *os.File
		want string
	}{
		{pairFile(t, unix.SOCK_DGRAM), "is a datagram socket"},
		{pairFile(t, unix.SOCK_SEQPACKET), "is a sequential-packet socket"},
		{pairFile(t, unix.SOCK_STREAM), "is a connected stream socket: the socket unit says Accept=yes; remove that line"},
		{socketFile(t, unix.AF_INET, unix.SOCK_STREAM), "is a stream socket that does not listen"},
		{socketFile(t, unix.AF_INET, unix.SOCK_DGRAM), "is a datagram socket"},
		{socketFile(t, unix.AF_NETLINK, unix.SOCK_DGRAM), "is a netlink socket"},
		{plainFile(t), "is a regular file"},
		{pipeFile(t), "is a pipe"},
		{nil, "is not open"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			good := listenFile(t, "tcp", "127.0.0.1:0")
			var got seen
			if tt.file == nil { // promised, not passed
				got = inherit(t, "good:app", []*os.File{good}, "LISTEN_FDS=2")
			} else {
				got = inherit(t, "good:app:good", []*os.File{good, tt.file, good})
			}
			if want := `cannot inherit socket "app": fd 4 ` + tt.want; got.Err != want {
				t.Errorf("error %q\nwant  %q", got.Err, want)
			}
			if got.Sockets != nil {
				t.Errorf("with the error came %+v", got.Sockets)
			}
		})
	}
}

func TestInheritedLeavesOthersSocketsAlone(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.ExtraFiles = []*os.File{listenFile(t, "tcp", "127.0.0.1:0")}
	cmd.Env = []string{"ACTIVATION_HEIR=1", "ACTIVATION_PASSED=1", "GORACE=atexit_sleep_ms=0",
		"LISTEN_FDS=1", "LISTEN_PID=1"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got seen
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got.Sockets != nil || got.Err != "" || len(got.Leaked) != 1 {
		t.Errorf("%+v, want the socket of process 1 untouched", got)
	}
}

func TestInheritedRefusesSenselessCount(t *testing.T) {
	for _, n := range []string{"2000000000", "-1", "many", ""} {
		got := inherit(t, "", nil, "LISTEN_FDS="+n)
		if !strings.Contains(got.Err, "LISTEN_FDS=") || got.Sockets != nil {
			t.Errorf("LISTEN_FDS=%q: %+v", n, got)
		}
	}
}
