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
	lines   chan logLine
	dropped atomic.Uint64
	pending atomic.Int64 // lines that are not written yet
	done    sync.WaitGroup
}

// A logLine is a line as it is queued.
type logLine struct {
	record  slog.Record
	request *finished // instead, of which the record has still to be made
}

func newLogger(to *slog.Logger) *logger {
	l := &logger{to: to, lines: make(chan logLine, logRoom)}
	l.done.Add(1)
	go l.write()
	return l
}

func (l *logger) write() {
	defer l.done.Done()
	var told time.Time
	for line := range l.lines {
		if line.request != nil {
			line.record = line.request.record()
		}
		l.to.Handler().Handle(context.Background(), line.record)
		l.pending.Add(-1)
		// While there is too much to be written, this would be more of it.
		if len(l.lines) > 0 && time.Since(told) < time.Second {
			continue
		}
		if n := l.dropped.Swap(0); n > 0 {
			told = time.Now()
			l.to.Warn("log lines were dropped because writing them took too long", "lines", n)
		}
	}
}

// wants says whether lines of this level are written.
func (l *logger) wants(level slog.Level) bool { return l.to.Enabled(context.Background(), level) }

// log queues one line; arguments are those of slog.
func (l *logger) log(level slog.Level, text string, args ...any) {
	if !l.wants(level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, text, 0)
	r.Add(args...)
	l.queue(logLine{record: r})
}

func (l *logger) queue(line logLine) {
	l.pending.Add(1)
	select {
	case l.lines <- line:
	default:
		l.pending.Add(-1)
		l.dropped.Add(1)
	}
}

// access queues the line of a request. It leaves room for those that are not
// as many.
func (l *logger) access(f *finished) {
	if len(l.lines) >= logRoom*3/4 {
		l.dropped.Add(1)
		return
	}
	l.queue(logLine{request: f})
}

func (l *logger) debug(text string, args ...any) { l.log(slog.LevelDebug, text, args...) }
func (l *logger) info(text string, args ...any)  { l.log(slog.LevelInfo, text, args...) }
func (l *logger) warn(text string, args ...any)  { l.log(slog.LevelWarn, text, args...) }
func (l *logger) err(text string, args ...any)   { l.log(slog.LevelError, text, args...) }

// flush waits until what is queued is written, but no longer than limit.
func (l *logger) flush(limit time.Duration) {
	for end := time.Now().Add(limit); l.pending.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// close writes what is queued.
func (l *logger) close() {
	close(l.lines)
	l.done.Wait()
}
