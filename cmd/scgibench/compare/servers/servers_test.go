package servers

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newKit(t *testing.T, opts Options) *Kit {
	t.Helper()
	opts.Bin = t.TempDir()
	k, err := NewKit(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func kindOf(t *testing.T, k *Kit, name string) Kind {
	t.Helper()
	i := slices.IndexFunc(k.Kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	return k.Kinds[i]
}

func appOf(t *testing.T, name string) App {
	t.Helper()
	i := slices.IndexFunc(Apps(), func(a App) bool { return a.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	return Apps()[i]
}

// Whatever a server does at the end, nothing of it stays: no process, no file,
// no control group, no descriptor.
func TestNothingStaysOfAServer(t *testing.T) {
	k := newKit(t, Options{})
	fifo := filepath.Join(t.TempDir(), "f")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	stubborn := Kind{Name: "stubborn", command: func(*Kit, place) []string {
		return []string{"/bin/sh", "-c", "trap '' TERM; exec 3>$0; sleep 1000 & sleep 1000 & echo >&3; wait", fifo}
	}}
	before := descriptors(t)
	s, err := k.Start(stubborn, appOf(t, "hello"), 1)
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Read(make([]byte, 1)); err != nil { // until it has children
		t.Fatal(err)
	}
	s.tree.cmd.Process.Kill() // its children are left to us
	<-s.Ended()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	held.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := held.Read(make([]byte, 1)); err != io.EOF { // a child would hold it open
		t.Errorf("a child is still there: %v", err)
	}
	held.Close()
	if _, err := os.Stat(s.place.dir); !os.IsNotExist(err) {
		t.Errorf("its files: %v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestAKitLeavesNothing(t *testing.T) {
	k, err := NewKit(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	if _, err := os.Stat(k.dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v", k.dir, err)
	}
}

func TestWhatIsMissingIsSaidWithTheWayToGetIt(t *testing.T) {
	k := newKit(t, Options{})
	ctx := context.Background()
	for name, want := range map[string]string{"scgid-go": "goworker, or make bench", "scgid-python": "make build", "scgi": "SCGI_PACKAGE"} {
		if why := k.Missing(ctx, kindOf(t, k, name), appOf(t, "hello")); !strings.Contains(why, want) && !strings.Contains(why, "apt-get install") {
			t.Errorf("%s: %q", name, why)
		}
	}
	lost := need{programs: []string{"/does/not/exist"}, packages: []string{"one", "two"}}
	if why := k.lacks(ctx, lost); why != "there is no /does/not/exist: apt-get install one two, or --install" {
		t.Error(why)
	}
	bad := newKit(t, Options{Scgi: t.TempDir()})
	if err := bad.build(ctx, "scgi"); err == nil || !strings.Contains(err.Error(), "not a checkout") {
		t.Error(err)
	}
}

func TestVariantsArePoolsWithOtherKeys(t *testing.T) {
	k := newKit(t, Options{Variants: []string{"eager:Pool.MaxIdle=9,Worker.Preload=worker"}})
	kind := kindOf(t, k, "scgid-python-eager")
	got := strings.Join(kind.command(k, place{app: appOf(t, "django"), addr: "/s", min: 2, max: 3, dir: "/d/s7"}), " ")
	for _, want := range []string{"--listen /s ", "--set Pool.MinWorkers=2 --set Pool.MaxWorkers=3", "--set Pool.MaxIdle=9 --set Worker.Preload=worker -- ", "pages:application"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	for _, bad := range []string{"", "x", ":A.B=c", "x:", "x:AB", "x:A.B=c,"} {
		if _, err := Kinds(Options{Variants: []string{bad}}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// nginx itself says whether it understands what it is told, for each way to
// reach a server.
func TestNginxUnderstandsItsConfiguration(t *testing.T) {
	nginx := front.find()
	if nginx == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs nginx")
		}
		t.Skip("needs nginx")
	}
	k := newKit(t, Options{})
	for _, kind := range k.Kinds {
		if kind.pass == "" || kind.Spawns() {
			continue
		}
		dir := t.TempDir()
		app := appOf(t, kind.Apps[0])
		app.Front = true
		if err := k.writeFiles(kind, place{app: app, addr: filepath.Join(dir, "sock"), min: 1, max: 1, dir: dir}); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(nginx, "-t", "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf")).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", kind.Name, err, out)
		}
	}
}

func TestTheLoopIsCalibrated(t *testing.T) {
	if interpreter.find() == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs " + python)
		}
		t.Skip("needs " + python)
	}
	if n, err := calibrate(context.Background()); err != nil || n < 1000 || n > 10_000_000 {
		t.Errorf("%d rounds, %v", n, err)
	}
}
