package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/scgid/scgid/worker"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// maxHeader bounds a request's header, in bytes. The master has a limit of its
// own, MaxHeaderBytes, which is the one to set.
const maxHeader = 1 << 20

// afterEnd is for how many milliseconds a program may live on after the end of
// its output before the client, which has the whole reply, is told of the end.
const afterEnd = 5

// An exchange is one request and its reply.
type exchange struct {
	server *server
	conn   *worker.Conn
	raw    syscall.RawConn // of conn
	method string
	site   string // for a Location; "" leaves it as it is
	script script
	prog   *program

	watched   func()        // ends watching the client
	completed bool          // the client has all there is of the reply; a HEAD's has it before the program's end
	surplus   chan struct{} // closed when what followed the reply has ended; nil if nobody looks for that

	left  atomic.Bool             // the client has gone
	cut   atomic.Pointer[refusal] // why the body did not come whole
	begun bool                    // some of the reply was written
	short bool                    // its body is shorter than was stated
	code  int                     // status of the reply
	bytes int64                   // of its body
}

// answer does all of one exchange but for its end. The error is for the log;
// the client has its reply by then.
func (x *exchange) answer() error {
	x.conn.SetReadDeadline(time.Now().Add(x.server.silence))
	q, err := x.conn.ReadRequest(maxHeader)
	if err != nil {
		return x.badRequest(err)
	}
	x.method = q.Header.Get("REQUEST_METHOD")
	if x.server.absolute {
		x.site = siteURL(q.Header)
	}
	if x.script, err = x.server.find(q.Header); err != nil {
		return x.refused(err)
	}
	defer x.script.close()
	body := &clientBody{conn: x.conn, body: q.Body, silence: x.server.silence}
	var short []byte
	if 0 < q.ContentLength && q.ContentLength <= feedAtOnce {
		if short, err = readShort(body, q.ContentLength); err != nil {
			return x.refused(broken(err))
		}
	}
	env := x.server.env.forRequest(q, x.script)
	x.prog, err = x.server.start(x.script, env, q.ContentLength > 0, x.conn.ID())
	x.script.close()
	if err != nil {
		return x.refused(startRefusal(err, x.script.path))
	}
	var long *feeder
	switch {
	case short != nil:
		x.prog.feedShort(short)
	case q.ContentLength > 0:
		long = x.prog.feedLong(body, newBodyQueue(x.server.maxSpool, x.server.unread), x.breakOff)
	}
	return x.run(long)
}

// run sees a started program through to its end.
func (x *exchange) run(long *feeder) error {
	err := x.watchClient()
	if err != nil {
		x.prog.end()
	} else {
		x.prog.awaitBody(long)
		x.noteFull(long)
		err = x.relay()
	}
	x.unwatch()
	return x.finish(long, err)
}

// noteFull tells that the body cannot be kept for the program.
func (x *exchange) noteFull(long *feeder) {
	if long == nil {
		return
	}
	if why := long.kept.whyFull(); why != nil {
		x.server.log.Printf("request %d: no room to keep its body for the program: %v", x.conn.ID(), why)
	}
}

// watchClient has the program ended when the client leaves: on a Unix socket
// when it closes, on TCP when it resets. A half-close does not mean that.
func (x *exchange) watchClient() (err error) {
	cerr := x.raw.Control(func(fd uintptr) {
		token, e := x.server.watch.add(int(fd), 0, x.leave)
		x.watched, err = func() { x.server.watch.remove(int(fd), token) }, e
	})
	return errors.Join(cerr, err)
}

// unwatch ends that. From here on the client's leaving is what it should do.
func (x *exchange) unwatch() {
	if x.watched != nil {
		x.watched()
		x.watched = nil
	}
}

// breakOff is called when a long body does not come whole, before awaitBody
// returns for that.
func (x *exchange) breakOff(err error) {
	x.cut.Store(broken(err))
	x.prog.end()
}

func (x *exchange) leave() {
	x.left.Store(true)
	x.prog.end()
}

