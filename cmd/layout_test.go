// Package cmd holds the commands. This file holds the layout of the whole
// module: which room may import which, and that each says what it is for.
// It has no code of its own.
package cmd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/scgid/scgid/"

// arrows are the imports of our own rooms that each room may have. A room that
// is not here may have none.
var arrows = map[string][]string{
	"control":        {},
	"activation":     {},
	"master/pool":    {},
	"master/process": {},
	"master/memfd":   {},
	"master/config":  {"control"},
	// The master and its workers share the link and the wire format only.
	"master":        {"control", "master/memfd", "master/poller", "master/pool", "master/process", "master/record", "worker/link", "worker/scgi"},
	"master/poller": {},
	"master/record": {"control", "master/memfd"},
	"worker/scgi":   {},
	"worker/link":   {},
	"worker/spool":  {},
	"worker":        {"worker/link", "worker/scgi", "worker/spool"},

	"control/api":     {"control"},
	"control/bus":     {"control"},
	"control/metrics": {"control"},
	// For tests only; no program links it.
	"control/controltest": {"control"},

	"cmd/scgid": {"activation", "control", "control/api", "control/bus", "control/metrics", "master", "master/config", "master/memfd", "master/process", "master/record", "worker/scgi"},
	// doctor looks at the configuration; steering needs no more than the
	// control socket, so neither the master nor the bus nor the metrics are
	// linked; see size_test.go.
	"cmd/scgictl":       {"activation", "cmd/scgictl/quiet", "cmd/scgictl/tree", "control", "control/api", "master/config", "worker/scgi"},
	"cmd/scgictl/quiet": {},
	"cmd/scgictl/tree":  {},
	"cmd/scgi-cgi":      {"worker", "worker/link", "worker/scgi", "worker/spool"},
	// Only compare/report links the plotting library; see size_test.go.
	"cmd/scgibench": {"worker/scgi", "cmd/scgibench/compare", "cmd/scgibench/compare/report", "cmd/scgibench/compare/servers",
		"cmd/scgibench/load", "cmd/scgibench/cost"},
	"cmd/scgibench/load":            {"worker/scgi"},
	"cmd/scgibench/cost":            {},
	"cmd/scgibench/floor":           {},
	"cmd/scgibench/compare":         {"worker/scgi", "cmd/scgibench/compare/servers", "cmd/scgibench/cost"},
	"cmd/scgibench/compare/servers": {"cmd/scgibench/cost", "cmd/scgibench/floor", "cmd/scgibench/load"},
	"cmd/scgibench/compare/report":  {"cmd/scgibench/compare", "cmd/scgibench/compare/servers"},
	"cmd/scgibench/goworker":        {"worker"},

	"packaging/man":       {},
	"packaging/webserver": {},
	"units":               {},
	"worker/python":       {},
}

// forbidden are imports with the reason why a room may not have them.
var forbidden = []struct{ under, imports, because string }{
	{"master", "os/exec", "it waits for children, and the loop is the one reaper"},
	{"cmd/scgid", "os/exec", "it runs in the master's process, where the loop is the one reaper"},
	{"activation", "os/exec", "it runs in the master's process, where the loop is the one reaper"},
	{"master/pool", "time/tzdata", "it has no clock of its own"},
	{"master/pool", "os", "it does no I/O"},
	{"worker/scgi", "os", "it is a format and a client, and does not read the system"},
	{"master", "log", "lines go through the loop's logger, which never blocks"},
}

// banned are names that say nothing of what a room is for.
var banned = []string{"util", "utils", "common", "helpers", "manager", "misc", "lib", "pkg", "internal"}

// A room is a package as it stands in the tree.
type room struct {
	imports []string
	doc     string
}

// rooms reads the imports and package comments of all packages.
func rooms(t *testing.T) map[string]*room {
	t.Helper()
	all := map[string]*room{}
	root := ".."
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel(root, filepath.Dir(file))
		r := all[filepath.ToSlash(dir)]
		if r == nil {
			r = &room{}
			all[filepath.ToSlash(dir)] = r
		}
		r.add(f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages found; is the test run from cmd/?", len(all))
	}
	return all
}

func (r *room) add(f *ast.File) {
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		r.imports = append(r.imports, p)
	}
	if f.Doc != nil {
		r.doc += f.Doc.Text()
	}
}

func TestRoomsImportOnlyWhatTheLayoutAllows(t *testing.T) {
	for name, r := range rooms(t) {
		for _, p := range r.imports {
			ours, ok := strings.CutPrefix(p, module)
			if ok && !slices.Contains(arrows[name], ours) {
				t.Errorf("%s imports %s: no such arrow in the layout", name, ours)
			}
		}
	}
}

func TestForbiddenImportsStayOut(t *testing.T) {
	for name, r := range rooms(t) {
		for _, f := range forbidden {
			if name != f.under && !strings.HasPrefix(name, f.under+"/") {
				continue
			}
			if slices.Contains(r.imports, f.imports) {
				t.Errorf("%s imports %s: %s", name, f.imports, f.because)
			}
		}
	}
}

// A package comment states a promise, an owner and what the package is not:
// that takes more than a line.
func TestEveryRoomSaysWhatItIsForAndWhatItIsNot(t *testing.T) {
	for name, r := range rooms(t) {
		if slices.Contains(banned, path.Base(name)) {
			t.Errorf("%s: the name does not say what the room is for", name)
		}
		lines := strings.Count(strings.TrimSpace(r.doc), "\n") + 1
		says := strings.HasPrefix(r.doc, "Package ") || strings.HasPrefix(r.doc, "Command ")
		not := slices.ContainsFunc(strings.Fields(strings.ToLower(r.doc)), func(w string) bool {
			return slices.Contains([]string{"not", "no", "never", "nothing", "neither"}, strings.Trim(w, ".,;:"))
		})
		if !says || lines < 4 || !not {
			t.Errorf("%s: the package comment lacks the promise, the owner or what it is not:\n%s", name, r.doc)
		}
	}
}

func TestTheTopLevelHoldsNothingElse(t *testing.T) {
	agreed := []string{"cmd", "activation", "master", "worker", "control", "units", "packaging", "bin",
		"go.mod", "go.sum", "README.md", "LICENSE", "Makefile"}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(agreed, e.Name()) && !strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}
