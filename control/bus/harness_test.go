package bus

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// need skips a test without a program; in CI, where it is installed, it fails.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", program)
	}
	t.Skipf("needs %s", program)
	return ""
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// A testBus is a real dbus-daemon of the test's own.
type testBus struct {
	dir, config, address string
	cmd                  *exec.Cmd
}

// openConfig lets everybody own and call everything.
const openConfig = `<policy context="default"><allow own="*"/><allow send_destination="*" eavesdrop="false"/>
 <allow receive_sender="*"/><allow user="*"/></policy>`

// systemConfig is what Debian's system bus allows by default, with our policy.
const systemConfig = `<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>
 <allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
 <allow send_requested_reply="true" send_type="error"/>
 <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
 <allow send_destination="org.freedesktop.DBus"/></policy>`

// startBus starts a bus; kind is system or session, rules its policy.
func startBus(t testing.TB, kind, rules string) *testBus {
	t.Helper()
	need(t, "dbus-daemon")
	dir, err := os.MkdirTemp("", "scgid-bus-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &testBus{dir: dir, config: filepath.Join(dir, "bus.conf"), address: "unix:path=" + dir + "/bus"}
	text := fmt.Sprintf("<busconfig><type>%s</type><listen>%s</listen><auth>EXTERNAL</auth>%s</busconfig>", kind, b.address, rules)
	if err := os.WriteFile(b.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	t.Cleanup(b.stop)
	return b
}

func (b *testBus) start(t testing.TB) {
	t.Helper()
	b.cmd = exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--print-address", "--config-file="+b.config)
	var said bytes.Buffer // it warns of its descriptor limit
	b.cmd.Stderr = &said
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.stop()
		t.Fatalf("dbus-daemon did not start: %v\n%s", err, said.String())
	}
}

func (b *testBus) stop() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// dialAs connects as another user: the kernel notes who the connecting thread
// is. The thread ends with its goroutine, as it stays locked.
func dialAs(uid int, groups ...int) dialer {
	if uid == os.Getuid() && len(groups) == 0 {
		return dial
	}
	return func(ctx context.Context, socket string) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result, 1)
		go func() {
			runtime.LockOSThread()
			conn, err := connectAs(socket, uid, groups)
			done <- result{conn, err}
		}()
		r := <-done
		return r.conn, r.err
	}
}

func connectAs(socket string, uid int, groups []int) (net.Conn, error) {
	list := []uint32{uint32(uid)}
	for _, g := range groups {
		list = append(list, uint32(g))
	}
	if err := setThread(uid, list); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "bus")
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// client is a connection of a user of the bus.
func (b *testBus) client(t testing.TB, uid int, groups ...int) *dbus.Conn {
	t.Helper()
	raw, err := dialAs(uid, groups...)(context.Background(), b.dir+"/bus")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dbus.NewConn(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(uid))}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Hello(); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A running is a Front at work, with what it reported.
type running struct {
	*Front
	errs   chan error
	cancel func() // ends it
	stop   func() // ends it and waits
}

// run starts a Front for p. It is on the bus when run returns.
func (b *testBus) run(t testing.TB, p control.Pool, more ...func(*Front)) *running {
	t.Helper()
	r := b.begin(t, p, more...)
	b.await(t, Name(r.o.Name))
	return r
}

// begin is run without waiting for the bus.
func (b *testBus) begin(t testing.TB, p control.Pool, more ...func(*Front)) *running {
	t.Helper()
	r := &running{errs: make(chan error, 100)}
	r.Front = New(Options{Pool: p, Name: "my-app", Version: "1.2.3", Address: b.address,
		Access: control.Access{OwnUID: uint32(os.Getuid()), OwnFull: true, Group: -1, ReadGroup: -1},
		Report: func(err error) { r.errs <- err }})
	for _, f := range more {
		f(r.Front)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("Run returned %v, want nil", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("Run did not return")
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// await waits until somebody owns a name.
func (b *testBus) await(t testing.TB, name string) {
	t.Helper()
	c := b.client(t, os.Getuid())
	defer c.Close()
	news := make(chan *dbus.Signal, 100)
	c.Signal(news)
	if err := c.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name)); err != nil {
		t.Fatal(err)
	}
	var has bool
	if err := c.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, name).Store(&has); err != nil {
		t.Fatal(err)
	}
	for expired := time.After(20 * time.Second); !has; {
		select {
		case s := <-news:
			if s == nil {
				t.Fatal("the bus has gone")
				return
			}
			has = len(s.Body) == 3 && s.Body[0] == name && s.Body[2] != ""
		case <-expired:
			t.Fatalf("nobody owns %s", name)
		}
	}
}

const testName = "org.scgid1.app.my_2dapp"

func pool(c *dbus.Conn) dbus.BusObject { return c.Object(testName, poolPath) }

// errorName is the name of a D-Bus error.
func errorName(err error) string {
	var e dbus.Error
	if errors.As(err, &e) {
		return e.Name
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// signals subscribes to all signals of the pool, and reads from it, so that
// those come too that are for readers.
func signals(t testing.TB, c *dbus.Conn) chan *dbus.Signal {
	t.Helper()
	ch := subscribe(t, c)
	read(t, c)
	return ch
}

func read(t testing.TB, c *dbus.Conn) {
	t.Helper()
	if err := pool(c).Call(propertiesIface+".GetAll", 0, poolIface).Err; err != nil {
		t.Fatal(err)
	}
}

// subscribe subscribes to all signals of the pool.
func subscribe(t testing.TB, c *dbus.Conn) chan *dbus.Signal {
	t.Helper()
	ch := make(chan *dbus.Signal, 1000)
	c.Signal(ch)
	if err := c.AddMatchSignal(dbus.WithMatchOption("path_namespace", string(rootPath))); err != nil {
		t.Fatal(err)
	}
	return ch
}

// next waits for a signal with this name, which others may precede.
func next(t testing.TB, ch chan *dbus.Signal, name string) *dbus.Signal {
	t.Helper()
	for expired := time.After(10 * time.Second); ; {
		select {
		case s := <-ch:
			if s == nil {
				t.Fatalf("the bus has gone, want signal %s", name)
				return nil
			}
			if strings.HasSuffix(s.Name, "."+name) {
				return s
			}
		case <-expired:
			t.Fatalf("no signal %s", name)
		}
	}
}

// A fakeClock stands still until it is moved.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
	asked  chan time.Duration // each After
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Unix(1e9, 0), timers: map[chan time.Time]time.Time{}, asked: make(chan time.Duration, 1000)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.timers[ch] = c.now.Add(d)
	c.asked <- d
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, ch)
	}
}

func (c *fakeClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.timers {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.timers, ch)
		}
	}
}

// checkLeaks compares descriptors and goroutines before and after a test.
func checkLeaks(t *testing.T) {
	t.Helper()
	fds, routines := openFDs(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
			f, r := openFDs(t), runtime.NumGoroutine()
			if f <= fds && r <= routines {
				return
			}
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<16)
				t.Errorf("%d descriptors and %d goroutines, before %d and %d\n%s", f, r, fds, routines, buf[:runtime.Stack(buf, true)])
				return
			}
		}
	})
}

func openFDs(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
