// Package spool holds a request's body that has come faster than it is read: a
// queue of bytes in memory first, and then in a file without a name in TMPDIR.
//
// A Queue belongs to one request, and whoever made it drops it. It is not safe
// for use by two goroutines at a time, never waits, and does not know who
// writes or reads.
package spool

import (
	"bytes"
	"errors"
	"os"
)

// InMemory is how much of a body a Queue holds in memory, in bytes.
const InMemory = 256 << 10

// ErrLimit means that the bytes do not fit within a Queue's limit.
var ErrLimit = errors.New("the limit is reached")

// A Queue holds bytes in the order in which they came. The zero Queue is empty
// and has no limit.
type Queue struct {
	// Limit bounds what the Queue holds at a time, in bytes; 0 means no limit.
	// Then the body's length bounds the file, for which the web server has a
	// limit of its own.
	Limit int64

	memory bytes.Buffer // always older than what is in the file
	file   *os.File     // nil until needed
	head   int64        // offset in file of the next byte to read
	tail   int64        // and of the next byte to write
	noFile error        // why there is no file; another one is not tried
}

// Size returns how many bytes can be taken.
func (q *Queue) Size() int64 { return int64(q.memory.Len()) + q.tail - q.head }

// Put queues all of b or nothing of it. The error is ErrLimit, or says why
// there is no file; once some bytes have been taken, b may fit.
func (q *Queue) Put(b []byte) error {
	switch {
	case q.Limit > 0 && q.Size()+int64(len(b)) > q.Limit:
		return ErrLimit
	case q.head == q.tail && q.memory.Len()+len(b) <= InMemory:
		q.memory.Write(b)
		return nil
	}
	return q.toFile(b)
}

func (q *Queue) toFile(b []byte) error {
	if q.file == nil && q.noFile == nil {
		q.file, q.noFile = unnamedFile()
	}
	if q.noFile == nil {
		_, q.noFile = q.file.WriteAt(b, q.tail)
	}
	if q.noFile == nil {
		q.tail += int64(len(b))
	}
	return q.noFile
}

// Take moves up to len(b) bytes to b. It is called when Size is not 0. The
// error is the file's.
func (q *Queue) Take(b []byte) (int, error) {
	if q.memory.Len() > 0 {
		return q.memory.Read(b)
	}
	n, err := q.file.ReadAt(b[:min(int64(len(b)), q.tail-q.head)], q.head)
	q.head += int64(n)
	if q.head == q.tail {
		q.head, q.tail = 0, 0
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// Drop forgets all bytes and closes the file. Nothing is put afterwards.
func (q *Queue) Drop() {
	if q.file != nil {
		q.file.Close()
	}
	*q = Queue{}
}

// unnamedFile opens a file in TMPDIR that goes away with its descriptor.
func unnamedFile() (*os.File, error) {
	f, err := os.CreateTemp("", "scgid-body-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
