package master

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/scgid/scgid/master/poller"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// A Time is a moment of the loop: the monotonic time since it began.
type Time = time.Duration

// A connState says which side has to act on a connection next.
//
//	parked  -> waiting | passed | ending | closed
//	waiting -> passed | ending | closed
//	passed  -> waiting (never received, or never read) | closed
//	ending  -> closed
type connState uint8

const (
	parked  connState = iota + 1 // the client: its header is not whole
	waiting                      // a worker: none has had a place
	passed                       // its worker
	ending                       // the client: our reply is sent, the rest of the request is drained
)

var connStates = [...]string{"", "parked", "waiting", "passed", "ending"}

func (s connState) String() string { return connStates[s] }

// MarshalText writes the state's name.
func (s connState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a state.
func (s *connState) UnmarshalText(b []byte) error {
	i := slices.Index(connStates[:], string(b))
	if i <= 0 {
		return fmt.Errorf("a connection is %.40q", b)
	}
	*s = connState(i)
	return nil
}

// How a connection stands in the epoll set.
const (
	unwatched = iota
	watchedOnce
	watchedEdge
	watchedNoMore // registered, but its one event has come
)

// A conn is an accepted connection. The loop owns its descriptor from accept
// to close, also while a worker has a copy: that copy may die with its worker.
type conn struct {
	connFacts
	index  int32 // in conns.all
	stamp  int32 // of this use of the index
	watch  uint8
	worker *worker    // while passed
	place  node[conn] // in conns.parked, waiting or ending
	check  node[conn] // in conns.unconfirmed: passed, and maybe not received
	look   node[conn] // in pages.recent or long: passed to a worker with a page
}

// connFacts are what the next program needs to know of a connection.
type connFacts struct {
	ID     uint64
	FD     int
	State  connState
	Unix   bool
	Probe  bool // ours, to a canary
	AtRisk bool // a crash of ours would lose it; only setAtRisk changes it

	Size    int    // of the header on the wire; 0 is unknown
	Seen    int    // bytes that lay in the socket when the header was looked at
	Hash    uint64 // keyed, of the whole header
	Drained int    // bytes thrown away while ending
	Slot    int    // in the page of its worker; NoSlot without

	Accepted Time
	Whole    Time // when its header was
	PassedAt Time

	Client text46
	Method text16
	URI    text
}

// A conns drawer has all accepted connections.
type conns struct {
	all    []*conn // by index; also those in free
	free   []*conn
	LastID uint64
	open   int // connections that are not closed
	atRisk int // of these, those that a crash of ours would lose

	parked      list[conn] // whose header is not whole
	waiting     list[conn] // for a worker
	ending      list[conn] // that we have answered ourselves
	unconfirmed list[conn] // passed, and maybe not received

	hash *headHash
	buf  []byte // of the largest header; nothing in it outlives a turn
}

// add takes fd.
func (s *conns) add(fd int, isUnix bool, now Time) *conn {
	var c *conn
	if n := len(s.free); n > 0 {
		c = s.free[n-1]
		s.free = s.free[:n-1]
		*c = conn{index: c.index, stamp: c.stamp + 1}
	} else {
		c = &conn{index: int32(len(s.all))}
		s.all = append(s.all, c)
	}
	s.LastID++
	c.FD, c.ID, c.Unix, c.Accepted = fd, s.LastID, isUnix, now
	c.place.of, c.check.of, c.look.of = c, c, c
	s.open++
	return c
}

// remove forgets c, which is closed.
func (s *conns) remove(c *conn) {
	c.place.leave()
	c.check.leave()
	c.look.leave()
	c.FD, c.State = -1, 0
	s.free = append(s.free, c)
	s.open--
}

// setAtRisk notes whether a crash of ours would lose c: we have accepted it, no
// living worker has it, and no reply of ours is sent. It returns whether that
// has changed.
func (s *conns) setAtRisk(c *conn, on bool) bool {
	if c.AtRisk == on {
		return false
	}
	c.AtRisk = on
	if on {
		s.atRisk++
	} else {
		s.atRisk--
	}
	return true
}

// grow makes the buffer large enough for headers of these settings.
func (s *conns) grow(set *Settings) {
	if need := max(set.MaxHeader, scgi.DefaultMaxHeader) + 16; need > len(s.buf) {
		s.buf = make([]byte, need)
	}
}

// text, text16 and text46 are short strings that need no allocation; longer
// ones are cut.
type (
	text struct {
		n uint8
		b [200]byte
	}
	text16 struct {
		n uint8
		b [16]byte
	}
	text46 struct {
		n uint8
		b [46]byte
	}
)

func (t *text) set(b []byte)   { t.n = uint8(copy(t.b[:], b)) }
func (t *text16) set(b []byte) { t.n = uint8(copy(t.b[:], b)) }
func (t *text46) set(b []byte) { t.n = uint8(copy(t.b[:], b)) }

func (t *text) bytes() []byte   { return t.b[:t.n] }
func (t *text16) bytes() []byte { return t.b[:t.n] }
func (t *text46) bytes() []byte { return t.b[:t.n] }

// They travel as bytes, as they need not be UTF-8.

func (t text) MarshalJSON() ([]byte, error)   { return json.Marshal(t.bytes()) }
func (t text16) MarshalJSON() ([]byte, error) { return json.Marshal(t.bytes()) }
func (t text46) MarshalJSON() ([]byte, error) { return json.Marshal(t.bytes()) }

func (t *text) UnmarshalJSON(b []byte) error   { return unmarshalBytes(b, t.set) }
func (t *text16) UnmarshalJSON(b []byte) error { return unmarshalBytes(b, t.set) }
func (t *text46) UnmarshalJSON(b []byte) error { return unmarshalBytes(b, t.set) }

func unmarshalBytes(b []byte, set func([]byte)) error {
	var raw []byte
	err := json.Unmarshal(b, &raw)
	set(raw)
	return err
}

// newConn takes fd.
func (l *loop) newConn(fd int, isUnix bool) *conn {
	c := l.conns.add(fd, isUnix, l.now)
	l.setAtRisk(c, true)
	return c
}

// drop closes c and forgets it. It is the one place where a connection ends.
func (l *loop) drop(c *conn) {
	l.setAtRisk(c, false)
	if c.watch == watchedOnce || c.watch == watchedEdge {
		// A worker may hold a copy, and epoll forgets a registration only
		// with the last of them.
		l.poll.Remove(c.FD)
	}
	closeFD(c.FD)
	l.conns.remove(c)
	l.alarms[acceptDue] = 0
	if l.conns.open == 0 {
		l.intake.QuietSince = l.now
	}
}

// watchConn has the loop told of the next bytes. The first time only once:
// most headers are whole by then, and the registration costs no removal.
func (l *loop) watchConn(c *conn, how uint8) error {
	events := uint32(unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET)
	if how == watchedOnce {
		events |= unix.EPOLLONESHOT
	}
	tag := poller.Tag{About: aboutConn, Index: c.index, Stamp: c.stamp}
	var err error
	if c.watch == unwatched {
		err = l.poll.Add(c.FD, events, tag)
	} else {
		err = l.poll.Change(c.FD, events, tag)
	}
	if err == nil {
		c.watch = how
	}
	return err
}

// unwatchConn ends that before the connection is passed on: the bytes that come
// from here on are the worker's business. A registration for one event has
// ended by itself.
func (l *loop) unwatchConn(c *conn) {
	if c.watch == watchedEdge {
		l.poll.Remove(c.FD)
		c.watch = unwatched
	}
}
