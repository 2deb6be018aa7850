package activation

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is taken over is the same socket: name, address, path and its removal.
func TestASocketIsTheSameAfterItIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s\xff") // no UTF-8
	s, err := Open(path, Options{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s.HandOver())
	if err != nil {
		t.Fatal(err)
	}
	var h Handed
	if err := json.Unmarshal(text, &h); err != nil {
		t.Fatal(err)
	}
	again, err := TakeOver(h)
	if err != nil {
		t.Fatal(err)
	}
	if *again != *s {
		t.Errorf("got %+v, want %+v", *again, *s)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the path is still there: %v", err)
	}
}

// Another file at the path by then is not ours to remove.
func TestAPathThatIsAnotherFileByThenStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := s.HandOver()
	os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := TakeOver(h)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoListeningSocketIsNotTakenOver(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = TakeOver(Handed{Name: []byte("web"), FD: int(f.Fd())})
	if err == nil || !strings.Contains(err.Error(), "is a character device") {
		t.Errorf("got %v", err)
	}
	if _, err := f.Stat(); err != nil {
		t.Error("the descriptor was closed")
	}
	if _, err := TakeOver(Handed{FD: 99999}); err == nil {
		t.Error("a descriptor that is not open is taken over")
	}
}
