package master

import (
	"bytes"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// A finished request is what the access log says of one. It is a copy: the
// line is made of it outside the loop, when the connection is another's.
type finished struct {
	at             time.Time
	id             uint64
	worker         uint64 // 0 is ourselves
	code           int    // 0 when the worker did not say it
	bytes          int64  // of the reply's body
	queue, service time.Duration

	client text46
	method text16
	uri    text
}

// access logs a request that its worker has answered, if the operator wants
// it.
func (l *loop) access(c *conn, code int, bytes int64) {
	if l.logsAccess() {
		f := l.finished(c, code, bytes)
		f.worker, f.queue, f.service = c.worker.id, c.passedAt-c.accepted, l.now-c.passedAt
		l.log.access(f)
	}
}

// accessOwn logs one that we have answered ourselves.
func (l *loop) accessOwn(c *conn, status int, sent bool) {
	if !l.logsAccess() {
		return
	}
	f := l.finished(c, status, 0)
	f.queue = l.now - c.accepted
	if _, body, _ := bytes.Cut(replies[status], []byte("\r\n\r\n")); sent {
		f.bytes = int64(len(body))
	}
	l.log.access(f)
}

func (l *loop) logsAccess() bool { return l.set.AccessLog && l.log.wants(slog.LevelInfo) }

func (l *loop) finished(c *conn, code int, bytes int64) *finished {
	return &finished{at: time.Now(), id: c.id, code: code, bytes: bytes, client: c.client, method: c.method, uri: c.uri}
}

// record is the line: a message for people, and in a group the same for
// machines. What is not known is a dash, and not in the group.
func (f *finished) record() slog.Record {
	method, uri, client := printable(f.method.b[:f.method.n]), printable(f.uri.b[:f.uri.n]), printable(f.client.b[:f.client.n])
	code := ""
	if f.code > 0 {
		code = strconv.Itoa(f.code)
	}
	r := slog.NewRecord(f.at, slog.LevelInfo, fmt.Sprintf("%s %s %s %dB queue=%.1fms service=%.1fms worker=%d client=%s",
		word(method), word(uri), word(code), f.bytes, milliseconds(f.queue), milliseconds(f.service), f.worker, word(client)), 0)
	var fields []slog.Attr
	for _, a := range [...]slog.Attr{slog.String("method", method), slog.String("uri", uri), slog.String("code", code), slog.String("client", client)} {
		if a.Value.String() != "" {
			fields = append(fields, a)
		}
	}
	fields = append(fields,
		slog.Int64("bytes", f.bytes), slog.Int64("queue_usec", f.queue.Microseconds()), slog.Int64("service_usec", f.service.Microseconds()),
		slog.Uint64("worker", f.worker), slog.Uint64("request", f.id))
	r.AddAttrs(slog.Attr{Key: "access", Value: slog.GroupValue(fields...)})
	return r
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// word writes printable text as one word, so that the words of a line can be
// counted whatever a client sends.
func word(s string) string {
	switch {
	case s == "":
		return "-"
	case strings.ContainsAny(s, ` "`):
		return strconv.Quote(s)
	}
	return s
}
