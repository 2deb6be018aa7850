package activation

import (
	"net"
	"os/exec"
	"path/filepath"
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
