package master

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Time is a moment of the loop: the monotonic time since it began.
type Time = time.Duration

// A connState says who has to act on a connection next.
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

func (s connState) String() string {
	return [...]string{"", "parked", "waiting", "passed", "ending"}[s]
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
	fd    int
	index int32 // in loop.conns
	stamp int32 // of this use of the index
	id    uint64
	state connState
	watch uint8
	unix  bool
	probe bool // ours, to a trial
	tries int  // how often it was passed to a worker

	staked bool // counted in loop.atStake; only stake changes it

	size    int    // of the header on the wire; 0 is unknown
	seen    int    // bytes that lay in the socket when the header was judged
	hash    uint64 // keyed, of the whole header
	drained int    // bytes thrown away while ending

	accepted Time
	whole    Time // when its header was
	passedAt Time
	worker   *worker // while passed

	place node[conn] // in loop.parked, waiting or ending
	check node[conn] // in loop.unconfirmed: passed, and maybe not received

	client text46
	method text16
	uri    text
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

func (t *text) String() string   { return string(t.b[:t.n]) }
func (t *text16) String() string { return string(t.b[:t.n]) }
func (t *text46) String() string { return string(t.b[:t.n]) }

// newConn takes fd.
func (l *loop) newConn(fd int, from *listener) *conn {
	var c *conn
	if n := len(l.freeConns); n > 0 {
		c = l.freeConns[n-1]
		l.freeConns = l.freeConns[:n-1]
		*c = conn{index: c.index, stamp: c.stamp + 1}
	} else {
		c = &conn{index: int32(len(l.conns))}
		l.conns = append(l.conns, c)
	}
	l.lastConn++
	c.fd, c.id, c.unix, c.accepted = fd, l.lastConn, from.Unix, l.now
	c.place.of, c.check.of = c, c
	l.open++
	l.stake(c, true)
	return c
}

// drop closes c and forgets it. It is the one place where a connection ends.
func (l *loop) drop(c *conn) {
	c.place.leave()
	c.check.leave()
	l.stake(c, false)
	if c.watch == watchedOnce || c.watch == watchedEdge {
		// A worker may hold a copy, and epoll forgets a registration only
		// with the last of them.
		l.poll.remove(c.fd)
	}
	closeFD(c.fd)
	c.fd, c.state = -1, 0
	l.freeConns = append(l.freeConns, c)
	l.open--
	l.acceptAgain = 0
	if l.open == 0 {
		l.quietSince = l.now
	}
}

// watchConn has the loop told of the next bytes. The first time only once:
// most headers are whole by then, and the registration costs no removal.
func (l *loop) watchConn(c *conn, how uint8) error {
	events, op := uint32(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET), unix.EPOLL_CTL_MOD
	if how == watchedOnce {
		events |= unix.EPOLLONESHOT
	}
	if c.watch == unwatched {
		op = unix.EPOLL_CTL_ADD
	}
	if err := l.poll.ctl(op, c.fd, events, aboutConn, c.index, c.stamp); err != nil {
		return err
	}
	c.watch = how
	return nil
}

// unwatch ends it before the connection is passed on: the bytes that come
// from here on are the worker's business. A registration for one event has
// ended by itself.
func (l *loop) unwatch(c *conn) {
	if c.watch == watchedEdge {
		l.poll.remove(c.fd)
		c.watch = unwatched
	}
}
