package load

import (
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A run is what the engines of one Run share.
type run struct {
	to      address
	req     *request
	check   *checker
	timeout time.Duration
	pause   time.Duration
	epoch   time.Time
	until   int64 // after epoch, in ns; 0: no end
	endless bool
	left    atomic.Int64 // requests that may still start, unless endless
	stop    atomic.Bool  // the context has ended
	ended   *atomic.Int64
	polite  bool // every P has an engine
}

// take asks for one more request.
func (r *run) take(now int64) bool {
	if r.over(now) {
		return false
	}
	return r.endless || r.left.Add(-1) >= 0
}

// over tells that no request may start any more.
func (r *run) over(now int64) bool {
	return r.until > 0 && now >= r.until || r.stop.Load() || !r.endless && r.left.Load() <= 0
}

const (
	maxWait = 5 * time.Millisecond // see raw: a garbage collection waits for us
	backoff = time.Millisecond     // after a failure that cost the server nothing
	grace   = time.Second          // for requests on their way when the context ends
	bufSize = 256 << 10
)

// An engine is one epoll loop that owns its clients. Nobody else touches it
// while it runs.
type engine struct {
	*run
	epoll   int
	clients []client
	asleep  queue // clients by the time they wake at
	open    int   // clients with a socket
	opening bool  // within begin
	scan    int64 // when to look for timeouts next
	cut     int64 // when to give up after the end of the context; 0: not yet
	events  [64]unix.EpollEvent
	buf     []byte
	ev      unix.EpollEvent // of the next epoll_ctl; see raw
	ts      unix.Timespec   // of the next wait
	tally
}

// A client sends one request at a time.
type client struct {
	fd       int32 // -1 between two requests
	sending  bool
	received bool // at least one byte
	start    int64
	sent     int64
	count    int64 // requests ended
	reply    reply
}

func newEngine(run *run, clients int) (*engine, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	e := &engine{run: run, epoll: epoll, clients: make([]client, clients), buf: make([]byte, bufSize)}
	for i := range e.clients {
		e.clients[i].fd = -1
		e.clients[i].reply.check = run.check
	}
	e.asleep.init(clients)
	return e, nil
}

func (e *engine) close() { unix.Close(e.epoll) }

// now is the time since the beginning of the run, in ns.
func (e *engine) now() int64 { return int64(time.Since(e.epoch)) }

func (e *engine) loop() {
	for i := range e.clients {
		e.begin(i, e.now())
	}
	for e.open > 0 || e.asleep.len() > 0 {
		for _, ev := range e.wait() {
			e.event(int(ev.Fd), ev.Events)
		}
		now := e.now()
		e.wake(now)
		e.expire(now)
	}
}

// wake begins the requests of clients whose pause is over, and sends all
// sleepers home when the run is.
func (e *engine) wake(now int64) {
	over := e.over(now)
	for e.asleep.len() > 0 {
		i, at := e.asleep.first()
		if !over && at > now {
			return
		}
		e.asleep.drop()
		if !over {
			e.begin(i, now)
		}
	}
}

// expire ends requests that took too long, and all a while after the context.
func (e *engine) expire(now int64) {
	if now < e.scan {
		return
	}
	e.scan = now + min(max(int64(e.timeout/8), int64(time.Millisecond)), int64(50*time.Millisecond))
	if e.cut == 0 && e.stop.Load() {
		e.cut = now + int64(grace)
	}
	for i := range e.clients {
		c := &e.clients[i]
		switch {
		case c.fd < 0:
		case now-c.start >= int64(e.timeout):
			e.end(i, ending{kind: timeout, what: "no end of the reply within the timeout"})
		case e.cut > 0 && now >= e.cut:
			e.unfinished++
			e.shut(c)
		}
	}
}

// begin starts a request of client i, or retires the client.
func (e *engine) begin(i int, now int64) {
	if !e.take(now) {
		return
	}
	e.opening = true
	e.connect(i)
	e.opening = false
}

// connect opens client i's connection and sends what goes at once.
func (e *engine) connect(i int) {
	c := &e.clients[i]
	c.start, c.sent, c.sending, c.received = e.now(), 0, true, false
	c.reply.reset()
	fd, errno := raw(unix.SYS_SOCKET, uintptr(e.to.family), unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errno != 0 {
		e.end(i, ending{kind: connect, errno: errno, what: "socket"})
		return
	}
	c.fd = int32(fd)
	e.open++
	_, errno = raw(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&e.to.raw)), e.to.size)
	if errno != 0 && errno != unix.EINPROGRESS {
		e.end(i, connecting(errno))
		return
	}
	if e.send(i) {
		e.watch(i)
	}
}

