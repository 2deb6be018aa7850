package activation

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// fakeClock stands still until advance. Whoever waits on it is seen.
type fakeClock struct {
	mu      sync.Mutex
	t       time.Time
	timers  []fakeTimer
	waiting chan time.Duration // one entry for each wait begun
}

type fakeTimer struct {
	at time.Time
	c  chan time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{t: time.Unix(1000, 0), waiting: make(chan time.Duration, 1000)}
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) after(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ft := fakeTimer{c.t.Add(d), make(chan time.Time, 1)}
	c.timers = append(c.timers, ft)
	c.waiting <- d
	return ft.c
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	c.timers = slices.DeleteFunc(c.timers, func(ft fakeTimer) bool {
		if ft.at.After(c.t) {
			return false
		}
		ft.c <- c.t
		return true
	})
}

// wait returns when the Notifier waits on the clock, and how long it wants to.
func (c *fakeClock) wait(t *testing.T) time.Duration {
	t.Helper()
	select {
	case d := <-c.waiting:
		return d
	case <-time.After(5 * time.Second):
		t.Fatal("the notifier does not wait on the clock")
	}
	return 0
}

// manager is the service manager's end.
type manager struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func newManager(t *testing.T, path string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &manager{t, path, conn}
}

func (m *manager) want(message string) {
	m.t.Helper()
	if got := m.read(); got != message {
		m.t.Fatalf("the manager got %q, want %q", got, message)
	}
}

func (m *manager) read() string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 8192)
	n, err := m.conn.Read(buf)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(buf[:n])
}

// quiet fails if a message is there.
func (m *manager) quiet() {
	m.t.Helper()
	raw, err := m.conn.SyscallConn()
	if err != nil {
		m.t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		buf := make([]byte, 8192)
		if n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT); err == nil {
			m.t.Fatalf("the manager got %q, want nothing", buf[:n])
		}
	})
}

func notifier(t *testing.T) (*Notifier, *manager, *fakeClock) {
	t.Helper()
	m, c := newManager(t, filepath.Join(shortDir(t), "notify")), newFakeClock()
	n := startNotifier(m.path, func(err error) { t.Error(err) }, c.now, c.after)
	t.Cleanup(func() { n.Close() })
	return n, m, c
}

func TestNotifierReadsNotifySocket(t *testing.T) {
	checkFDs(t)
	for _, prefix := range []string{"", "@"} {
		m := newManager(t, prefix+filepath.Join(shortDir(t), "notify"))
		t.Setenv("NOTIFY_SOCKET", m.path)
		n := NewNotifier(nil)
		n.Ready("serving")
		m.want("READY=1\nSTATUS=serving")
		n.Stopping()
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		m.want("STOPPING=1")
		m.conn.Close()
	}
}

func TestNotifierWithoutManagerDoesNothing(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := NewNotifier(func(err error) { t.Error(err) })
	n.Ready("x")
	n.Status("x")
	n.Watchdog()
	n.Extend(time.Second)
	n.Stopping()
	if err := errors.Join(n.Close(), n.Close()); err != nil {
		t.Error(err)
	}
}

func TestStatusIsSentOnceASecondAndLatestWins(t *testing.T) {
	n, m, c := notifier(t)
	n.Status("first")
	m.want("STATUS=first")
	n.Status("second")
	if d := c.wait(t); d != time.Second {
		t.Errorf("waits %v, want 1s", d)
	}
	c.advance(999 * time.Millisecond)
	n.Status("third")
	c.wait(t)
	m.quiet()
	c.advance(time.Millisecond)
	m.want("STATUS=third")
	n.Close()
	m.quiet()
}

func TestStatusAlreadyShownIsNotSentAgain(t *testing.T) {
	n, m, c := notifier(t)
	n.Status("same")
	m.want("STATUS=same")
	n.Status("other")
	n.Status("same")
	c.advance(time.Minute)
	n.Status("same")
	n.Watchdog() // a status that is due would come with it
	m.want("WATCHDOG=1")
}

func TestStateGoesAtOnceWithTheLatestText(t *testing.T) {
	n, m, _ := notifier(t)
	n.Status("starting")
	m.want("STATUS=starting")
	n.Ready("0/16 busy")
	m.want("READY=1\nSTATUS=0/16 busy")
	n.Status("draining 3")
	n.Stopping()
	m.want("STOPPING=1\nSTATUS=draining 3")
	n.Extend(1500 * time.Millisecond)
	m.want("EXTEND_TIMEOUT_USEC=1500000")
	n.Watchdog()
	m.want("WATCHDOG=1")
}

func TestReadyAfterStoppingIsNotSaid(t *testing.T) {
	n, m, _ := notifier(t)
	n.Stopping()
	m.want("STOPPING=1")
	n.Ready("again")
	n.Stopping()
	n.Watchdog()
	m.want("WATCHDOG=1")
}

func TestCloseSendsTheLastStatus(t *testing.T) {
	n, m, c := notifier(t)
	n.Status("one")
	m.want("STATUS=one")
	n.Status("last")
	c.wait(t)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	m.want("STATUS=last")
	n.Status("after Close")
	m.quiet()
}

