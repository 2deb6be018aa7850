package worker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/worker/link"
	"github.com/scgid/scgid/worker/scgi"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// A master is the other side of the link. It keeps its copy of a connection
// until the worker's DONE, as the real one does.
type master struct {
	t      testing.TB
	file   *os.File
	ready  chan link.Message
	closed chan struct{} // the reader has ended
	keep   bool          // keep the copies beyond DONE
	slot   int           // of the worker's page, for all connections
	failed string        // what FAILED= said; read it after close

	mu     sync.Mutex
	sender link.Sender
	next   uint64
	held   map[uint64]int
	dones  map[uint64]link.Message
	change *sync.Cond
}

// newMaster makes a link; the worker's end is the caller's.
func newMaster(t testing.TB) (m *master, worker int) {
	t.Helper()
	fd, worker, err := link.Pair()
	if err != nil {
		t.Fatal(err)
	}
	m = &master{
		t: t, file: os.NewFile(uintptr(fd), "master"), ready: make(chan link.Message, 1), closed: make(chan struct{}),
		slot: link.NoSlot, held: make(map[uint64]int), dones: make(map[uint64]link.Message),
	}
	m.change = sync.NewCond(&m.mu)
	go m.read()
	return m, worker
}

func (m *master) control(f func(fd int)) {
	raw, err := m.file.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// read notes what the worker says until the link is closed.
func (m *master) read() {
	defer close(m.closed)
	raw, err := m.file.SyscallConn()
	if err != nil {
		m.t.Error(err)
		return
	}
	var r link.Receiver
	for {
		var packet []byte
		var err error
		rerr := raw.Read(func(fd uintptr) bool {
			packet, err = r.Receive(int(fd))
			return err != link.ErrEmpty
		})
		if rerr != nil || err == nil && len(packet) == 0 {
			return
		}
		if err != nil {
			m.t.Error(err)
			return
		}
		message, err := link.Parse(packet)
		if err != nil {
			m.t.Errorf("the worker sent %q: %v", packet, err)
		}
		m.note(message)
	}
}

func (m *master) note(message link.Message) {
	if message.Ready {
		m.ready <- message
	}
	if message.Failed != nil {
		m.failed = string(message.Failed)
	}
	if !message.HasDone {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, twice := m.dones[message.Done]; twice || message.Done == 0 || message.Done > m.next {
		m.t.Errorf("DONE=%d comes twice, or for no connection", message.Done)
	}
	m.dones[message.Done] = message
	if fd, ok := m.held[message.Done]; ok && !m.keep {
		unix.Close(fd)
		delete(m.held, message.Done)
	}
	m.change.Broadcast()
}

// pass gives the worker conn, which it takes.
func (m *master) pass(conn int) (id uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	m.held[m.next] = conn
	err = link.ErrLeaving // when the process has ended, and the link with it
	m.control(func(fd int) { err = m.sender.SendConn(fd, m.next, time.Millisecond, m.slot, conn) })
	if err != nil {
		unix.Close(conn)
		delete(m.held, m.next)
	}
	return m.next, err
}

// done waits for the worker's DONE of a connection.
func (m *master) done(id uint64) link.Message {
	m.t.Helper()
	end := time.Now().Add(patience)
	timer := time.AfterFunc(patience, m.change.Broadcast)
	defer timer.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if message, ok := m.dones[id]; ok {
			return message
		}
		if !time.Now().Before(end) {
			m.t.Fatalf("no DONE=%d", id)
		}
		m.change.Wait()
	}
}

func (m *master) retire() { m.control(func(fd int) { link.Retire(fd) }) }

// close drops all it holds.
func (m *master) close() {
	m.file.Close()
	<-m.closed
	for _, fd := range m.held {
		unix.Close(fd)
	}
}

// streamPair makes a client's connection and the descriptor that the master
// would have accepted, which blocks.
func streamPair(network string) (client net.Conn, accepted int, err error) {
	if network == "tcp" {
		return tcpPair()
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	client, err = netConn(fds[0])
	return client, fds[1], err
}

// netConn takes fd.
func netConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	return net.FileConn(f)
}

func tcpPair() (client net.Conn, accepted int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, -1, err
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, -1, err
	}
	conn, err := l.Accept()
	if err != nil {
		return nil, -1, err
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, -1, err
	}
	raw.Control(func(fd uintptr) { accepted, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = unix.SetNonblock(accepted, false)
	}
	return client, accepted, err
}

// dial is a new connection, passed to the worker.
func (m *master) dial(network string) (net.Conn, uint64) {
	m.t.Helper()
	client, accepted, err := streamPair(network)
	if err != nil {
		m.t.Fatal(err)
	}
	client.SetDeadline(time.Now().Add(patience))
	m.t.Cleanup(func() { client.Close() })
	id, err := m.pass(accepted)
	if err != nil {
		m.t.Fatal(err)
	}
	return client, id
}

// client is an HTTP client of the worker.
func (m *master) client(network string) *http.Client {
	return &http.Client{Transport: &scgi.Transport{Dial: func(context.Context) (net.Conn, error) {
		client, accepted, err := streamPair(network)
		if err == nil {
			_, err = m.pass(accepted)
		}
		return client, err
	}}}
}

// inherit puts the worker's end where Open finds it.
func inherit(t testing.TB, worker int) {
	t.Setenv(link.EnvFD, strconv.Itoa(worker))
}

// serve runs Serve in this process, until the test ends or stop is called; it
// must then return nil and have closed all it opened.
func serve(t *testing.T, h http.HandlerFunc, opts ...Option) (m *master, stop func()) {
	t.Helper()
	checkFDs(t)
	return serveUnchecked(t, h, opts...)
}

func serveUnchecked(t *testing.T, h http.HandlerFunc, opts ...Option) (m *master, stop func()) {
	t.Helper()
	m, worker := newMaster(t)
	inherit(t, worker)
	ended := make(chan error, 1)
	go func() { ended <- Serve(context.Background(), h, opts...) }()
	select {
	case <-m.ready:
	case err := <-ended:
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		m.retire()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve does not end")
		}
		m.close()
	})
	t.Cleanup(stop)
	return m, stop
}

