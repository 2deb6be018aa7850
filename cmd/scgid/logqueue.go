package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	logRoom     = 1024            // lines that may wait to be written
	requestRoom = logRoom * 3 / 4 // of these, for lines of requests

	// flushWithin is how long the last lines may take: a log that is not read
	// must not hold up the end of the process.
	flushWithin = time.Second
)

// A logQueue writes all lines of the process, in one goroutine of its own. A
// log that nobody reads (a full pipe, a journal that hangs) stops that
// goroutine and nothing else: lines that find no room are dropped and counted.
// The count is a line by itself, behind the next one that is written.
type logQueue struct {
	lines   chan logLine
	pending atomic.Int64  // lines that are not written yet
	dropped atomic.Uint64 // since the master began
	untold  atomic.Uint64 // of these, not in the log yet
}

// A logLine is a line as it waits, or a mark for Flush.
type logLine struct {
	to      slog.Handler // with the attributes of its logger
	record  slog.Record
	written chan struct{} // a mark: closed when all before it is written
}

// queued is the slog.Handler in front of a logQueue. It never waits. The
// queue's goroutine resolves the values of attributes (slog.LogValuer) and
// makes text of them, so they must not change after they have been logged.
//
// A record without a message is the line of a request. There are many of
// these, so they leave room for other lines, and the goroutine makes their
// message too: see message.
type queued struct {
	*logQueue
	to slog.Handler
}

// newQueue starts a queue in front of to, which is called by one goroutine.
func newQueue(to slog.Handler) queued {
	q := &logQueue{lines: make(chan logLine, logRoom)}
	go q.write(to)
	return queued{q, to}
}

func (h queued) Enabled(ctx context.Context, l slog.Level) bool { return h.to.Enabled(ctx, l) }

func (h queued) WithAttrs(attrs []slog.Attr) slog.Handler {
	return queued{h.logQueue, h.to.WithAttrs(attrs)}
}

func (h queued) WithGroup(name string) slog.Handler {
	return queued{h.logQueue, h.to.WithGroup(name)}
}

func (h queued) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "" && len(h.lines) >= requestRoom {
		h.drop()
		return nil
	}
	h.pending.Add(1)
	select {
	case h.lines <- logLine{to: h.to, record: r.Clone()}:
	default:
		h.pending.Add(-1)
		h.drop()
	}
	return nil
}

func (q *logQueue) drop() {
	q.dropped.Add(1)
	q.untold.Add(1)
}

// Dropped returns how many lines found no room since the master began.
func (q *logQueue) Dropped() uint64 { return q.dropped.Load() }

// Flush waits until all lines of before are written, but no longer than limit,
// and says whether they are.
func (q *logQueue) Flush(limit time.Duration) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	mark := logLine{written: make(chan struct{})}
	select {
	case q.lines <- mark:
	case <-late.C:
		return false
	}
	select {
	case <-mark.written:
		return true
	case <-late.C:
		return false
	}
}

func (q *logQueue) write(to slog.Handler) {
	var toldAt time.Time
	for line := range q.lines {
		mark := line.written != nil
		if !mark {
			_ = line.to.Handle(context.Background(), line.record) // there is no other place to say so
			q.pending.Add(-1)
		}
		// While there is too much to be written, this would be more of it.
		if mark || len(q.lines) == 0 || time.Since(toldAt) >= time.Second {
			if q.tell(to) {
				toldAt = time.Now()
			}
		}
		if mark {
			close(line.written)
		}
	}
}

// tell writes how many lines were dropped since it was told last, if any.
func (q *logQueue) tell(to slog.Handler) bool {
	n := q.untold.Swap(0)
	if n == 0 {
		return false
	}
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped because writing them took too long", 0)
	r.Add("lines", n)
	_ = to.Handle(context.Background(), r)
	return true
}

// A lostLog is what the next program has to know of a queue that ends with
// this one at execve(2).
type lostLog struct{ Dropped, Untold uint64 }

// leave counts lines that are not written by now as dropped: it is called after
// Flush.
func (q *logQueue) leave() lostLog {
	waiting := uint64(max(0, q.pending.Load()))
	return lostLog{q.dropped.Load() + waiting, q.untold.Load() + waiting}
}

// inherit continues to count where the previous program has left off.
func (q *logQueue) inherit(l lostLog) {
	q.dropped.Add(l.Dropped)
	q.untold.Add(l.Untold)
}
