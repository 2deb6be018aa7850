package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/scgid/scgid/worker/scgi"
)

// testRoot opens a root with prog, dir/index.cgi and sub/deep/prog beneath it.
func testRoot(t *testing.T, index string) *root {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "real")
	for _, name := range []string{"prog", "dir/index.cgi", "sub/deep/prog"} {
		install(t, dir, name, "#!/bin/sh\n")
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	r, err := openRoot(link, index)
	must(t, err)
	t.Cleanup(func() { r.close() })
	return r
}

// In these R stands for the root as given, L for where it really is; "-" is a
// variable that is not set.
var findTests = []struct {
	filename, docroot, name, uri, info string
	path, scriptName, pathInfo         string // path "" for a refusal
}{
	{"R/prog", "-", "/prog", "-", "-", "L/prog", "/prog", "-"},
	{"L/prog", "-", "/prog", "-", "-", "L/prog", "/prog", "-"},
	{"R/prog/a/b", "-", "/cgi/prog/a/b", "-", "-", "L/prog", "/cgi/prog", "/a/b"},
	{"R/prog/a//b/", "-", "/cgi/prog/a//b/", "-", "", "L/prog", "/cgi/prog", "/a//b/"},
	{"R/prog/", "-", "/prog/", "-", "-", "L/prog", "/prog", "/"},
	{"R/sub//deep/prog/x", "-", "/prog", "-", "-", "L/sub/deep/prog", "/prog", "/x"},
	{"R/prog/a", "-", "/prog", "-", "/told", "L/prog", "/prog", "-"}, // told by the web server
	{"R/prog", "-", "/prog", "-", "/told", "L/prog", "/prog", "-"},
	{"-", "R", "/prog/x", "/other", "-", "L/prog", "/prog", "/x"},
	{"-", "R/", "prog", "-", "-", "L/prog", "prog", "-"},
	{"-", "R/sub", "-", "/deep/prog/x", "-", "L/sub/deep/prog", "/deep/prog", "/x"}, // nginx's scgi_params
	{"proxy:scgi://h:1/prog/x%20y", "-", "/cgi/prog/x y", "-", "-", "L/prog", "/cgi/prog", "/x y"},
	{"proxy:balancer://b/sub/deep/prog?q=/..", "-", "/p", "-", "-", "L/sub/deep/prog", "/p", "-"},
	{"-", "/", "/prog", "-", "-", "", "", ""},
	{"-", "-", "/prog", "-", "-", "L/prog", "/prog", ""}, // no word of where: beneath the root
	{"-", "-", "", "-", "/sub/deep/prog", "L/sub/deep/prog", "/sub/deep/prog", ""},
	{"-", "-", "", "-", "/prog/a/b", "L/prog", "/prog", "/a/b"},
	{"-", "-", "-", "/prog/x", "-", "L/prog", "/prog", "/x"},
	{"-", "-", "/../x", "-", "/prog", "", "", ""},
	{"-", "-", "-", "-", "-", "", "", ""},
	{"-", "R", "-", "-", "-", "", "", ""},
	{"-", "R", "/../link/prog", "-", "-", "", "", ""},
	{"R", "-", "-", "-", "-", "", "", ""},
	{"/prog", "-", "-", "-", "-", "", "", ""},
}

func TestFind(t *testing.T) {
	for name, walks := range map[string]bool{"openat2": false, "walk": true} {
		t.Run(name, func(t *testing.T) {
			r := testRoot(t, "")
			r.walks.Store(walks)
			testFind(t, r)
		})
	}
}

func testFind(t *testing.T, r *root) {
	fill := func(s string) string {
		switch {
		case s != "" && s[0] == 'R':
			return r.path + s[1:]
		case s != "" && s[0] == 'L':
			return r.real + s[1:]
		}
		return s
	}
	for _, test := range findTests {
		var h scgi.Header
		for i, value := range []string{test.filename, test.docroot, test.name, test.uri, test.info} {
			if value != "-" {
				name := []string{"SCRIPT_FILENAME", "DOCUMENT_ROOT", "SCRIPT_NAME", "DOCUMENT_URI", "PATH_INFO"}[i]
				h = append(h, scgi.Var{Name: name, Value: fill(value)})
			}
		}
		s, err := r.find(h)
		s.close()
		if test.path == "" {
			if refused := new(refusal); !errors.As(err, &refused) {
				t.Errorf("%q: got %q, %v", h, s.path, err)
			}
			continue
		}
		got := scgi.Header(s.vars)
		info := "-"
		for _, v := range got { // the last one holds
			if v.Name == "PATH_INFO" {
				info = v.Value
			}
		}
		if err != nil || s.path != fill(test.path) || s.dir != filepath.Dir(s.path) || got.Get("SCRIPT_NAME") != test.scriptName || info != test.pathInfo {
			t.Errorf("%q: got %q with %q, %v", h, s.path, s.vars, err)
		}
	}
}

func TestIndexAnswersForDirectory(t *testing.T) {
	r := testRoot(t, "index.cgi")
	for _, name := range []string{"/dir", "/dir/"} {
		s, err := r.find(scgi.Header{{Name: "SCRIPT_FILENAME", Value: r.path + name}})
		s.close()
		if err != nil || s.path != r.real+"/dir/index.cgi" {
			t.Errorf("%s: got %q, %v", name, s.path, err)
		}
	}
	if s, err := r.find(scgi.Header{{Name: "SCRIPT_FILENAME", Value: r.path + "/sub"}}); err == nil {
		t.Errorf("a directory without index: got %q", s.path)
	}
}

// What was opened is executed, whatever its name was meanwhile given to.
func TestRootIsTheDirectoryNotItsName(t *testing.T) {
	r := testRoot(t, "")
	must(t, os.Rename(r.real, r.real+"2"))
	install(t, r.real, "prog", "#!/bin/sh\n")
	s, err := r.find(scgi.Header{{Name: "SCRIPT_FILENAME", Value: r.path + "/prog"}})
	s.close()
	if err != nil || s.path != r.real+"2/prog" {
		t.Errorf("got %q, %v", s.path, err)
	}
}

func TestFindLeaksNoDescriptor(t *testing.T) {
	r := testRoot(t, "index.cgi")
	before := descriptors(t, os.Getpid())
	for _, name := range []string{"/prog", "/prog/x", "/dir", "/sub", "/sub/", "/none", "/prog/../x", "/sub/deep/prog/x/y"} {
		s, _ := r.find(scgi.Header{{Name: "SCRIPT_FILENAME", Value: r.path + name}})
		s.close()
	}
	if after := descriptors(t, os.Getpid()); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