// watch has the rest of client i's request reported. Edges are enough: all
// that can be sent or received is, each time.
func (e *engine) watch(i int) {
	c := &e.clients[i]
	e.ev = unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | edge, Fd: int32(i)}
	if c.sending {
		e.ev.Events |= unix.EPOLLOUT
	}
	_, errno := raw4(unix.SYS_EPOLL_CTL, uintptr(e.epoll), unix.EPOLL_CTL_ADD, uintptr(c.fd), uintptr(unsafe.Pointer(&e.ev)))
	if errno != 0 {
		e.end(i, ending{kind: connect, errno: errno, what: "epoll_ctl"})
	}
}

// send sends as much as there is room for. It returns false when that ended
// the request.
func (e *engine) send(i int) bool {
	c := &e.clients[i]
	for c.sent < e.req.size {
		b := e.req.after(c.sent)
		n, errno := raw4(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL)
		switch errno {
		case 0:
			c.sent += int64(n)
			e.sent += int64(n)
		case unix.EAGAIN:
			return true
		case unix.EPIPE, unix.ECONNRESET:
			// The server may have answered without reading it all.
			c.sending = false
			return e.receive(i, unix.EPOLLERR)
		default: // of a TCP connect that was still in progress
			e.end(i, connecting(errno))
			return false
		}
	}
	c.sending = false
	return true
}

func (e *engine) event(i int, events uint32) {
	c := &e.clients[i]
	if c.fd < 0 {
		return
	}
	if c.sending && events&(unix.EPOLLOUT|unix.EPOLLERR) != 0 && !e.send(i) {
		return
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		e.receive(i, events)
	}
}

// receive takes what there is. It returns false when that ended the request.
func (e *engine) receive(i int, events uint32) bool {
	c := &e.clients[i]
	for {
		n, errno := raw4(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&e.buf[0])), bufSize, 0)
		switch {
		case errno == unix.EAGAIN:
			return true
		case errno != 0:
			e.end(i, broken(c, errno))
			return false
		case n == 0:
			e.end(i, c.reply.end(c.received))
			return false
		}
		c.received = true
		e.received += int64(n)
		c.reply.feed(e.buf[:n])
		// A short read has emptied the socket. The end had come before it was
		// read, so it is certain, unless there is an error to fetch.
		switch {
		case n == bufSize || events&unix.EPOLLERR != 0:
		case events&unix.EPOLLRDHUP != 0:
			e.end(i, c.reply.end(true))
			return false
		default:
			return true
		}
	}
}

// broken is the ending for an error of recv(2).
func broken(c *client, errno unix.Errno) ending {
	if errno == unix.ECONNREFUSED && !c.received {
		return connecting(errno)
	}
	return ending{kind: reset, errno: errno, what: "recv"}
}

// end closes client i's connection, counts its request, and has the client continue.
func (e *engine) end(i int, how ending) {
	c := &e.clients[i]
	e.shut(c)
	now := e.now()
	c.count++
	e.ended.Add(1)
	e.count(c, how, now)
	switch {
	case e.pause > 0:
		e.asleep.push(i, now+int64(e.pause))
	case how.kind.noReply():
		e.asleep.push(i, now+int64(backoff))
	case e.opening: // begin must not grow the stack
		e.asleep.push(i, now)
	default:
		e.begin(i, now)
	}
}

// shut closes c's socket, if it has one.
func (e *engine) shut(c *client) {
	if c.fd < 0 {
		return
	}
	raw(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
	c.fd = -1
	e.open--
}
