package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pss is the proportional set size of processes together, in KiB.
func pss(t *testing.T, pids ...int) (sum int) {
	t.Helper()
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\nPss:")
		n, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// The figures are in the log; SCGID_PRELOAD_APP names another application, with
// the directory before a colon.
func TestForkedWorkersShareTheirMemory(t *testing.T) {
	const n = 16
	kib := map[string]int{}
	for _, level := range levels {
		dir, name := app(t, helloPID), "app"
		if where, what, ok := strings.Cut(os.Getenv("SCGID_PRELOAD_APP"), ":"); ok {
			dir, name = where, what
		}
		began := time.Now()
		p := startPython(t, dir, name, append(workersAre(n), "--set", "Worker.Preload="+level)...)
		first := time.Since(began)
		p.ready(n)
		all := time.Since(began)
		p.must("/")
		pids := p.workers() // the preloaded process is among them
		kib[level] = pss(t, pids...)
		t.Logf("%-12s %d processes, PSS %.1f MiB, first ready after %v, all after %v", level, len(pids), float64(kib[level])/1024, first.Round(time.Millisecond), all.Round(time.Millisecond))
		p.stop()
	}
	// An application of some size is shared at the level application only.
	own := os.Getenv("SCGID_PRELOAD_APP") == ""
	if own && kib["worker"] > kib["no"]*3/4 || kib["application"] > kib["no"]*3/4 {
		t.Errorf("KiB by level: %v", kib)
	}
}
