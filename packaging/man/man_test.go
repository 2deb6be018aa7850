package man_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/worker/link"
)

const top = "../.."

var update = flag.Bool("update", false, "write the example of scgid-worker(7) from worker/python/plain_worker.py")

// needs skips, but not where everything is installed on purpose.
func needs(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// run returns what a program prints.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// build makes our programs and returns their directory.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	run(t, top, "go", "build", "-o", dir+"/", "./cmd/scgid", "./cmd/scgi-cgi", "./cmd/scgibench")
	return dir
}

var (
	helpFlag = regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[\w-]+)`)
	helpVerb = regexp.MustCompile(`(?m)^  (\w+) {3,}`)
	manItem  = regexp.MustCompile(`(?m)^\.It Fl .*$`)
	manFlag  = regexp.MustCompile(`\bFl ((?:\\-)?\w(?:\w|\\-)*)`)
)

// shown returns the flags that a --help shows, sorted.
func shown(t *testing.T, help string) []string {
	t.Helper()
	at := strings.LastIndex(help, "Flags:\n")
	if at < 0 {
		at = regexp.MustCompile(`(?m)^option.*:$`).FindStringIndex(help)[0] // argparse
	}
	var all []string
	for _, m := range helpFlag.FindAllStringSubmatch(help[at:], -1) {
		all = append(all, m[2])
		if m[1] != "" {
			all = append(all, m[1])
		}
	}
	if len(all) == 0 {
		t.Fatalf("no flags in:\n%s", help)
	}
	slices.Sort(all)
	return all
}

// named returns the flags after Fl in a piece of a page.
func named(mdoc string) []string {
	var all []string
	for _, m := range manFlag.FindAllStringSubmatch(mdoc, -1) {
		all = append(all, "-"+strings.ReplaceAll(m[1], `\-`, "-"))
	}
	slices.Sort(all)
	return all
}

// listed returns the flags that a piece of a page has items for.
func listed(mdoc string) []string {
	return named(strings.Join(manItem.FindAllString(mdoc, -1), "\n"))
}

func compare(t *testing.T, where, mdoc, help string) (flags []string) {
	t.Helper()
	flags = shown(t, help)
	if got := listed(mdoc); !slices.Equal(got, flags) {
		t.Errorf("%s has items for %v, --help shows %v", where, got, flags)
	}
	return flags
}

// onlyKnown wants no other flags anywhere in a page.
func onlyKnown(t *testing.T, where, mdoc string, known []string) {
	t.Helper()
	for _, f := range named(mdoc) {
		if !slices.Contains(known, f) {
			t.Errorf("%s names %s, which --help does not show", where, f)
		}
	}
}

// subsection returns the part of a page below .Ss title.
func subsection(t *testing.T, mdoc, title string) string {
	t.Helper()
	_, text, ok := strings.Cut(mdoc, "\n.Ss "+title+"\n")
	if !ok {
		t.Fatalf("there is no .Ss %s", title)
	}
	if end := regexp.MustCompile(`(?m)^\.S[sh] `).FindStringIndex(text); end != nil {
		text = text[:end[0]]
	}
	return text
}

func TestThePagesListTheFlagsOfTheCommands(t *testing.T) {
	bin := build(t)
	cgi := page(t, "scgi-cgi.1")
	onlyKnown(t, "scgi-cgi.1", cgi, compare(t, "scgi-cgi.1", cgi, run(t, "", filepath.Join(bin, "scgi-cgi"), "--help")))

	bench, program := page(t, "scgibench.1"), filepath.Join(bin, "scgibench")
	options := compare(t, "scgibench.1", subsection(t, bench, "scgibench"), run(t, "", program, "--help"))
	options = append(options, compare(t, "scgibench.1, compare", subsection(t, bench, "scgibench compare"), run(t, "", program, "compare", "--help"))...)
	onlyKnown(t, "scgibench.1", bench, options)

	text, scgid := page(t, "scgid.8"), filepath.Join(bin, "scgid")
	help := run(t, "", scgid, "--help")
	known := compare(t, "scgid.8", subsection(t, text, "scgid"), help)
	for _, verb := range helpVerb.FindAllStringSubmatch(help, -1) {
		switch verb[1] {
		case "completion", "help":
			if !strings.Contains(text, ".Nm Cm "+verb[1]+" ") && !strings.Contains(text, ".Nm Cm "+verb[1]+"\n") {
				t.Errorf("scgid.8 does not name the command %s", verb[1])
			}
		default:
			part := subsection(t, text, "scgid "+verb[1])
			known = append(known, compare(t, "scgid.8, "+verb[1], part, run(t, "", scgid, verb[1], "--help"))...)
		}
	}
	onlyKnown(t, "scgid.8", text, known)
}

func TestTheWSGIPageListsTheFlagsOfTheWorker(t *testing.T) {
	python := "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		if python, err = exec.LookPath("python3"); err != nil {
			needs(t, "python3")
		}
	}
	text := page(t, "scgi-wsgi.1")
	help := run(t, "", python, filepath.Join(top, "worker/python/scgi_wsgi.py"), "--help")
	onlyKnown(t, "scgi-wsgi.1", text, compare(t, "scgi-wsgi.1", text, help))
}

func TestTheWorkerPageNamesTheProtocol(t *testing.T) {
	text := page(t, "scgid-worker.7")
	for _, name := range []string{link.EnvFD, link.EnvPage, link.EnvWorker, link.EnvGeneration, link.EnvProtocol, link.EnvPool} {
		if !strings.Contains(text, ".It Ev "+name+"\n") {
			t.Errorf("scgid-worker.7 does not list %s", name)
		}
	}
	for what, n := range map[string]int{"protocol %d.": link.Protocol, "at most %d bytes": link.MaxMessage, "1 to %d.": link.MaxSlots} {
		if want := strings.Replace(what, "%d", strconv.Itoa(n), 1); !strings.Contains(text, want) {
			t.Errorf("scgid-worker.7 does not say %q", want)
		}
	}
}

const (
	exampleBegin = ".\\\" BEGIN EXAMPLE: worker/python/plain_worker.py, written by go test -update\n.Bd -literal\n"
	exampleEnd   = ".Ed\n.\\\" END EXAMPLE\n"
)

// What mandoc and groff would else show as another character, or not at all.
var (
	escape   = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`)
	unescape = strings.NewReplacer(`\e`, `\`, `\-`, "-", `\(aq`, "'", `\(ga`, "`", `\(ti`, "~", `\(ha`, "^")
)

// code returns a Python file without its comments; the page has words of its
// own for them.
func code(python string) string {
	var lines []string
	for _, line := range strings.Split(strings.TrimRight(python, "\n"), "\n") {
		if !strings.HasPrefix(line, "#") {
			line, _, _ = strings.Cut(line, "  # ")
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestTheExampleIsTheTestedWorker(t *testing.T) {
	python, err := os.ReadFile(filepath.Join(top, "worker/python/plain_worker.py"))
	if err != nil {
		t.Fatal(err)
	}
	want := code(string(python))
	text := page(t, "scgid-worker.7")
	head, rest, ok := strings.Cut(text, exampleBegin)
	example, tail, ended := strings.Cut(rest, exampleEnd)
	if !ok || !ended {
		t.Fatal("scgid-worker.7 has no example")
	}
	if unescape.Replace(example) == want {
		return
	}
	if !*update {
		t.Fatal("the example in scgid-worker.7 is not plain_worker.py: run go test ./packaging/man -update")
	}
	if err := os.WriteFile("scgid-worker.7", []byte(head+exampleBegin+escape.Replace(want)+exampleEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheInterfacePageNamesAllThatThereIs(t *testing.T) {
	text := page(t, "org.scgid1.5")
	names := []string{control.CodeInvalid, control.CodeDenied, control.CodeNoVerb, control.CodeNoWorker, control.CodeState,
		control.CodeFailed, control.CodeOver, control.CodeTimeout, control.CodeBusy}
	for _, v := range control.Verbs() {
		names = append(names, v.Name)
		for _, a := range v.Args {
			names = append(names, a.Name)
		}
	}
	// The members of the D-Bus interfaces, as package bus holds them.
	for line := range strings.Lines(page(t, top+"/control/bus/testdata/interfaces")) {
		if f := strings.Fields(line); len(f) > 1 && f[1] != "Set(" {
			names = append(names, strings.TrimSuffix(f[1], "("))
		}
	}
	if len(names) < 80 {
		t.Fatalf("only %d names are known", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile(`(?m)(^| )` + name + `( |$)`).MatchString(text) {
			t.Errorf("%s is not in org.scgid1(5)", name)
		}
	}
}

func TestThePagesAreGoodMdoc(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		needs(t, "mandoc")
	}
	pages, err := filepath.Glob("*.[1-8]")
	if err != nil || len(pages) < 6 {
		t.Fatalf("found only %v (%v)", pages, err)
	}
	for _, name := range pages {
		// It exits with 0 unless it has something to say.
		if out, err := exec.Command(mandoc, "-Tlint", "-Wwarning", name).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
