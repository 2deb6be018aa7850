package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// A logger is slog's, with lines for people.
type logger struct {
	*slog.Logger
	level   *slog.LevelVar
	journal bool // it goes to the journal
}

// newLog writes to the journal if that is what stderr is, else to stderr.
func newLog(pool string, verbose bool) logger {
	level := new(slog.LevelVar)
	if verbose {
		level.Set(slog.LevelDebug)
	}
	h := &lines{to: os.Stderr, level: level, pool: pool, mu: new(sync.Mutex)}
	h.journal, h.priority = openJournal()
	return logger{slog.New(h), level, h.journal != nil}
}

// lines is a slog.Handler that writes "scgid[pool]: text key=value ...". A
// group is for machines: its members are fields in the journal, and no text.
type lines struct {
	mu       *sync.Mutex
	to       io.Writer
	level    *slog.LevelVar
	pool     string
	journal  *journalWriter // nil is none
	priority bool           // stderr is the journal: lines begin with theirs, see sd-daemon(3)
	attrs    []slog.Attr
}

func (h *lines) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return &more
}

func (h *lines) WithGroup(string) slog.Handler { return h }

func (h *lines) Handle(_ context.Context, r slog.Record) error {
	if h.journal != nil && h.journal.send(h.entry(r)) == nil {
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
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.to, begin+h.text(r)+"\n")
	return err
}

// text is the line without its beginning.
func (h *lines) text(r slog.Record) string {
	var b bytes.Buffer
	b.WriteString(r.Message)
	for _, a := range h.attrs {
		attr(&b, a)
	}
	r.Attrs(func(a slog.Attr) bool { attr(&b, a); return true })
	return b.String()
}

// attr writes " key=value", quoted where it would not be one word.
func attr(b *bytes.Buffer, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		return
	}
	v := value.String()
	if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || r == 0x7f }) {
		v = fmt.Sprintf("%q", v)
	}
	fmt.Fprintf(b, " %s=%s", a.Key, v)
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
