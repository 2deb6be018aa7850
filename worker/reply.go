package worker

import (
	"errors"
	"io"
	"log"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// bufferSize is how much of a reply waits for more before it is sent. A body
// up to this size goes out in one write, with its Content-Length.
const bufferSize = 8 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

var errOver = errors.New("the reply is finished")

// A reply is an http.ResponseWriter that writes a CGI reply (RFC 3875,
// section 6). The mutex is for handlers that leave a goroutine behind: such a
// goroutine must not write into the next request's reply.
type reply struct {
	conn   *Conn
	body   *body
	client *clientWatch
	log    *log.Logger
	method string
	header http.Header

	mu      sync.Mutex
	code    int               // 0 until WriteHeader
	head    []byte            // from WriteHeader until it is sent
	typed   bool              // head has a Content-Type, or is to have none
	length  int64             // Content-Length in head, or -1
	sent    bool              // the head is on its way
	buf     []byte            // body that was not sent yet
	room    *[bufferSize]byte // where it is; nil without any
	written int64             // body that the handler wrote
	bytes   int64             // body that was sent
	err     error             // of the first write that failed
	crashed bool              // the handler did not return, and some was sent
	over    bool
}

func newReply(c *Conn, r *http.Request, b *body, client *clientWatch, l *log.Logger) *reply {
	return &reply{conn: c, body: b, client: client, log: l, method: r.Method, header: make(http.Header), length: -1}
}

// Header implements http.ResponseWriter.
func (w *reply) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Informational replies are not
// sent: CGI has none, and web servers take them for the final one.
func (w *reply) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(code)
}

func (w *reply) writeHeader(code int) {
	switch {
	case w.over:
		return
	case w.code != 0:
		w.log.Printf("status %d after status %d was given, ignoring it", code, w.code)
		return
	case code == http.StatusSwitchingProtocols:
		w.log.Printf("status 101 is not possible here, sending 500")
		code = http.StatusInternalServerError
	case code < 100 || code > 999:
		panic("worker: bad status " + strconv.Itoa(code))
	case code < 200:
		return
	}
	w.code = code
	w.makeHead()
}

// bodiless tells whether the reply must not have a body, whatever the handler
// writes; RFC 9110, 6.4.1.
func (w *reply) bodiless() bool {
	return w.code == http.StatusNoContent || w.code == http.StatusNotModified
}

// Write implements http.ResponseWriter. What exceeds a Content-Length that the
// handler set is not sent, and the error is http.ErrContentLength.
func (w *reply) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.begin(p); err != nil {
		return 0, err
	}
	p, cut := w.cut(p)
	w.written += int64(len(p))
	if w.method != http.MethodHead {
		if err := w.put(p); err != nil {
			return 0, err
		}
	}
	return len(p), cut
}

// begin readies the reply for a body that begins with p.
func (w *reply) begin(p []byte) error {
	if w.over {
		return errOver
	}
	if w.code == 0 {
		w.writeHeader(http.StatusOK)
	}
	if w.bodiless() {
		return http.ErrBodyNotAllowed
	}
	if !w.typed && len(p) > 0 {
		w.addHead("Content-Type", http.DetectContentType(p))
		w.typed = true
	}
	return w.err
}

// cut shortens p to what Content-Length leaves.
func (w *reply) cut(p []byte) ([]byte, error) {
	if left := w.length - w.written; w.length >= 0 && int64(len(p)) > left {
		return p[:left], http.ErrContentLength
	}
	return p, nil
}

// put buffers p, or sends it with all that waited before it.
func (w *reply) put(p []byte) error {
	if len(w.buf)+len(p) > bufferSize {
		return w.send(p)
	}
	if w.buf == nil {
		w.room = buffers.Get().(*[bufferSize]byte)
		w.buf = w.room[:0]
	}
	w.buf = append(w.buf, p...)
	return nil
}

// send writes what waits, and p, in one sendmsg(2).
func (w *reply) send(p []byte) error {
	if w.err != nil {
		return w.err
	}
	parts := make([][]byte, 0, maxParts)
	head, first := 0, !w.sent
	if first {
		w.sent = true
		w.head = append(w.head, "\r\n"...)
		head = len(w.head)
		parts = append(parts, w.head)
	}
	for _, part := range [][]byte{w.buf, p} {
		if len(part) > 0 {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	w.beginSend(first, int64(len(w.buf)+len(p)))
	n, err := w.conn.socket.writeAll(parts)
	w.bytes += max(0, n-int64(head))
	w.buf, w.head, w.err = w.buf[:0], nil, err
	w.endSend()
	return err
}

// beginSend is called before up to n bytes of the reply's body are written,
// first together with the head, and endSend after it.
func (w *reply) beginSend(first bool, n int64) {
	w.client.serve(w.isWhole(n))
	w.body.beginSend(first)
}

func (w *reply) endSend() {
	w.body.endSend()
	w.client.serve(w.isWhole(0))
}

// isWhole tells whether n more bytes make the reply as long as was stated.
func (w *reply) isWhole(n int64) bool {
	switch {
	case w.err != nil:
		return false
	case w.bodiless() || w.method == http.MethodHead:
		return true
	}
	return w.length >= 0 && n >= w.length-w.bytes
}

// Flush implements http.Flusher.
func (w *reply) Flush() { w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *reply) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *reply) flush() error {
	if w.over {
		return errOver
	}
	if w.code == 0 {
		w.writeHeader(http.StatusOK)
	}
	return w.send(nil)
}

// crash makes the reply a 500 if nothing of it was sent.
func (w *reply) crash() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.crashed = w.sent; w.sent {
		return
	}
	w.code, w.length, w.written, w.buf = 0, -1, 0, w.buf[:0]
	w.header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	w.writeHeader(http.StatusInternalServerError)
	text := http.StatusText(w.code) + "\n"
	w.written = int64(len(text))
	if w.method != http.MethodHead {
		w.put([]byte(text))
	}
}

// finish sends what waits, with Content-Length where the whole body is known.
func (w *reply) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.code == 0 {
		w.writeHeader(http.StatusOK)
	}
	if !w.sent && w.length < 0 && !w.bodiless() && (w.method != http.MethodHead || w.written > 0) {
		w.addHead("Content-Length", strconv.FormatInt(w.written, 10))
	}
	w.send(nil)
	w.over = true
	if w.room != nil { // nobody writes any more
		buffers.Put(w.room)
		w.room, w.buf = nil, nil
	}
}

// isCut tells of a finished reply whether the client should have had more of it.
func (w *reply) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil || w.bodiless() || w.method == http.MethodHead: // the client left, or has all
		return false
	case w.length >= 0:
		return w.bytes < w.length
	}
	return w.crashed
}

// SetReadDeadline is for http.ResponseController.
func (w *reply) SetReadDeadline(t time.Time) error { return w.body.setDeadline(t) }

// SetWriteDeadline is for http.ResponseController.
func (w *reply) SetWriteDeadline(t time.Time) error { return w.body.setWriteDeadline(t) }

// EnableFullDuplex is for http.ResponseController: it is always so.
func (w *reply) EnableFullDuplex() error { return nil }

// WriteString implements io.StringWriter.
func (w *reply) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

var (
	_ http.Flusher    = (*reply)(nil)
	_ io.StringWriter = (*reply)(nil)
	_ io.ReaderFrom   = (*reply)(nil)
)
