package worker

import (
	"bytes"
	"fmt"
	"os"
)

// spoolMemory is how much of a body a spool holds in memory, in bytes.
const spoolMemory = 256 << 10

// A spool is a queue of bytes, in memory first and then in a file without a
// name in TMPDIR. The body's length bounds the file; the web server has a
// limit for that. The zero spool is empty.
type spool struct {
	memory bytes.Buffer // always older than what is in the file
	file   *os.File     // nil until needed
	head   int64        // offset in file of the next byte to read
	tail   int64        // and of the next one to write
	lost   error        // why bytes behind the last ones are gone
}

// size is how many bytes can be taken.
func (s *spool) size() int64 { return int64(s.memory.Len()) + s.tail - s.head }

// put queues b. Where there is no room for it, it and all that follows is
// lost, which only matters to who reads so far.
func (s *spool) put(b []byte) {
	switch {
	case s.lost != nil:
	case s.head == s.tail && s.memory.Len()+len(b) <= spoolMemory:
		s.memory.Write(b)
	default:
		s.toFile(b)
	}
}

func (s *spool) toFile(b []byte) {
	if s.file == nil {
		s.file, s.lost = unnamedFile()
	}
	if s.lost == nil {
		_, s.lost = s.file.WriteAt(b, s.tail)
	}
	if s.lost != nil {
		s.lost = fmt.Errorf("cannot keep the request's body: %w", s.lost)
		return
	}
	s.tail += int64(len(b))
}

// take moves up to len(b) bytes to b. It is called when size is not 0.
func (s *spool) take(b []byte) (int, error) {
	if s.memory.Len() > 0 {
		return s.memory.Read(b)
	}
	n, err := s.file.ReadAt(b[:min(int64(len(b)), s.tail-s.head)], s.head)
	s.head += int64(n)
	if s.head == s.tail {
		s.head, s.tail = 0, 0
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// drop forgets all it holds. Nothing is put afterwards.
func (s *spool) drop() {
	if s.file != nil {
		s.file.Close()
	}
	*s = spool{}
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
