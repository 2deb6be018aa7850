package load

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// A kind is how a request ended. The names are part of the JSON output.
type kind uint8

const (
	good    kind = iota
	refused      // connect: nobody listens there
	backlog      // connect: the Unix listener's backlog is full (EAGAIN)
	connect      // socket or connect: any other error
	reset        // the server reset the connection
	empty        // end of file with no byte
	short        // end of file before the end of the header or the body
	header       // the header is not one
	status       // not the status that was expected
	length       // not the body length that was expected, or over Content-Length
	body         // not the body that was expected
	timeout      // the reply had not ended in time
	kinds
)

var kindNames = [kinds]string{
	"ok", "refused", "backlog", "connect", "reset", "empty", "short",
	"header", "status", "length", "body", "timeout",
}

func (k kind) String() string { return kindNames[k] }

// noReply tells the kinds after which an immediate next try would only spin.
func (k kind) noReply() bool { return k >= refused && k <= empty }

// An ending is a kind with the detail that its first example is shown with.
// It is put into words only then, so that a failure costs no memory either.
type ending struct {
	kind      kind
	errno     unix.Errno
	got, want int64
	what      string
}

func (e ending) String() string {
	switch {
	case e.errno != 0:
		return e.what + ": " + e.errno.Error()
	case e.want != 0 || e.got != 0:
		return e.what + ": " + strconv.FormatInt(e.got, 10) + ", expected " + strconv.FormatInt(e.want, 10)
	}
	return e.what
}

// connecting is the ending for an error of connect(2).
func connecting(errno unix.Errno) ending {
	k := connect
	switch errno {
	case unix.ECONNREFUSED, unix.ENOENT:
		k = refused
	case unix.EAGAIN:
		k = backlog
	}
	return ending{kind: k, errno: errno, what: "connect"}
}
