package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// debian makes a root as Debian's /usr/lib/cgi-bin is: links lead to programs
// elsewhere. It returns the directory above.
func debian(t *testing.T) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for _, name := range []string{"cgi-bin/php8", "share/gitweb/gitweb.cgi", "share/gitweb/static/x.cgi", "other/evil", "shared/evil"} {
		install(t, top, name, "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n%s<%s>' "+filepath.Base(name)+" \"$PATH_INFO\"\n")
	}
	must(t, os.Mkdir(filepath.Join(top, "alternatives"), 0o755))
	for link, to := range map[string]string{
		"cgi-bin/gitweb.cgi":  "../share/gitweb/gitweb.cgi",
		"cgi-bin/absolute":    top + "/share/gitweb/gitweb.cgi",
		"cgi-bin/dir":         "../share/gitweb",
		"cgi-bin/php":         top + "/alternatives/php",
		"alternatives/php":    top + "/cgi-bin/php8",
		"cgi-bin/evil":        "../other/evil",
		"cgi-bin/neighbour":   "../shared/evil", // share is not a part of its path
		"cgi-bin/chain":       "../share/gitweb/out",
		"share/gitweb/out":    "../../other/evil",
		"cgi-bin/outdir":      "../other",
		"share/gitweb/outdir": "../../other",
		"cgi-bin/dangling":    "../share/gitweb/none",
		"cgi-bin/self":        "/proc/self/exe",
	} {
		must(t, os.Symlink(to, filepath.Join(top, link)))
	}
	return top
}

func TestLinksLeadOnlyWhereTheOperatorSays(t *testing.T) {
	top := debian(t)
	dir := filepath.Join(top, "cgi-bin")
	for _, test := range []struct {
		name, without, with string // the program that is found, "" for a refusal
	}{
		{"/php8", "cgi-bin/php8", "cgi-bin/php8"},
		{"/php", "cgi-bin/php8", "cgi-bin/php8"}, // back into the root
		{"/php/a/b", "cgi-bin/php8", "cgi-bin/php8"},
		{"/gitweb.cgi", "", "share/gitweb/gitweb.cgi"},
		{"/gitweb.cgi/a/b", "", "share/gitweb/gitweb.cgi"},
		{"/absolute", "", "share/gitweb/gitweb.cgi"},
		{"/dir/gitweb.cgi", "", "share/gitweb/gitweb.cgi"},
		{"/dir/static/x.cgi/a", "", "share/gitweb/static/x.cgi"},
		{"/dir", "", ""},
		{"/evil", "", ""},
		{"/neighbour", "", ""},
		{"/chain", "", ""},
		{"/dir/out", "", ""},
		{"/dir/outdir/evil", "", ""},
		{"/outdir/evil", "", ""},
		{"/dangling", "", ""},
		{"/self", "", ""},
		{"/dir/../../other/evil", "", ""},
	} {
		for i, want := range []string{test.without, test.with} {
			for _, walks := range []bool{false, true} {
				r, err := openRoot(dir, "", [][]string{nil, {top + "/share/"}}[i]...)
				must(t, err)
				for _, tree := range r.links {
					tree.walks.Store(walks)
				}
				s, err := r.find(scgi.Header{{Name: "SCRIPT_FILENAME", Value: dir + test.name}})
				refused := new(refusal)
				switch {
				case want == "" && !errors.As(err, &refused):
					t.Errorf("%s, %d, %v: found %s, %v", test.name, i, walks, s.path, err)
				case want != "" && (err != nil || s.path != filepath.Join(top, want)):
					t.Errorf("%s, %d, %v: found %q, %v", test.name, i, walks, s.path, err)
				}
				s.close()
				r.close()
			}
		}
	}
}

func TestLinksMayLeadToOneProgramOnly(t *testing.T) {
	top := debian(t)
	dir := filepath.Join(top, "cgi-bin")
	r, err := openRoot(dir, "", filepath.Join(dir, "gitweb.cgi"))
	must(t, err)
	defer r.close()
	for name, want := range map[string]bool{"/gitweb.cgi": true, "/absolute/x": true, "/dir/gitweb.cgi": true, "/dir/static/x.cgi": false, "/evil": false} {
		s, err := r.find(scgi.Header{{Name: "SCRIPT_FILENAME", Value: dir + name}})
		if (err == nil) != want {
			t.Errorf("%s: found %q, %v", name, s.path, err)
		}
		s.close()
	}
	if _, err := openRoot(dir, "", top+"/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that is not there: %v", err)
	}
}

