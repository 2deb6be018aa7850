package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// maxQueued bounds what a logQueue holds, in bytes.
const maxQueued = 256 << 10

// A logQueue is where all lines of the log go. Write never waits: a reader of
// the log that is stuck does not hold up a request. Lines for which there is no room are
// dropped and counted, and the next line that passes is preceded by their number.
type logQueue struct {
	out io.Writer

	mu      sync.Mutex
	more    sync.Cond
	lines   []byte // guarded by mu, like what follows
	dropped int
	closed  bool
	done    chan struct{} // closed after the last line
}

// newLogQueue writes to out. A broken pipe there is not the end of the worker,
// as it would be by default for standard error; os/signal.
func newLogQueue(out io.Writer) *logQueue {
	// Not signal.Ignore, which programs would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	q := &logQueue{out: out, done: make(chan struct{})}
	q.more.L = &q.mu
	go q.run()
	return q
}

// Write queues one line, or drops it. It implements io.Writer for a log.Logger.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines)+len(line) > maxQueued {
		q.dropped++
		return len(line), nil
	}
	q.tellDropped()
	q.lines = append(q.lines, line...)
	q.more.Signal()
	return len(line), nil
}

func (q *logQueue) tellDropped() {
	if q.dropped > 0 {
		q.lines = fmt.Appendf(q.lines, "scgi-cgi: %d lines are missing here: the log is not read fast enough\n", q.dropped)
		q.dropped = 0
	}
}

// run writes what is queued until the end. What cannot be written is lost.
func (q *logQueue) run() {
	defer close(q.done)
	q.mu.Lock()
	defer q.mu.Unlock()
	var spare []byte
	for {
		for len(q.lines) == 0 && !q.closed {
			q.more.Wait()
		}
		q.tellDropped()
		if len(q.lines) == 0 {
			return
		}
		lines := q.lines
		q.lines = spare[:0]
		q.mu.Unlock()
		q.out.Write(lines)
		spare = lines
		q.mu.Lock()
	}
}

// close writes what is queued, for a second at most.
func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.more.Signal()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(time.Second):
	}
}
