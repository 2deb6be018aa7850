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
	level *slog.LevelVar
}

// newLog writes to stderr. Where that is the journal each line begins with
// its priority, see sd-daemon(3).
func newLog(pool string, verbose bool) logger {
	level := new(slog.LevelVar)
	if verbose {
		level.Set(slog.LevelDebug)
	}
	return logger{slog.New(&lines{to: os.Stderr, level: level, pool: pool,
		priority: os.Getenv("JOURNAL_STREAM") != "", mu: new(sync.Mutex)}), level}
}

// lines is a slog.Handler that writes "scgid[pool]: text key=value ...".
type lines struct {
	mu       *sync.Mutex
	to       io.Writer
	level    *slog.LevelVar
	pool     string
	priority bool
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
	var b bytes.Buffer
	if h.priority {
		b.WriteString(priority(r.Level))
	} else {
		fmt.Fprintf(&b, "%s scgid[%s]: ", r.Time.Format("15:04:05"), h.pool)
		if r.Level >= slog.LevelWarn {
			b.WriteString(strings.ToLower(r.Level.String()) + ": ")
		}
	}
	b.WriteString(r.Message)
	for _, a := range h.attrs {
		attr(&b, a)
	}
	r.Attrs(func(a slog.Attr) bool { attr(&b, a); return true })
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.to.Write(b.Bytes())
	return err
}

// attr writes " key=value", quoted where it would not be one word.
func attr(b *bytes.Buffer, a slog.Attr) {
	v := a.Value.Resolve().String()
	if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || r == 0x7f }) {
		v = fmt.Sprintf("%q", v)
	}
	fmt.Fprintf(b, " %s=%s", a.Key, v)
}

// priority is the prefix that the journal understands.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
