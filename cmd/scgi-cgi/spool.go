package main

import (
	"io"
	"os"
	"sync"
)

// spoolMemory is how much of a body a spool holds in memory, in bytes.
const spoolMemory = 256 << 10

// A spool is a queue of bytes between one that writes and one that reads. It
// takes whatever comes, in memory first and then in a file without a name.
//
// It is there for web servers that send the whole body before they read any
// reply (Apache): a program that replies while it reads, or before, would wait
// for the web server to read, which waits for the program to read. The body's
// length bounds the file; the web server has a limit for that.
type spool struct {
	mu      sync.Mutex
	changed sync.Cond
	memory  []byte
	file    *os.File      // nil until needed
	noFile  error         // why there is none; then a writer waits for memory
	full    chan struct{} // closed when it does
	head    int64         // offset in file of the next byte to read
	tail    int64         // and of the next one to write
	ended   bool          // no more will be written
	dropped bool          // nobody reads: what is written is lost
}

func newSpool() *spool {
	s := &spool{full: make(chan struct{})}
	s.changed.L = &s.mu
	return s
}

// Write queues all of b. It waits only when there is neither memory nor a file.
func (s *spool) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	for !s.dropped {
		if s.head == s.tail && len(s.memory)+len(b) <= spoolMemory {
			s.memory = append(s.memory, b...)
			break
		}
		if s.toFile(b) {
			break
		}
		s.changed.Wait()
	}
	return len(b), nil
}

// toFile appends b to the file. Without room there it will not be tried again.
func (s *spool) toFile(b []byte) bool {
	if s.noFile != nil {
		return false
	}
	if s.file == nil {
		s.file, s.noFile = unnamedFile()
	}
	if s.noFile == nil {
		_, s.noFile = s.file.WriteAt(b, s.tail)
	}
	if s.noFile != nil {
		close(s.full)
		return false
	}
	s.tail += int64(len(b))
	return true
}

// Read waits for bytes; at the end it returns io.EOF.
func (s *spool) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.dropped:
			return 0, io.EOF
		case len(s.memory) > 0: // always older than what is in the file
			n := copy(b, s.memory)
			s.memory = s.memory[:copy(s.memory, s.memory[n:])]
			s.changed.Broadcast()
			return n, nil
		case s.head < s.tail:
			return s.fromFile(b)
		case s.ended:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

// whyFull is why there is no file, nil if there was no need for one.
func (s *spool) whyFull() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.noFile
}

func (s *spool) fromFile(b []byte) (int, error) {
	n, err := s.file.ReadAt(b[:min(int64(len(b)), s.tail-s.head)], s.head)
	s.head += int64(n)
	if s.head == s.tail {
		s.head, s.tail = 0, 0
		s.changed.Broadcast()
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// end says that no more will be written.
func (s *spool) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.changed.Broadcast()
}

// drop says that nobody reads any more. Writers go on and are not held up. It
// tells whether end was called.
func (s *spool) drop() (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = true
	s.memory = nil
	s.changed.Broadcast()
	return s.ended
}

// close frees the file. Neither Read nor Write may be running.
func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// unnamedFile opens a file in TMPDIR that goes away with its descriptor.
func unnamedFile() (*os.File, error) {
	f, err := os.CreateTemp("", "scgi-cgi-body-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
