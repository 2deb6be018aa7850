package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/scgid/scgid/control/api"
	"golang.org/x/sys/unix"
)

// A keeper is the service manager of one unit: it has the listening socket and
// keeps what is stored, over any number of masters.
type keeper struct {
	t        *testing.T
	dir      string
	listener *os.File
	notify   *net.UnixConn
	program  string // what masters are; "" is the test binary

	mu     sync.Mutex
	stored []*os.File // guarded by mu
	stores int        // guarded by mu
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	dir, err := os.MkdirTemp("", "keep") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	k := &keeper{t: t, dir: dir}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if k.listener, err = l.File(); err != nil {
		t.Fatal(err)
	}
	k.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { defer close(done); k.listen() }()
	t.Cleanup(func() {
		k.notify.Close()
		<-done
		k.listener.Close()
		k.forget()
	})
	return k
}

// listen does what systemd does with messages about its store.
func (k *keeper) listen() {
	buf, oob := make([]byte, 8192), make([]byte, 1024)
	for {
		n, oobn, _, _, err := k.notify.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		fds := rights(oob[:oobn])
		switch string(buf[:n]) {
		case "FDSTOREREMOVE=1\nFDNAME=scgid-state":
			k.forget()
		case "FDSTORE=1\nFDNAME=scgid-state":
			k.mu.Lock()
			k.stores++
			k.stored = append(k.stored, os.NewFile(uintptr(fds[0]), "scgid-state"))
			k.mu.Unlock()
		}
	}
}

// rights returns the descriptors of a message.
func rights(oob []byte) (fds []int) {
	control, _ := unix.ParseSocketControlMessage(oob)
	for i := range control {
		more, _ := unix.ParseUnixRights(&control[i])
		fds = append(fds, more...)
	}
	return fds
}

func (k *keeper) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.stored {
		f.Close()
	}
	k.stored = nil
}

// kept says how many entries there are now, and how many came in all.
func (k *keeper) kept() (now, stores int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.stored), k.stores
}

// copies returns the entries for the next master. What it says about the store
// may close ours.
func (k *keeper) copies() (all []*os.File) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.stored {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			k.t.Fatal(err)
		}
		all = append(all, os.NewFile(uintptr(fd), f.Name()))
	}
	return all
}

// start starts a master, and waits until it serves and what it has to keep is
// kept.
func (k *keeper) start(flags ...string) (*server, *api.Client) {
	k.t.Helper()
	s := &server{t: k.t, addr: filepath.Join(k.dir, "s"), journal: filepath.Join(k.dir, "journal"), log: &logBuffer{}, exited: make(chan error, 1)}
	s.files = append([]*os.File{k.listener}, k.copies()...)
	names := "scgi" + strings.Repeat(":scgid-state", len(s.files)-1)
	socket := filepath.Join(k.dir, "control.sock")
	env := append(os.Environ(), beScgid+"=1", "LISTEN_FDS="+strconv.Itoa(len(s.files)), "LISTEN_FDNAMES="+names, "NOTIFY_SOCKET="+filepath.Join(k.dir, "notify"))
	args := append([]string{"run", "--name", "test", "--set", "Control.Socket=" + socket}, flags...)
	args = append(args, "--set", "Worker.Environment="+beWorker+"="+s.journal, "--", self(k.t))
	if k.program == "" {
		s.begin(env, nil, self(k.t), args...)
	} else { // it is told for whom the sockets are, as the test binary tells itself
		s.begin(env, nil, "/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, k.program}, args...)...)
	}
	for _, f := range s.files[1:] {
		f.Close()
	}
	s.until("the record is kept", func() bool { now, _ := k.kept(); return now == 1 })
	return s, api.NewClient(socket)
}
