package api

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// Bounds on connections at one time. Each row leaves room for those below it,
// so that nobody, with however many user ids, keeps out one who may do more.
const (
	maxConns       = 256
	maxConnsOthers = maxConns - 32       // all but uid 0
	maxConnsRead   = maxConnsOthers - 32 // those who may not change
	maxConnsName   = maxConnsRead - 64   // those who may know name and state
	maxConnsUser   = 16                  // of one user other than uid 0
)

// A gate is a listener that asks each connection who it is, and turns away
// those for which there is no room.
type gate struct {
	net.Listener
	access control.Access
	who    func(*net.UnixConn) (control.Caller, error)
	log    func(format string, args ...any)

	mu      sync.Mutex
	conns   map[*conn]struct{}
	byUser  map[uint32]int
	byLevel [control.LevelChange + 1]int // uid 0 not counted
	paces   [control.LevelChange]paces   // by level: who knows only the name keeps out no reader
	closing bool

	batch int // accepted since began; Accept's
	began time.Time
}

func newGate(l net.Listener, access control.Access, log func(string, ...any)) *gate {
	return &gate{Listener: l, access: access, who: callerOf, log: log, conns: map[*conn]struct{}{}, byUser: map[uint32]int{}}
}

// A conn is a connection whose caller is known.
type conn struct {
	*net.UnixConn
	gate   *gate
	caller control.Caller
	level  control.Level

	asked bool // it has had a whole request; guarded by gate.mu
}

// Accept returns the next connection for which there is room. While the process
// has no descriptors left it waits for some.
func (g *gate) Accept() (net.Conn, error) {
	short := false
	for {
		g.rest()
		c, err := g.Listener.Accept()
		if err != nil && isShortage(err) {
			if !short {
				g.log("control: %v, trying again until it works", err)
			}
			short = true
			time.Sleep(shortagePause)
			continue
		}
		if err != nil {
			return nil, err
		}
		short = false
		u, ok := c.(*net.UnixConn)
		if !ok {
			panic("the control socket is a Unix socket")
		}
		if admitted := g.admit(u); admitted != nil {
			return admitted, nil
		}
	}
}

// rest leaves time for others when many come at once.
func (g *gate) rest() {
	if g.batch++; g.batch < acceptBatch {
		return
	}
	time.Sleep(acceptPause - time.Since(g.began)) // mostly it is over
	g.batch, g.began = 0, time.Now()
}

// shortagePause is how long to wait for descriptors or memory.
const shortagePause = 100 * time.Millisecond

// isShortage says whether accept(2) failed for want of what will be there
// again.
func isShortage(err error) bool {
	for _, errno := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// admit takes u and returns it with its caller, or closes it and returns nil.
func (g *gate) admit(u *net.UnixConn) *conn {
	who, err := g.who(u)
	if err != nil {
		g.log("control: cannot tell who connected: %v, ignoring this client", err)
		u.Close()
		return nil
	}
	c := &conn{UnixConn: u, gate: g, caller: who, level: g.access.Level(who)}
	g.mu.Lock()
	room := g.room(c) && g.inPace(c)
	if room {
		g.count(c, 1)
		g.conns[c] = struct{}{}
	}
	g.mu.Unlock()
	if !room {
		turnAway(u)
		return nil
	}
	return c
}

// inPace says whether c's caller may ask once more at this time, and counts it.
// The caller of inPace holds g.mu.
func (g *gate) inPace(c *conn) bool {
	return c.level == control.LevelChange || g.paces[c.level].take(c.caller.UID, time.Now())
}

// room says whether there is room for c.
func (g *gate) room(c *conn) bool {
	if g.closing || len(g.conns) >= maxConns {
		return false
	}
	if c.caller.UID == 0 {
		return true
	}
	if g.byUser[c.caller.UID] >= maxConnsUser {
		return false
	}
	name := g.byLevel[control.LevelName]
	read := name + g.byLevel[control.LevelRead]
	all := read + g.byLevel[control.LevelChange]
	switch c.level {
	case control.LevelChange:
		return all < maxConnsOthers
	case control.LevelRead:
		return read < maxConnsRead && all < maxConnsOthers
	}
	return name < maxConnsName && read < maxConnsRead && all < maxConnsOthers
}

func (g *gate) count(c *conn, n int) {
	if c.caller.UID == 0 {
		return
	}
	g.byLevel[c.level] += n
	if g.byUser[c.caller.UID] += n; g.byUser[c.caller.UID] == 0 {
		delete(g.byUser, c.caller.UID)
	}
}

// turnedAway is the whole reply to a connection for which there is no room.
var turnedAway = func() []byte {
	e := control.Errorf(control.CodeBusy, "too many connections to the control socket at once").WithHint("try again")
	p := problemOf(e, 0)
	body := p.json()
	head := "HTTP/1.1 503 Service Unavailable\r\nContent-Type: " + typeProblem +
		"\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n"
	return append([]byte(head), body...)
}()

// turnAway answers and closes. The socket's buffer is empty, so that the reply
// fits, and nothing waits.
func turnAway(u *net.UnixConn) {
	_ = onSocket(u, func(fd int) error {
		_, err := unix.SendmsgN(fd, turnedAway, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return os.NewSyscallError("sendmsg", err)
	})
	u.Close()
}

// Close closes the connection and gives its place back.
func (c *conn) Close() error {
	g := c.gate
	g.mu.Lock()
	if _, held := g.conns[c]; held {
		delete(g.conns, c)
		g.count(c, -1)
	}
	g.mu.Unlock()
	return c.UnixConn.Close()
}

// begin says whether a request on c may be answered, and marks that it has had a
// whole one. The first was let in with the connection; each that follows on it
// is one more in its caller's pace.
func (c *conn) begin() error {
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	first := !c.asked
	c.asked = true
	switch {
	case g.closing:
		return control.Errorf(control.CodeOver, "the control socket is closing")
	case !first && !g.inPace(c):
		return control.Errorf(control.CodeBusy, "too many requests to the control socket in a second").WithHint("try again")
	}
	return nil
}

// closeNew lets no more in and cuts connections that have not had a whole
// request. http.Server would wait for these, and a caller who says nothing
// would hold up the end; of the others it knows which are idle.
func (g *gate) closeNew() {
	g.mu.Lock()
	g.closing = true
	var fresh []*conn
	for c := range g.conns {
		if !c.asked {
			fresh = append(fresh, c)
		}
	}
	g.mu.Unlock()
	for _, c := range fresh {
		c.Close()
	}
}
