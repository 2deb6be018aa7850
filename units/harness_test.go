package units

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// envVictim makes this test binary one that boots a machine and is killed.
const envVictim = "SCGID_TEST_VICTIM"

// A test binary that was killed must leave nothing that runs on the machine of
// whoever tests.
func TestNothingOutlivesAKilledTestBinary(t *testing.T) {
	if os.Getenv(envVictim) != "" {
		m := booted(t)
		fmt.Printf("\nbooted %d %s\n", m.pid, m.cgroup)
		select {}
	}
	booted(t) // or skip, for the same reasons
	victim := exec.Command(os.Args[0], "-test.run=^TestNothingOutlivesAKilledTestBinary$")
	victim.Env = append(os.Environ(), envVictim+"=1")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	pid, group := 0, ""
	for lines := bufio.NewScanner(out); group == "" && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "booted %d %s", &pid, &group)
	}
	_ = victim.Process.Kill()
	_ = victim.Wait()
	if group == "" {
		t.Fatal("the other test binary did not boot a machine")
	}
	p := &pool{t: t}
	p.wait("the end of all processes", func() bool {
		events, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
		return unix.Kill(pid, 0) == unix.ESRCH && (err != nil || strings.Contains(string(events), "populated 0"))
	})
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), filepath.Base(group)) {
		t.Errorf("mounts are left: %v", err)
	}
	// The next one sweeps up; so do we, as there may be no next one.
	(&machine{cgroup: group, state: filepath.Join(os.TempDir(), filepath.Base(group))}).close()
	if _, err := os.Stat(group); err == nil {
		t.Errorf("%s is left", group)
	}
}