// request encodes a GET of target, or what vars say. CONTENT_LENGTH is body's.
func request(target, body string, vars ...scgi.Var) []byte {
	all := []scgi.Var{{Name: "CONTENT_LENGTH", Value: strconv.Itoa(len(body))}, {Name: "REQUEST_URI", Value: target}}
	has := scgi.Header(vars)
	if has.Get("REQUEST_METHOD") == "" {
		all = append(all, scgi.Var{Name: "REQUEST_METHOD", Value: "GET"})
	}
	b, err := scgi.AppendHeader(nil, append(all, vars...))
	if err != nil {
		panic(err)
	}
	return append(b, body...)
}

// post encodes a POST of body.
func post(body string) []byte {
	return request("/", body, scgi.Var{Name: "REQUEST_METHOD", Value: "POST"})
}

// exchange sends b and returns all of the reply.
func (m *master) exchange(network string, b []byte) (reply string, done link.Message) {
	m.t.Helper()
	conn, id := m.dial(network)
	if _, err := conn.Write(b); err != nil {
		m.t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		m.t.Fatal(err)
	}
	conn.Close() // as web servers do; it ends a drain
	return string(all), m.done(id)
}

// checkFDs fails the test when it ends with other descriptors than it began.
func checkFDs(t testing.TB) {
	t.Helper()
	before := countFDs(t)
	t.Cleanup(func() {
		if after := countFDs(t); after != before {
			t.Errorf("%d descriptors are open after the test, %d before", after, before)
		}
	})
}

func countFDs(t testing.TB) int {
	t.Helper()
	r, w, err := os.Pipe() // opens the poller's own descriptors
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// readLine reads a line of a reply that continues.
func readLine(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}
