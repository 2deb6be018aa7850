package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
)

func TestSpoolKeepsOrder(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	want := make([]byte, 4<<20)
	random.Read(want)
	s := newSpool()
	go func() {
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+random.Intn(64<<10))
			s.Write(rest[:n])
			rest = rest[n:]
		}
		s.end()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came out, %v", len(got), err)
	}
	s.close()
}

func TestSpoolTakesAllWithoutReader(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := newSpool()
	for i := range 64 {
		s.Write(bytes.Repeat([]byte{byte(i)}, 64<<10))
	}
	s.end()
	if len(s.memory) > spoolMemory {
		t.Errorf("%d bytes are in memory", len(s.memory))
	}
	if left, _ := filepath.Glob(os.Getenv("TMPDIR") + "/*"); len(left) != 0 {
		t.Errorf("the file has a name: %s", left)
	}
	got, _ := io.ReadAll(s)
	for i := range 64 {
		if got[i<<16] != byte(i) || got[i<<16|0xffff] != byte(i) {
			t.Fatalf("piece %d is not in its place", i)
		}
	}
	s.close()
}

// Without a file it holds the writer up instead.
func TestSpoolWithoutFileWaitsForReader(t *testing.T) {
	s := newSpool()
	s.noFile = errors.New("no space left")
	go func() {
		for range 64 {
			s.Write(make([]byte, 64<<10))
		}
		s.end()
	}()
	n, err := io.Copy(io.Discard, s)
	if n != 4<<20 || err != nil || s.file != nil {
		t.Errorf("%d bytes came out, %v", n, err)
	}
}

func TestDroppedSpoolHoldsNobodyUp(t *testing.T) {
	s := newSpool()
	s.noFile = errors.New("no space left")
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range 64 {
			s.Write(make([]byte, 64<<10))
		}
	}()
	s.drop()
	<-written
	if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read gave %d, %v", n, err)
	}
}
