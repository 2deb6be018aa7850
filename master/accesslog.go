package master

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/worker/link"
)

// A finished request is what the access log says of it: a value of a line of
// the log, of which the line is made outside the loop. It is a copy, as the
// connection is another's by then.
type finished struct {
	id             uint64
	worker         uint64 // 0 is ourselves
	code           int    // 0 when the worker did not say it
	cut            bool   // the reply ended early
	bytes          int64  // of the reply's body
	queue, service time.Duration

	client text46
	method text16
	uri    text
}

// access logs a request that its worker has answered, if the operator wants
// it.
func (l *loop) access(c *conn, m link.Message, ended Time) {
	if l.logsAccess() {
		f := finish(c, m.Code, m.Bytes)
		f.cut = m.Cut
		f.worker, f.queue, f.service = c.worker.ID, c.PassedAt-c.Accepted, ended-c.PassedAt
		l.logAccess(f)
	}
}

// accessOwn logs one that we have answered ourselves, with this reply.
func (l *loop) accessOwn(c *conn, status int, reply []byte, sent bool) {
	if !l.logsAccess() {
		return
	}
	f := finish(c, status, 0)
	f.queue = l.now - c.Accepted
	if _, body, _ := bytes.Cut(reply, []byte("\r\n\r\n")); sent {
		f.bytes = int64(len(body))
	}
	l.logAccess(f)
}

func (l *loop) logsAccess() bool {
	return l.set().AccessLog && l.log.Enabled(context.Background(), slog.LevelInfo)
}

// logAccess queues the line. It has no message: that is the value's own text.
// (Not by Info, which would look for its caller each time.)
func (l *loop) logAccess(f *finished) {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "", 0)
	r.AddAttrs(slog.Any("access", f))
	_ = l.log.Handler().Handle(context.Background(), r)
}

func finish(c *conn, code int, bytes int64) *finished {
	return &finished{id: c.ID, code: code, bytes: bytes, client: c.Client, method: c.Method, uri: c.URI}
}

// String is the line for people. What is not known is a dash.
func (f *finished) String() string {
	code := ""
	if f.code > 0 {
		code = strconv.Itoa(f.code)
	}
	cut := ""
	if f.cut {
		cut = " cut"
	}
	return fmt.Sprintf("%s %s %s %dB queue=%.1fms service=%.1fms worker=%d client=%s%s",
		word(printable(f.method.bytes())), word(printable(f.uri.bytes())), word(code), f.bytes,
		milliseconds(f.queue), milliseconds(f.service), f.worker, word(printable(f.client.bytes())), cut)
}

// LogValue is the line for machines, a group of fields. What is not known is not
// in it.
func (f *finished) LogValue() slog.Value {
	var fields []slog.Attr
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, slog.String(key, value))
		}
	}
	add("method", printable(f.method.bytes()))
	add("uri", printable(f.uri.bytes()))
	if f.code > 0 {
		add("code", strconv.Itoa(f.code))
	}
	add("client", printable(f.client.bytes()))
	if f.cut {
		fields = append(fields, slog.Bool("cut", true))
	}
	return slog.GroupValue(append(fields,
		slog.Int64("bytes", f.bytes), slog.Int64("queue_usec", f.queue.Microseconds()), slog.Int64("service_usec", f.service.Microseconds()),
		slog.Uint64("worker", f.worker), slog.Uint64("request", f.id))...)
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