// The line names the link, where it leads, and what to do.
func TestARefusedLinkIsExplained(t *testing.T) {
	top := debian(t)
	dir := filepath.Join(top, "cgi-bin")
	before := descriptors(t, os.Getpid())
	r, err := openRoot(dir, "")
	must(t, err)
	for name, want := range map[string]string{
		"/gitweb.cgi":         `"gitweb.cgi" is a link out of D/cgi-bin, to "D/share/gitweb/gitweb.cgi"; --follow-links-to D/share/gitweb/gitweb.cgi allows that`,
		"/gitweb.cgi/a":       `"gitweb.cgi" is a link out of D/cgi-bin, to "D/share/gitweb/gitweb.cgi"; --follow-links-to D/share/gitweb/gitweb.cgi allows that`,
		"/dir/static/x.cgi/a": `"dir" is a link out of D/cgi-bin, to "D/share/gitweb"; --follow-links-to D/share/gitweb allows that`,
		"/dangling":           `"dangling" is a link out of D/cgi-bin, to "../share/gitweb/none": no such file or directory`,
	} {
		_, err := r.find(scgi.Header{{Name: "SCRIPT_FILENAME", Value: dir + name}})
		if err == nil || strings.ReplaceAll(err.Error(), top, "D") != want {
			t.Errorf("%s: got %v\nwant %s", name, err, want)
		}
	}
	r.close()

	// Of several links it is the one that is in the way.
	r, err = openRoot(dir, "", top+"/share/gitweb")
	must(t, err)
	_, err = r.find(scgi.Header{{Name: "SCRIPT_FILENAME", Value: dir + "/dir/out"}})
	if want := `"dir/out" is a link out of D/cgi-bin, to "D/other/evil"; --follow-links-to D/other/evil allows that`; err == nil || strings.ReplaceAll(err.Error(), top, "D") != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	r.close()
	if after := descriptors(t, os.Getpid()); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestDebiansGitwebIsFoundByItsLink(t *testing.T) {
	const dir = "/usr/lib/cgi-bin"
	if _, err := os.Stat(dir + "/gitweb.cgi"); err != nil {
		needs(t, "gitweb")
	}
	config := filepath.Join(t.TempDir(), "gitweb.conf")
	must(t, os.WriteFile(config, []byte("$projectroot = '"+repository(t)+"';\n"), 0o644))
	m := startWorker(t, "--root", dir, "--follow-links-to", "/usr/share/gitweb", "--env", "GITWEB_CONFIG="+config)
	if r := m.ask("", "SCRIPT_FILENAME="+dir+"/gitweb.cgi", "SCRIPT_NAME=/gitweb.cgi"); r.code != 200 || !strings.Contains(r.body, "hello.git") {
		t.Errorf("got %d %.300q; log:\n%s", r.code, r.body, m.stderr)
	}
	m = startWorker(t, "--root", dir)
	if r := m.ask("", "SCRIPT_FILENAME="+dir+"/gitweb.cgi"); r.code != 403 {
		t.Errorf("got %d", r.code)
	}
	m.wantLog("--follow-links-to /usr/share/gitweb/gitweb.cgi allows that")
}

// binaryName begins the name of a copy of the test binary that is a CGI program.
const binaryName = "cgi-binary"

// beBinary says which file runs, and which descriptors that has.
func beBinary() {
	var st unix.Stat_t
	unix.Stat("/proc/self/exe", &st)
	exe, _ := os.Readlink("/proc/self/exe")
	fmt.Printf("Content-Type: text/plain\n\n%d", st.Ino)
	for fd := range 64 {
		if name, err := os.Readlink(descriptorName(fd)); err == nil && (name == exe || fd > 2 && strings.HasPrefix(name, "pipe:")) {
			fmt.Printf(" and descriptor %d is %s", fd, name)
		}
	}
}

// exchanged runs ask while the directory root/a and the link root/b, which leads
// out of the root, exchange their names all the time.
func exchanged(t *testing.T, dir string, ask func()) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { stopped <- n }()
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/b", unix.RENAME_EXCHANGE)
			}
		}
	}()
	ask()
	close(stop)
	if n := <-stopped; n < 100 {
		t.Errorf("the names were exchanged %d times only", n)
	}
}

// What was checked is what is executed, whatever is renamed in between.
func TestNothingOutsideOfTheRootRunsWhileNamesAreExchanged(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	for name, test := range map[string]struct {
		file  string
		text  func(where string) string
		flags []string
	}{
		"a binary":        {binaryName, func(string) string { return string(self) }, nil},
		"a pinned script": {"script", func(where string) string { return "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n" + where + "'\n" }, []string{"--pin-scripts"}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "root")
			inside := install(t, dir, "a/"+test.file, test.text("inside"))
			install(t, top, "outside/"+test.file, test.text("outside"))
			must(t, os.Symlink("../outside", dir+"/b"))
			var st unix.Stat_t
			must(t, unix.Stat(inside, &st))
			want := map[string]bool{"inside": true, fmt.Sprint(st.Ino): true}
			m := startWorker(t, append(test.flags, "--root", dir)...)
			answered := 0
			exchanged(t, dir, func() {
				for range 40 {
					r := m.ask("", "SCRIPT_FILENAME="+dir+"/a/"+test.file)
					switch {
					case r.code == 200 && want[r.body]:
						answered++
					case r.code == 200:
						t.Fatalf("the program said %q", r.body)
					}
				}
			})
			if answered == 0 {
				t.Error("no request was answered")
			}
		})
	}
}

// By their own name scripts find what belongs to them.
func TestScriptsKnowWhereTheyAre(t *testing.T) {
	const head = "Content-Type: text/plain\\n\\n"
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.sh": "#!/bin/sh\nprintf '" + head + "%s' \"$(dirname \"$0\")\"\n",
		"a.pl": "#!/usr/bin/perl\nuse FindBin;\nprint \"" + head + "$FindBin::Bin\";\n",
		"a.py": "#!/usr/bin/python3\nimport os\nprint('" + head + "' + os.path.dirname(__file__), end='')\n",
	} {
		install(t, dir, name, text)
		m := startWorker(t, "--root", dir)
		if r := m.ask("", "SCRIPT_FILENAME="+dir+"/"+name); r.body != dir {
			t.Errorf("%s: got %q; log:\n%s", name, r.body, m.stderr)
		}
	}
	m := startWorker(t, "--root", dir, "--pin-scripts")
	if r := m.ask("", "SCRIPT_FILENAME="+dir+"/a.sh"); r.body != "/proc/self/fd" {
		t.Errorf("--pin-scripts: got %q", r.body)
	}
}