// finish ends the exchange: the reply, the body, the program. err says what
// was wrong with the program's reply; then the client gets another.
func (x *exchange) finish(long *feeder, err error) error {
	cut := x.isCut(err != nil || x.short || x.cut.Load() != nil)
	if err != nil {
		if err != errNothing {
			x.prog.end()
		}
		x.failed()
	}
	if x.surplus == nil {
		x.prog.stdout.close()
	}
	promptly := x.awaitExit(cut)
	if x.surplus != nil {
		<-x.surplus
		x.prog.stdout.close()
	}
	if long != nil {
		long.stop()
	}
	x.prog.closeFeed()
	x.server.lingering.finish(x.prog.stderr)
	status, ended := x.prog.reap(&x.server.later)
	if cut || err == nil && x.isCut(promptly && !ended && status.Signaled()) {
		x.conn.Cut()
	}
	return x.verdict(status, ended, err)
}

// isCut tells whether the client waits for more of a reply that has begun, and why
// says that there is no more.
func (x *exchange) isCut(why bool) bool { return why && x.begun && !x.completed && !x.left.Load() }

// failed answers for a program that has not.
func (x *exchange) failed() {
	switch {
	case x.left.Load():
	case x.cut.Load() != nil:
		x.reply(x.cut.Load().code)
	default:
		x.reply(http.StatusInternalServerError)
	}
}

// awaitExit waits for the program. Where that continues to work after the end
// of its reply, the client does not wait for it, unless it is to get a reset.
func (x *exchange) awaitExit(cut bool) (promptly bool) {
	if x.prog.exitsWithin(afterEnd) {
		return true
	}
	if _, tcp := x.conn.Conn.(*net.TCPConn); !cut || !tcp {
		x.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
	<-x.prog.exited
	return false
}

// verdict is the line for the log, nil when all went well.
func (x *exchange) verdict(status syscall.WaitStatus, ended bool, err error) error {
	name := fmt.Sprintf("%s (pid %d)", show(x.script.path), x.prog.pid)
	switch {
	case x.left.Load() && x.completed:
		return nil // it had all it came for
	case x.left.Load():
		return fmt.Errorf("the client left, so %s was told to end", name)
	case x.cut.Load() != nil:
		return fmt.Errorf("%v, so %s was told to end", x.cut.Load(), name)
	case err == errNothing:
		return fmt.Errorf("%s %s without a reply", name, describeExit(status))
	case err != nil:
		return fmt.Errorf("%s gave no proper reply: %v", name, err)
	case !ended && status != 0:
		return fmt.Errorf("%s %s after it had replied", name, describeExit(status))
	}
	return nil
}

// badRequest answers what is not SCGI. A connection on which nothing came is not
// worth a line: web servers and health checks do that.
func (x *exchange) badRequest(err error) error {
	var bad *scgi.SyntaxError
	switch {
	case errors.As(err, &bad):
		x.reply(bad.Status)
	case errors.Is(err, scgi.ErrTooLarge):
		x.reply(http.StatusRequestHeaderFieldsTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return x.refused(refuse(http.StatusRequestTimeout, "the request's header did not come in time"))
	case err == io.EOF:
		return nil
	}
	return err
}

// refused answers a request that gets no program.
func (x *exchange) refused(err error) error {
	r, ok := err.(*refusal)
	if !ok {
		r = refuse(http.StatusInternalServerError, "%v", err)
	}
	x.reply(r.code)
	return r
}

// startRefusal sorts the error of a start. A program that was there a moment
// ago and gives ENOENT has an interpreter that is not there.
func startRefusal(err error, path string) error {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return refuse(http.StatusForbidden, "cannot execute %s: %v", show(path), err)
	case errors.Is(err, unix.ENOENT) && !exists(path):
		return refuse(http.StatusNotFound, "there is no program %s", show(path))
	case errors.Is(err, unix.ENOENT):
		return refuse(http.StatusInternalServerError, "cannot execute %s: its interpreter does not exist", show(path))
	}
	return refuse(http.StatusInternalServerError, "cannot execute %s: %v", show(path), err)
}

func exists(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil
}
