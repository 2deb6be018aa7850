package activation

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// withUmask sets the umask, which is the whole process's, for one test.
func withUmask(t *testing.T, mask int) {
	t.Helper()
	old := unix.Umask(mask)
	t.Cleanup(func() { unix.Umask(old) })
}

func TestOpenGivesExactlyTheMode(t *testing.T) {
	checkFDs(t)
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		for _, mode := range []os.FileMode{0, 0o600, 0o660, 0o666, 0o777} {
			path := filepath.Join(shortDir(t), "x.sock")
			withUmask(t, mask)
			s := mustOpen(t, path, Options{Mode: mode})
			unix.Umask(0o022)
			if mode == 0 {
				mode = 0o660
			}
			if st, err := os.Lstat(path); err != nil || st.Mode().Perm() != mode {
				t.Errorf("umask %o: %v, %v, want %v", mask, st.Mode().Perm(), err, mode)
			}
			s.Close()
		}
	}
}

// The permissions are never changed where the umask takes none: the path is
// made with them, and no moment exists at which they are looser.
func TestOpenMakesThePathWithItsMode(t *testing.T) {
	checkFDs(t)
	dir := shortDir(t)
	withUmask(t, 0)
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_CREATE|unix.IN_ATTRIB|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, filepath.Join(dir, "x.sock"), Options{Mode: 0o600})
	if got := events(t, watch); len(got) != 1 || got[0] != unix.IN_CREATE {
		t.Errorf("events %x, want one IN_CREATE", got)
	}
}

func events(t *testing.T, watch int) (masks []uint32) {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Read(watch, buf)
	if err != nil {
		t.Fatal(err)
	}
	for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
		masks = append(masks, uint32(b[4])|uint32(b[5])<<8|uint32(b[6])<<16|uint32(b[7])<<24)
		b = b[unix.SizeofInotifyEvent+int(b[12]):]
	}
	return masks
}

func TestNobodyConnectsBeforeTheModeIsSet(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(shortDir(t), "x.sock")
	withUmask(t, 0o077)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &Socket{fd: fd}
	defer s.Close()
	if err := s.bindPath(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if live := answers(path); live != nil {
		t.Errorf("before listen: %v", live)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("before listen: %v, %v", st.Mode(), err)
	}
}
