package master

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the farewell to a client that we answered ourselves.
const (
	drainBytes  = 64 << 10
	drainTime   = 2 * time.Second
	drainAtOnce = 256
)

// retryAfter is what a client refused for now is told, in seconds.
const retryAfter = 5

var replies = map[int][]byte{
	400: reply(400, "Bad Request", "The web server sent a request that is not valid SCGI.", ""),
	408: reply(408, "Request Timeout", "The request was not sent in time.", ""),
	411: reply(411, "Length Required", "The web server did not say how long the request's body is.", ""),
	431: reply(431, "Request Header Fields Too Large", "The header of the request is too large.", ""),
	500: reply(500, "Internal Server Error", "The application has failed at this request.", ""),
	503: unavailable("The application is busy or not available right now. Please try again later."),
}

// unavailable is a reply of 503.
func unavailable(text string) []byte {
	return reply(503, "Service Unavailable", text, fmt.Sprintf("Retry-After: %d\r\n", retryAfter))
}

// httpReply is for those who take us for an HTTP server.
var httpReply = append([]byte("HTTP/1.0 400 Bad Request\r\n"),
	reply(400, "Bad Request", "This is an SCGI socket, and an HTTP request came: the web server wants scgi_pass, not proxy_pass.", "")...)

// reply writes a CGI reply (RFC 3875, section 6).
func reply(status int, reason, body, header string) []byte {
	return fmt.Appendf(nil, "Status: %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nCache-Control: no-store\r\n%s\r\n%s\n",
		status, reason, len(body)+1, header, body)
}

// answer replies to c ourselves and ends it. Closing at once would make the
// kernel reset the connection if the request was not read, and the client
// would lose the reply: so end our side, and drain the other within bounds.
func (l *loop) answer(c *conn, status int) { l.answerWith(c, status, replies[status]) }

func (l *loop) answerWith(c *conn, status int, text []byte) {
	c.place.leave()
	_, err := unix.SendmsgN(c.FD, text, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	l.accessOwn(c, status, text, err == nil)
	if err != nil || unix.Shutdown(c.FD, unix.SHUT_WR) != nil {
		l.drop(c)
		return
	}
	l.setAtRisk(c, false)
	if l.conns.ending.len >= drainAtOnce {
		l.drop(l.conns.ending.first.of)
	}
	c.State = ending
	l.conns.ending.append(&c.place, l.now+drainTime)
	if l.watchConn(c, watchedEdge) != nil {
		l.drop(c)
		return
	}
	l.drain(c)
}

// drain throws away what the client still sends, until it closes or has had
// its share.
func (l *loop) drain(c *conn) {
	for c.Drained <= drainBytes {
		n, errno := receive(c.FD, l.conns.buf[:firstPeek], 0)
		if errno == unix.EAGAIN {
			return
		}
		if errno != 0 || n == 0 {
			break
		}
		c.Drained += n
	}
	l.drop(c)
}
