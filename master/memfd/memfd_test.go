package memfd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openFDs counts this process's descriptors.
func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestAFileHasItsContentAndItsSealsOnly(t *testing.T) {
	before := openFDs(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, test := range []struct {
		seals   Seals
		mayEdit bool
	}{{Fixed, true}, {Constant, false}, {Journal, false}} {
		fd, err := New("test", content, test.seals)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "test")
		if size, err := Check(fd, test.seals); err != nil || size != int64(len(content)) {
			t.Errorf("seals %#x: %d bytes, %v", test.seals, size, err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
			t.Errorf("seals %#x: read %d bytes, %v; want %d from the beginning", test.seals, len(got), err, len(content))
		}
		for what, err := range map[string]error{
			"shrink": unix.Ftruncate(fd, 1),
			"grow":   unix.Ftruncate(fd, int64(len(content)+1)),
			"seal":   func() error { _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); return err }(),
		} {
			if err != unix.EPERM {
				t.Errorf("seals %#x: %s: %v, want EPERM", test.seals, what, err)
			}
		}
		if _, err := unix.Pwrite(fd, []byte("x"), 0); (err == nil) != test.mayEdit {
			t.Errorf("seals %#x: write: %v", test.seals, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %#x, %v: a program would inherit it", flags, err)
		}
		f.Close()
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// systemd 252 compares, it does not look for what it needs.
func TestAFileForTheJournalHasTheSealsThatItWantsAndNoOther(t *testing.T) {
	fd, err := New("test", []byte("x"), Journal)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const want = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || seals != want {
		t.Errorf("seals %#x, %v, want %#x", seals, err, want)
	}
}

func TestWhatIsNotSealedIsNotBelieved(t *testing.T) {
	fixed, err := New("test", []byte("x"), Fixed)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fixed)
	unsealed, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(unsealed)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, test := range []struct {
		fd    int
		seals Seals
		text  string
		errno error
	}{
		{fixed, Constant, "not sealed", nil},
		{unsealed, Fixed, "not sealed", nil},
		{int(null.Fd()), Fixed, "not a file in memory", unix.EINVAL},
		{1 << 20, Fixed, "fcntl", unix.EBADF},
	} {
		_, err := Check(test.fd, test.seals)
		if err == nil || !strings.Contains(err.Error(), test.text) || test.errno != nil && !errors.Is(err, test.errno) {
			t.Errorf("descriptor %d: %v, want %q and %v", test.fd, err, test.text, test.errno)
		}
	}
}

func TestAFileThatCannotBeMadeLeavesNothingOpen(t *testing.T) {
	before := openFDs(t)
	// A name has at most 249 bytes; see memfd_create(2).
	if fd, err := New(strings.Repeat("x", 300), nil, Fixed); !errors.Is(err, unix.EINVAL) || fd != -1 {
		t.Errorf("descriptor %d, %v", fd, err)
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1024, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	fd, err := New("test", make([]byte, 4096), Fixed)
	if back := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); back != nil {
		t.Fatal(back)
	}
	if !errors.Is(err, unix.EFBIG) || fd != -1 {
		t.Errorf("over the limit: descriptor %d, %v", fd, err)
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