// fill makes the manager's queue full and returns how many messages that took.
func fill(t *testing.T, m *manager) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for n := 0; ; n++ {
		if err := unix.Sendto(fd, []byte("fill"), 0, &unix.SockaddrUnix{Name: m.path}); err == unix.EAGAIN {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNotifierNeverBlocksNorReordersWhenTheManagerIsBusy(t *testing.T) {
	n, m, _ := notifier(t)
	filled := fill(t, m)
	n.Watchdog()
	n.Ready("ready")
	for range 10000 {
		n.Watchdog()
		n.Status("busy")
		n.Extend(time.Second)
	}
	n.Stopping()
	for range filled {
		m.want("fill")
	}
	var got []string
	for {
		msg := m.read()
		got = append(got, msg)
		if strings.Contains(msg, "STOPPING=1") {
			break
		}
	}
	all := strings.Join(got, "\n")
	ready, stopping := strings.Index(all, "READY=1"), strings.Index(all, "STOPPING=1")
	if ready < 0 || stopping < ready || strings.Count(all, "READY=1") != 1 || len(got) > 3 {
		t.Errorf("the manager got %q", got)
	}
}

func TestNotifierTriesAgainAndReportsOnce(t *testing.T) {
	checkFDs(t)
	path, c := filepath.Join(shortDir(t), "notify"), newFakeClock()
	reports := make(chan error, 100)
	n := startNotifier(path, func(err error) { reports <- err }, c.now, c.after)
	defer n.Close()
	n.Ready("up")
	for _, want := range []time.Duration{100, 200, 400} {
		if d := c.wait(t); d != want*time.Millisecond {
			t.Errorf("tries again after %v, want %vms", d, int(want))
		}
		c.advance(want * time.Millisecond)
	}
	c.wait(t)
	n.Stopping() // before READY=1 could be said
	c.wait(t)
	m := newManager(t, path)
	c.advance(time.Minute)
	m.want("READY=1\nSTATUS=up")
	m.want("STOPPING=1")
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	wantError(t, <-reports, "cannot notify the service manager: ", "no such file")
	if len(reports) != 0 {
		t.Errorf("reported again: %v", <-reports)
	}
	m.conn.Close()
}

func TestCloseGivesUpInTheEnd(t *testing.T) {
	checkFDs(t)
	c := newFakeClock()
	n := startNotifier(filepath.Join(shortDir(t), "nobody"), nil, c.now, c.after)
	n.Stopping()
	closed := make(chan error)
	go func() { closed <- n.Close() }()
	for {
		select {
		case d := <-c.waiting:
			c.advance(d)
		case err := <-closed:
			wantError(t, err, "cannot notify the service manager")
			if c.now().After(time.Unix(1000, 0).Add(closeWait + time.Second)) {
				t.Errorf("gave up at %v", c.now())
			}
			return
		}
	}
}

func TestStatusTextIsOneBoundedPrintableLine(t *testing.T) {
	tests := []struct{ in, want string }{
		{"4/16 busy, 0 waiting", "4/16 busy, 0 waiting"},
		{"a\nREADY=1\r\nb\tc", "a READY=1  b c"},
		{"bell\a esc\x1b[31m nul\x00", "bell\ufffd esc\ufffd[31m nul\ufffd"},
		{"bad \xff utf8", "bad \ufffd utf8"},
		{"mirror \u202e text", "mirror \ufffd text"},
		{"zwölf", "zwölf"},
		{"\n\n", ""},
	}
	for _, tt := range tests {
		if got := cleanText(tt.in); got != tt.want {
			t.Errorf("cleanText(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	got := cleanText(strings.Repeat("a", 511) + strings.Repeat("ö", 1<<20))
	if len(got) > maxStatus || !utf8.ValidString(got) {
		t.Errorf("%d bytes, ends in %q", len(got), got[len(got)-4:])
	}
}

func TestWatchdogIntervalIsHalf(t *testing.T) {
	me := unix.Getpid()
	tests := []struct {
		usec, pid string
		want      time.Duration
	}{
		{"30000000", strconv.Itoa(me), 15 * time.Second},
		{"30000000", "", 15 * time.Second},
		{"30000000", "1", 0},
		{"", "", 0},
		{"soon", "", 0},
		{"-5", "", 0},
		{"0", "", 0},
	}
	for _, tt := range tests {
		t.Setenv("WATCHDOG_USEC", tt.usec)
		t.Setenv("WATCHDOG_PID", tt.pid)
		if got := WatchdogInterval(); got != tt.want {
			t.Errorf("WATCHDOG_USEC=%q WATCHDOG_PID=%q: %v, want %v", tt.usec, tt.pid, got, tt.want)
		}
	}
}

func TestCleanEnvironHidesTheManager(t *testing.T) {
	env := []string{"PATH=/bin", "EMPTY=", "LISTEN_FDS_OF_MINE=1", "odd"}
	dirty := slices.Clone(env)
	for _, v := range ManagerVars() {
		dirty = append(dirty, v+"=1")
	}
	before := slices.Clone(dirty)
	if got := CleanEnviron(dirty); !slices.Equal(got, env) {
		t.Errorf("left %q, want %q", got, env)
	}
	if !slices.Equal(dirty, before) {
		t.Error("the given slice was changed")
	}
	if len(ManagerVars()) < 15 {
		t.Errorf("the manager has %q", ManagerVars())
	}
}
