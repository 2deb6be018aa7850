package master

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// logRoom is how many lines may wait to be written.
const logRoom = 1024

// A logger writes the loop's lines from a goroutine of its own: a full disk or
// a stopped terminal must not stop the loop. A line that finds no room is
// dropped and counted.
type logger struct {
	to      *slog.Logger
	lines   chan slog.Record
	dropped atomic.Uint64
	done    sync.WaitGroup
}

func newLogger(to *slog.Logger) *logger {
	l := &logger{to: to, lines: make(chan slog.Record, logRoom)}
	l.done.Add(1)
	go l.write()
	return l
}

func (l *logger) write() {
	defer l.done.Done()
	for r := range l.lines {
		l.to.Handler().Handle(context.Background(), r)
		if n := l.dropped.Swap(0); n > 0 {
			l.to.Warn("log lines were dropped because writing them took too long", "lines", n)
		}
	}
}

// log queues one line; arguments are those of slog.
func (l *logger) log(level slog.Level, text string, args ...any) {
	if !l.to.Enabled(context.Background(), level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, text, 0)
	r.Add(args...)
	select {
	case l.lines <- r:
	default:
		l.dropped.Add(1)
	}
}

func (l *logger) debug(text string, args ...any) { l.log(slog.LevelDebug, text, args...) }
func (l *logger) info(text string, args ...any)  { l.log(slog.LevelInfo, text, args...) }
func (l *logger) warn(text string, args ...any)  { l.log(slog.LevelWarn, text, args...) }
func (l *logger) err(text string, args ...any)   { l.log(slog.LevelError, text, args...) }

// close writes what is queued.
func (l *logger) close() {
	close(l.lines)
	l.done.Wait()
}
