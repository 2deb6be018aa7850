package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"
)

// A logger is slog's, with lines for people, or with fields for the journal.
type logger struct {
	*slog.Logger
	*logQueue
	level   *slog.LevelVar
	journal bool // it goes to the journal
}

// newLog writes to the journal if that is what stderr is, else to stderr.
func newLog(pool string, verbose bool) logger { return logTo(os.Stderr, journalSocket, pool, verbose) }

// logTo is newLog with other places for lines: stderr instead of descriptor 2,
// and the journal's socket at this path.
func logTo(stderr io.Writer, socket, pool string, verbose bool) logger {
	level := new(slog.LevelVar)
	if verbose {
		level.Set(slog.LevelDebug)
	}
	to := &lines{to: stderr, level: level, pool: pool}
	to.journal, to.priority = openJournal(socket)
	h := newQueue(to)
	return logger{slog.New(h), h.logQueue, level, to.journal != nil}
}

// say writes to stderr what does not go through the log: why the program
// ends. If stderr is not read it waits no longer than flushWithin.
func say(text string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = os.Stderr.WriteString(text)
	}()
	select {
	case <-done:
	case <-time.After(flushWithin):
	}
}

// lines is a slog.Handler that writes "scgid[pool]: text key=value ...". A
// group is for machines: its members are fields in the journal, and no text.
// It is for one goroutine at a time.
type lines struct {
	to       io.Writer
	level    *slog.LevelVar
	pool     string
	journal  *journalWriter // nil if there is none
	priority bool           // stderr is the journal: lines begin with theirs, see sd-daemon(3)
	attrs    []slog.Attr
	group    string // of all attributes that are still to come; "" is none
}

func (h *lines) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], h.grouped(attrs)...)
	return &more
}

func (h *lines) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	more := *h
	more.group = name
	return &more
}

// grouped returns attributes in the group of the handler, if it has one.
func (h *lines) grouped(attrs []slog.Attr) []slog.Attr {
	if h.group == "" || len(attrs) == 0 {
		return attrs
	}
	return []slog.Attr{{Key: h.group, Value: slog.GroupValue(attrs...)}}
}

// all returns the attributes of a line, resolved: of the logger and its own.
func (h *lines) all(r slog.Record) []slog.Attr {
	var own []slog.Attr
	r.Attrs(func(a slog.Attr) bool { own = append(own, a); return true })
	all := append(h.attrs[:len(h.attrs):len(h.attrs)], h.grouped(own)...)
	resolved := make([]slog.Attr, 0, len(all))
	for _, a := range all {
		if a.Value = a.Value.Resolve(); !a.Equal(slog.Attr{}) {
			resolved = append(resolved, a)
		}
	}
	return resolved
}

// message is the text of a line for people. A record without one has a value
// that says it, in which case both are made only here: the value's LogValue
// has the fields for the journal, its String the message.
func message(r slog.Record) string {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if text == "" && a.Value.Kind() == slog.KindLogValuer {
			if s, ok := a.Value.LogValuer().(fmt.Stringer); ok {
				text = s.String()
			}
		}
		return text == ""
	})
	return text
}

func (h *lines) Handle(_ context.Context, r slog.Record) error {
	attrs := h.all(r)
	text := textOf(message(r), attrs)
	if h.journal != nil && h.journal.send(h.entry(text, r.Level, attrs)) == nil {
		return nil
	}
	begin := ""
	switch {
	case h.priority:
		begin = fmt.Sprintf("<%d>", priority(r.Level))
	default:
		begin = fmt.Sprintf("%s scgid[%s]: ", r.Time.Format("15:04:05"), h.pool)
		if r.Level >= slog.LevelWarn {
			begin += strings.ToLower(r.Level.String()) + ": "
		}
	}
	_, err := io.WriteString(h.to, begin+text+"\n")
	return err
}

// textOf is a line without its beginning.
func textOf(message string, attrs []slog.Attr) string {
	b := []byte(message)
	for _, a := range attrs {
		b = appendText(b, a)
	}
	return string(b)
}

// appendText writes " key=value", quoted where it would not be one word.
func appendText(b []byte, a slog.Attr) []byte {
	if a.Value.Kind() == slog.KindGroup {
		return b
	}
	v := a.Value.String()
	if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || r == 0x7f }) {
		v = strconv.Quote(v)
	}
	return fmt.Appendf(b, " %s=%s", a.Key, v)
}

// priority is what the journal calls a level.
func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
