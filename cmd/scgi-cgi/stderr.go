package main

import (
	"bytes"
	"log"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// maxLine bounds a line of a program's standard error in the log, in bytes;
	// a longer line becomes several.
	maxLine = 4096

	// readAtOnce is how much is read from one program before the others get
	// their turn.
	readAtOnce = 64 << 10

	// maxLingering bounds the programs of which background children still hold
	// standard error.
	maxLingering = 16
)

// An errOutput is the reading end of a program's standard error. Its lines go to
// the log with the number of the request. The watcher's goroutine reads it.
//
// It is a pipe, and not the worker's own standard error: journald looks up the
// unit of the process that writes to that, and a short program has ended by then; and the
// socket to journald cannot be opened as /dev/stderr.
type errOutput struct {
	request uint64
	log     *log.Logger
	watch   *watcher

	mu     sync.Mutex
	fd     int    // -1 once closed
	token  uint64 // of fd in watch
	line   []byte // the beginning of a line
	closed func() // is told that fd was closed; nil until the request has ended
}

// newErrOutput takes fd, and begins to read.
func newErrOutput(fd int, request uint64, l *log.Logger, watch *watcher) (*errOutput, error) {
	unix.SetNonblock(fd, true) // fcntl(2) gives no error for that
	e := &errOutput{request: request, log: l, watch: watch, fd: fd}
	e.mu.Lock()
	defer e.mu.Unlock()
	token, err := watch.add(fd, unix.EPOLLIN, e.readable)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	e.token = token
	return e, nil
}

// readable is called by the watcher.
func (e *errOutput) readable() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fd < 0 {
		return
	}
	if e.read() {
		e.close()
		return
	}
	token, err := e.watch.again(e.fd, unix.EPOLLIN, e.readable)
	if err != nil {
		e.close()
		return
	}
	e.token = token
}

// finish takes what the program has written; it has exited. Where a background
// child holds the other end, reading continues in the background, and left is
// true: closed is called once that ends.
func (e *errOutput) finish(closed func()) (left bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fd < 0 {
		return false
	}
	if e.read() {
		e.close()
		return false
	}
	e.flush()
	e.closed = closed
	return true
}

// end closes the pipe, whoever holds the other end.
func (e *errOutput) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fd >= 0 {
		e.close()
	}
}

// close is called with mu held and fd open.
func (e *errOutput) close() {
	e.flush()
	e.watch.remove(e.fd, e.token)
	unix.Close(e.fd)
	e.fd = -1
	if e.closed != nil {
		go e.closed() // it takes a lock under which end is called
	}
}

// read takes what is in the pipe. It returns true at the end of file.
func (e *errOutput) read() (ended bool) {
	var b [4096]byte
	for total := 0; total < readAtOnce; {
		n, err := unix.Read(e.fd, b[:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil: // EAGAIN
			return err != unix.EAGAIN
		case n == 0:
			return true
		}
		total += n
		e.take(b[:n])
	}
	return false
}

// take cuts b into lines.
func (e *errOutput) take(b []byte) {
	for len(b) > 0 {
		room := maxLine - len(e.line)
		end := bytes.IndexByte(b[:min(len(b), room)], '\n')
		switch {
		case end >= 0:
			e.line = append(e.line, b[:end]...)
			b = b[end+1:]
		case len(b) < room:
			e.line = append(e.line, b...)
			return
		default:
			e.line = append(e.line, b[:room]...)
			b = b[room:]
		}
		e.flush()
	}
}

// flush writes the line; an empty line says nothing.
func (e *errOutput) flush() {
	if line := bytes.TrimRight(e.line, "\r"); len(line) > 0 {
		e.log.Printf("request %d: stderr: %s", e.request, printable(line))
	}
	e.line = e.line[:0]
}

// printable escapes what a terminal would obey, and what is not UTF-8.
func printable(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1, r < ' ' && r != '\t', r == 0x7f:
			out = append(out, `\x`...)
			if b[0] < 0x10 {
				out = append(out, '0')
			}
			out = strconv.AppendUint(out, uint64(b[0]), 16)
		case r == '\t' || strconv.IsPrint(r):
			out = append(out, b[:n]...)
		default:
			q := strconv.AppendQuoteRuneToASCII(nil, r)
			out = append(out, q[1:len(q)-1]...)
		}
		b = b[n:]
	}
	return out
}

// A lingering holds the standard error of programs that have ended and of which
// background children have not. It closes the oldest where there are too many;
// what still writes there gets SIGPIPE.
type lingering struct {
	mu  sync.Mutex
	all []*errOutput
}

// finish ends the reading of e, or has it continue in the background.
func (l *lingering) finish(e *errOutput) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !e.finish(func() { l.remove(e) }) {
		return
	}
	l.all = append(l.all, e)
	if len(l.all) > maxLingering {
		l.all[0].end()
		l.all = slices.Delete(l.all, 0, 1)
	}
}

// end closes all of them.
func (l *lingering) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		e.end()
	}
	l.all = nil
}

func (l *lingering) remove(e *errOutput) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.all, e); i >= 0 {
		l.all = slices.Delete(l.all, i, i+1)
	}
}
