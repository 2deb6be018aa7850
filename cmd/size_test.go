package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unlinked are what scgictl links neither itself nor by way of another package.
var unlinked = []string{
	"github.com/prometheus/", "google.golang.org/protobuf/", "github.com/godbus/",
	module + "master/process", module + "control/bus", module + "control/metrics",
}

func TestScgictlLinksNeitherMasterNorBusNorPrometheus(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./scgictl").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 50 {
		t.Fatalf("only %d packages are listed", len(deps))
	}
	for _, p := range deps {
		if p == module+"master" {
			t.Errorf("scgictl links %s", p)
		}
		for _, not := range unlinked {
			if strings.HasPrefix(p, not) {
				t.Errorf("scgictl links %s", p)
			}
		}
	}
}

func TestOnlyScgibenchLinksThePlottingLibrary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./scgid", "./scgictl", "./scgi-cgi", "./scgibench/goworker").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		for _, not := range []string{"gonum.org/", "codeberg.org/", "git.sr.ht/", "golang.org/x/image/"} {
			if strings.HasPrefix(p, not) {
				t.Errorf("%s is linked by another program than scgibench", p)
			}
		}
	}
}

// scgictlMax is the size in bytes that scgictl may have, built as a release
// builds it, with its symbols.
const scgictlMax = 11_500_000

func TestScgictlIsNoLargerThanPromised(t *testing.T) {
	program := filepath.Join(t.TempDir(), "scgictl")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", program, "./scgictl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > scgictlMax {
		t.Errorf("scgictl has %d bytes, more than %d: what does it link now?", info.Size(), scgictlMax)
	}
	t.Logf("scgictl has %d bytes", info.Size())
}
