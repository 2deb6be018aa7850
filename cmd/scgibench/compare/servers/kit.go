// Package servers starts scgid and its peers, each with the same small
// applications, so that they can be measured side by side.
//
// A Kit holds what they run: C programs that it builds, Python files, a
// database, in a directory of its own that Close removes. A Server is one
// process tree with its web server in front, if it needs one; whoever started
// it stops it. Nothing here measures, and nothing of the machine's own
// configuration is read or changed, except that Install installs packages.
package servers

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/floor"
)

//go:embed files
var files embed.FS

// python is Debian's: its packages are for this one, whatever PATH says.
const python = "/usr/bin/python3"

// Options say where things are that the Kit does not make itself.
type Options struct {
	Bin      string   // directory of scgid, scgi-wsgi, scgi-cgi and goworker
	Scgi     string   // a checkout of the scgi package; "" for none
	Variants []string // NAME:Key=Value,...: pools of scgi-wsgi with other keys

	// Slower adds a kind, floor-slower, that spends so much more CPU for each
	// request than floor-c does, so that a measurement can be proved right.
	Slower time.Duration
}

// A Kit is everything that servers of this run share.
type Kit struct {
	Kinds  []Kind // in the order in which to show them
	Rounds int    // of /cpu, that take about 2 ms of Python here

	opts  Options
	dir   string
	floor floor.Programs
	built map[string]error // the parts that were built, or why they could not be
	n     int              // servers started so far
}

// NewKit unpacks the files, and finds how much 2 ms of Python are. The caller
// closes the kit after all its servers.
func NewKit(ctx context.Context, opts Options) (*Kit, error) {
	kinds, err := Kinds(opts)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "scgibench-")
	if err != nil {
		return nil, err
	}
	if opts.Bin, err = filepath.Abs(opts.Bin); err != nil {
		return nil, err
	}
	k := &Kit{Kinds: kinds, Rounds: 60000, opts: opts, dir: dir, built: map[string]error{}}
	if err := k.unpack(); err != nil {
		k.Close()
		return nil, err
	}
	if rounds, err := calibrate(ctx); err == nil {
		k.Rounds = rounds
	}
	return k, nil
}

// Close removes all that the kit has made.
func (k *Kit) Close() { os.RemoveAll(k.dir) }

// path is where a file of the kit lies.
func (k *Kit) path(name string) string { return filepath.Join(k.dir, name) }

// bin is one of our own programs.
func (k *Kit) bin(name string) string { return filepath.Join(k.opts.Bin, name) }

func (k *Kit) unpack() error {
	entries, err := files.ReadDir("files")
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := files.ReadFile("files/" + e.Name())
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if bytes.HasPrefix(text, []byte("#!")) {
			mode = 0o755
		}
		if err := os.WriteFile(k.path(e.Name()), text, mode); err != nil {
			return err
		}
	}
	return os.Chmod(k.dir, 0o755) // a server's user may be another
}

// build makes a part that has to be compiled or computed, the first time that it
// is asked for, and returns why it could not be made.
func (k *Kit) build(ctx context.Context, part string) error {
	err, known := k.built[part]
	if known {
		return err
	}
	switch part {
	case "floor":
		k.floor, err = floor.Build(k.dir)
	case "cgi":
		err = run(ctx, "gcc", "-O2", "-o", k.path("say.bin"), k.path("say.c"))
	case "django":
		err = run(ctx, python, k.path("pages.py"))
	case "scgi":
		err = k.buildScgi(ctx)
	}
	k.built[part] = err
	return err
}

// calibrate finds how many rounds of hello.py's loop take 2 ms of CPU: the
// best of many tries, because others disturb it only upwards.
func calibrate(ctx context.Context) (rounds int, err error) {
	const program = `
import time
def work(n):
    x = 1
    for i in range(n):
        x = (x + i * i) & 0xFFFF
best = 1
for _ in range(50):
    t = time.thread_time(); work(20000); best = min(best, time.thread_time() - t)
print(round(20000 * 0.002 / best))`
	out, err := exec.CommandContext(ctx, python, "-c", program).Output()
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(out), &rounds)
	return rounds, err
}

var errNoCheckout = errors.New("set SCGI_PACKAGE, or --scgi-package, to a checkout of the scgi package")

// buildScgi copies the package out of its checkout, which stays as it is, and
// compiles its module.
func (k *Kit) buildScgi(ctx context.Context) error {
	if k.opts.Scgi == "" {
		return errNoCheckout
	}
	sources, err := filepath.Glob(filepath.Join(k.opts.Scgi, "scgi", "*.py"))
	if err != nil || len(sources) == 0 {
		return fmt.Errorf("%s is not a checkout of the scgi package", k.opts.Scgi)
	}
	to := k.path("scgi")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, file := range sources {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), text, 0o644); err != nil {
			return err
		}
	}
	include, err := exec.CommandContext(ctx, python, "-c", "import sysconfig; print(sysconfig.get_paths()['include'])").Output()
	if err != nil {
		return err
	}
	return run(ctx, "gcc", "-O2", "-shared", "-fPIC", "-I"+strings.TrimSpace(string(include)),
		"-o", filepath.Join(to, "passfd.so"), filepath.Join(k.opts.Scgi, "scgi", "passfd.c"))
}

// run runs a program to its end; its error has the last line that it wrote.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil && len(bytes.TrimSpace(out)) > 0 {
		return fmt.Errorf("%s: %v: %s", filepath.Base(name), err, lastLine(out))
	}
	return err
}

func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}
