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
// so that nobody, with however many user ids, keeps out a caller who may do more.
const (
	maxConns       = 256
	maxConnsOthers = maxConns - 32       // all but uid 0
	maxConnsRead   = maxConnsOthers - 32 // those who may not change
	maxConnsName   = maxConnsRead - 64   // those who may know name and state
	maxConnsUser   = 16                  // of one user other than uid 0
)

// An admission is a listener that looks who each caller is, and rejects
// connections for which there is no room.
type admission struct {
	net.Listener
	access control.Access
	who    func(*net.UnixConn) (control.Caller, error)
	log    func(format string, args ...any)

	mu      sync.Mutex
	conns   map[*conn]struct{}
	byUser  map[uint32]int
	byLevel [control.LevelChange + 1]int   // uid 0 not counted
	rates   [control.LevelChange]rateLimit // by level: who knows only the name keeps out no reader
	closing bool

	batch int // accepted since began; Accept's
	began time.Time
}

func newAdmission(l net.Listener, access control.Access, log func(string, ...any)) *admission {
	return &admission{Listener: l, access: access, who: callerOf, log: log, conns: map[*conn]struct{}{}, byUser: map[uint32]int{}}
}

// A conn is a connection whose caller is known.
type conn struct {
	*net.UnixConn
	admission *admission
	caller    control.Caller
	level     control.Level

	asked bool // it has had a whole request; guarded by admission.mu
}

// Accept returns the next connection for which there is room. While the process
// has no descriptors left it waits for some.
func (a *admission) Accept() (net.Conn, error) {
	short := false
	for {
		a.rest()
		c, err := a.Listener.Accept()
		if err != nil && isShortage(err) {
			if !short {
				a.log("control: %v, trying again until it works", err)
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
		if admitted := a.admit(u); admitted != nil {
			return admitted, nil
		}
	}
}

// rest leaves time for others when many come at once.
func (a *admission) rest() {
	if a.batch++; a.batch < acceptBatch {
		return
	}
	time.Sleep(acceptPause - time.Since(a.began)) // mostly it is over
	a.batch, a.began = 0, time.Now()
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
func (a *admission) admit(u *net.UnixConn) *conn {
	who, err := a.who(u)
	if err != nil {
		a.log("control: cannot read the credentials of a client: %v, ignoring this client", err)
		u.Close()
		return nil
	}
	c := &conn{UnixConn: u, admission: a, caller: who, level: a.access.Level(who)}
	a.mu.Lock()
	room := a.room(c) && a.withinRate(c)
	if room {
		a.count(c, 1)
		a.conns[c] = struct{}{}
	}
	a.mu.Unlock()
	if !room {
		reject(u)
		return nil
	}
	return c
}

// withinRate says whether c's caller may ask once more at this time, and counts it.
// The caller of withinRate holds a.mu.
func (a *admission) withinRate(c *conn) bool {
	return c.level == control.LevelChange || a.rates[c.level].take(c.caller.UID, time.Now())
}

// room says whether there is room for c.
func (a *admission) room(c *conn) bool {
	if a.closing || len(a.conns) >= maxConns {
		return false
	}
	if c.caller.UID == 0 {
		return true
	}
	if a.byUser[c.caller.UID] >= maxConnsUser {
		return false
	}
	name := a.byLevel[control.LevelName]
	read := name + a.byLevel[control.LevelRead]
	all := read + a.byLevel[control.LevelChange]
	switch c.level {
	case control.LevelChange:
		return all < maxConnsOthers
	case control.LevelRead:
		return read < maxConnsRead && all < maxConnsOthers
	}
	return name < maxConnsName && read < maxConnsRead && all < maxConnsOthers
}

func (a *admission) count(c *conn, n int) {
	if c.caller.UID == 0 {
		return
	}
	a.byLevel[c.level] += n
	if a.byUser[c.caller.UID] += n; a.byUser[c.caller.UID] == 0 {
		delete(a.byUser, c.caller.UID)
	}
}

// rejection is the whole reply to a connection for which there is no room.
var rejection = func() []byte {
	e := control.Errorf(control.CodeBusy, "too many connections to the control socket at once").WithHint("try again")
	p := problemOf(e, 0)
	body := p.json()
	head := "HTTP/1.1 503 Service Unavailable\r\nContent-Type: " + typeProblem +
		"\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n"
	return append([]byte(head), body...)
}()

// reject answers and closes. The socket's buffer is empty, so that the reply
// fits, and nothing waits.
func reject(u *net.UnixConn) {
	_ = onSocket(u, func(fd int) error {
		_, err := unix.SendmsgN(fd, rejection, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return os.NewSyscallError("sendmsg", err)
	})
	u.Close()
}

// Close closes the connection and gives its place back.
func (c *conn) Close() error {
	a := c.admission
	a.mu.Lock()
	if _, held := a.conns[c]; held {
		delete(a.conns, c)
		a.count(c, -1)
	}
	a.mu.Unlock()
	return c.UnixConn.Close()
}

// begin says whether a request on c may be answered, and marks that it has had a
// whole one. The first was let in with the connection; each that follows on it
// counts against its caller's rate.
func (c *conn) begin() error {
	a := c.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !c.asked
	c.asked = true
	switch {
	case a.closing:
		return control.Errorf(control.CodeOver, "the control socket is closing")
	case !first && !a.withinRate(c):
		return control.Errorf(control.CodeBusy, "too many requests to the control socket in a second").WithHint("try again")
	}
	return nil
}

// closeNew lets no more in and cuts connections that have not had a whole
// request. http.Server would wait for these, and a silent caller would hold up
// the end; of the others it knows which are idle.
func (a *admission) closeNew() {
	a.mu.Lock()
	a.closing = true
	var fresh []*conn
	for c := range a.conns {
		if !c.asked {
			fresh = append(fresh, c)
		}
	}
	a.mu.Unlock()
	for _, c := range fresh {
		c.Close()
	}
}
