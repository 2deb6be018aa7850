package spool

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}

func TestAQueueGivesBackWhatItWasGiven(t *testing.T) {
	var q Queue
	defer q.Drop()
	var put, taken bytes.Buffer
	part := bytes.Repeat([]byte("0123456789abcdef"), (64<<10)/16)
	buf := make([]byte, 3*(64<<10))
	for round := range 4 { // through memory and file, and empty in between
		for i := range 10 {
			part[0] = byte(round*10 + i)
			must(t, q.Put(part))
			put.Write(part)
			n, err := q.Take(buf[:1000])
			if err != nil {
				t.Fatal(err)
			}
			taken.Write(buf[:n])
		}
		if q.file == nil {
			t.Error("there is no file")
		}
		for q.Size() > 0 {
			n, err := q.Take(buf)
			if err != nil || n == 0 {
				t.Fatalf("%d bytes, error %v", n, err)
			}
			taken.Write(buf[:n])
		}
		if !bytes.Equal(put.Bytes(), taken.Bytes()) {
			t.Fatalf("round %d: %d bytes of %d, or others", round, taken.Len(), put.Len())
		}
	}
}

func TestAQueuesFileHasNoNameAndGoesWithIt(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	before := descriptors(t)
	var q Queue
	for range 64 {
		must(t, q.Put(make([]byte, 64<<10)))
	}
	if q.memory.Len() > InMemory || q.Size() != 4<<20 {
		t.Errorf("%d bytes, %d in memory", q.Size(), q.memory.Len())
	}
	if left, _ := filepath.Glob(os.Getenv("TMPDIR") + "/*"); len(left) != 0 {
		t.Errorf("the file has a name: %s", left)
	}
	q.Drop()
	if after := descriptors(t); after != before || q.Size() != 0 {
		t.Errorf("%d descriptors before, %d after; %d bytes", before, after, q.Size())
	}
}

func TestAQueueHoldsNoMoreThanItsLimit(t *testing.T) {
	q := Queue{Limit: 1 << 20}
	defer q.Drop()
	part := make([]byte, 64<<10)
	for range 16 {
		must(t, q.Put(part))
	}
	if err := q.Put(part[:1]); err != ErrLimit || q.Size() != 1<<20 {
		t.Errorf("%d bytes, %v", q.Size(), err)
	}
	n, err := q.Take(part)
	must(t, err)
	must(t, q.Put(part[:n]))
}

// Without a file memory is used all the same, once there is room.
func TestAQueueWithoutAFileTakesWhatMemoryHolds(t *testing.T) {
	t.Setenv("TMPDIR", "/nonexistent")
	var q Queue
	part := make([]byte, InMemory)
	must(t, q.Put(part))
	for range 2 {
		if err := q.Put(part[:1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		if n, err := q.Take(part); n != InMemory || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		must(t, q.Put(part))
	}
}
