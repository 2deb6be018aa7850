package activation

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestBacklogCountsWhatWaitsInTheKernel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, addr := range []string{path, "@scgid-test-backlog", "127.0.0.1:0"} {
		s, err := Open(addr, Options{Backlog: 7})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		network := "tcp"
		if s.Unix() {
			network = "unix"
		}
		for want := range 4 {
			n, limit, err := s.Backlog()
			if err != nil || n != want || limit != 7 {
				t.Errorf("%s: %d of %d wait (%v), want %d of 7", addr, n, limit, err, want)
			}
			c, err := net.Dial(network, s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
	}
}

// What a process sees of its own socket others see by its address.
func TestBacklogAtCountsWhatWaitsAtAnAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []struct{ network, listen, ask string }{
		{"unix", path, path}, {"unix", path, link}, {"unix", "@scgid-test-" + strconv.Itoa(os.Getpid()), ""},
		{"tcp", "127.0.0.1:0", ""}, {"tcp", "[::1]:0", ""},
	} {
		l, err := net.Listen(addr.network, addr.listen)
		if err != nil {
			if addr.listen == "[::1]:0" {
				continue // no IPv6 here
			}
			t.Fatal(err)
		}
		at := addr.ask
		if at == "" {
			at = l.Addr().String()
		}
		for i := range 3 {
			n, limit, err := BacklogAt(addr.network, at)
			if err != nil || n != i || limit < 1 {
				t.Errorf("%s with %d: %d/%d, %v", at, i, n, limit, err)
			}
			conn, err := net.Dial(addr.network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		l.Close()
		if _, _, err := BacklogAt(addr.network, at); !errors.Is(err, ErrNoListener) {
			t.Errorf("%s closed: %v", at, err)
		}
	}
}

func TestNetlinkAttributesAreBounded(t *testing.T) {
	attr := func(size, typ uint16, rest ...byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, size)
		return append(binary.NativeEndian.AppendUint16(b, typ), rest...)
	}
	whole := append(attr(6, 1, 'a', 'b', 0, 0), attr(5, 2, 'c')...)
	got := netlinkAttrs(whole)
	if string(got[1]) != "ab" || string(got[2]) != "c" || len(got) != 2 {
		t.Errorf("%q", got)
	}
	for _, b := range [][]byte{nil, {1}, attr(3, 1), attr(200, 1, 'x'), attr(0, 1, 'x')} {
		if got := netlinkAttrs(b); len(got) != 0 {
			t.Errorf("%x: %q", b, got)
		}
	}
}

func TestBacklogAgreesWithSs(t *testing.T) {
	ss, err := exec.LookPath("ss")
	if err != nil {
		t.Skip("needs ss (iproute2)")
	}
	path := filepath.Join(t.TempDir(), "s")
	s, err := Open(path, Options{Backlog: 11})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out, err := exec.Command(ss, "-xlH", "src", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(out))
	if len(f) < 4 || f[2] != "1" || f[3] != "11" {
		t.Errorf("ss says %q", out)
	}
	if n, limit, err := s.Backlog(); n != 1 || limit != 11 || err != nil {
		t.Errorf("Backlog says %d of %d, %v", n, limit, err)
	}
}
