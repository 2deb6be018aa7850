package main

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/scgid/scgid/worker/spool"
)

// errUnread: the program has not read anything for a while, and what is kept
// of the body has reached the limit.
var errUnread = errors.New("the limit of --max-spool is reached")

// errNoRoom is errUnread where there is no room for a file.
var errNoRoom = errors.New("there is no room to keep it")

// A bodyQueue is a spool.Queue between a goroutine that writes and a goroutine
// that reads.
//
// It is there for web servers that send the whole body before they read any
// reply (Apache): a program that replies while it reads, or before, would wait
// for the web server to read, which waits for the program to read.
type bodyQueue struct {
	stall time.Duration // how long a full queue waits for a program that does not read

	mu      sync.Mutex
	changed sync.Cond
	spool   spool.Queue
	noFile  error         // why there is none; then a writer waits for memory
	full    chan struct{} // closed when it does
	limited chan struct{} // closed when a writer waits at the limit
	isLimit bool          // it is closed
	taken   int64         // bytes that were read
	ended   bool          // no more will be written
	dropped bool          // nobody reads: what is written is lost
}

// newBodyQueue keeps at most limit bytes; 0 means no limit.
func newBodyQueue(limit int64, stall time.Duration) *bodyQueue {
	s := &bodyQueue{stall: stall, full: make(chan struct{}), limited: make(chan struct{}), spool: spool.Queue{Limit: limit}}
	s.changed.L = &s.mu
	return s
}

// Write queues all of b. At the limit, or without room for a file, it waits for the
// program to read, and fails with errUnread or errNoRoom when that does not come.
func (s *bodyQueue) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.dropped {
		err := s.spool.Put(b)
		if err == nil {
			break
		}
		unread := errUnread
		if err != spool.ErrLimit {
			unread = errNoRoom
			s.setNoFile(err)
		}
		if !s.awaitReader() {
			return 0, unread
		}
	}
	s.changed.Broadcast()
	return len(b), nil
}

func (s *bodyQueue) setNoFile(err error) {
	if s.noFile == nil {
		s.noFile = err
		close(s.full)
	}
}

// awaitReader waits until something was read or nobody reads. It returns false
// when neither came within stall.
func (s *bodyQueue) awaitReader() bool {
	if !s.isLimit {
		s.isLimit = true
		close(s.limited)
	}
	was, by := s.taken, time.Now().Add(s.stall)
	timer := time.AfterFunc(s.stall, func() {
		s.mu.Lock() // not before Wait has let go of it
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer timer.Stop()
	for s.taken == was && !s.dropped {
		if !time.Now().Before(by) {
			return false
		}
		s.changed.Wait()
	}
	return true
}

// Read waits for bytes; at the end it returns io.EOF.
func (s *bodyQueue) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.dropped {
		if s.spool.Size() > 0 {
			n, err := s.spool.Take(b)
			s.taken += int64(n)
			s.changed.Broadcast()
			return n, err
		}
		if s.ended {
			break
		}
		s.changed.Wait()
	}
	return 0, io.EOF
}

// whyFull is why there is no file, nil if there was no need for one.
func (s *bodyQueue) whyFull() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.noFile
}

// end says that no more will be written.
func (s *bodyQueue) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.changed.Broadcast()
}

// drop says that nobody reads any more. Writers continue and are not held up.
// It tells whether end was called.
func (s *bodyQueue) drop() (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dropped {
		s.dropped = true
		s.spool.Drop()
		s.changed.Broadcast()
	}
	return s.ended
}
