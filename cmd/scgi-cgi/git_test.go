package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository makes a bare repository hello.git with one commit and returns the
// directory that holds it.
func repository(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		needs(t, "git")
	}
	dir := t.TempDir()
	work := filepath.Join(dir, "work")
	git := func(args ...string) {
		t.Helper()
		c := exec.Command("git", args...)
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=A U Thor",
			"GIT_AUTHOR_EMAIL=author@example.org", "GIT_COMMITTER_NAME=A U Thor", "GIT_COMMITTER_EMAIL=author@example.org")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main", work)
	must(t, os.WriteFile(filepath.Join(work, "greeting.txt"), []byte("hello from the repository\n"), 0o644))
	git("-C", work, "add", ".")
	git("-C", work, "commit", "-q", "-m", "the first commit")
	git("clone", "-q", "--bare", work, filepath.Join(dir, "hello.git"))
	return dir
}

func TestGitweb(t *testing.T) {
	const gitweb = "/usr/share/gitweb/gitweb.cgi"
	if _, err := os.Stat(gitweb); err != nil {
		needs(t, "gitweb")
	}
	dir := repository(t)
	config := filepath.Join(t.TempDir(), "gitweb.conf")
	must(t, os.WriteFile(config, []byte("$projectroot = '"+dir+"';\n"), 0o644))
	m := startWorker(t, "--env", "GITWEB_CONFIG="+config, gitweb)
	server := []string{"SERVER_NAME=localhost", "SERVER_PORT=80", "SERVER_PROTOCOL=HTTP/1.1", "SCRIPT_NAME=/gitweb", "REQUEST_URI=/gitweb"}
	for query, want := range map[string]string{
		"":                  "hello.git",
		"p=hello.git;a=log": "the first commit",
		"p=hello.git;a=blob_plain;f=greeting.txt": "hello from the repository\n",
	} {
		r := m.ask("", append(server, "QUERY_STRING="+query)...)
		if r.code != 200 || !strings.Contains(r.body, want) {
			t.Errorf("%s: got %d %.500q\n%s", query, r.code, r.body, m.stderr)
		}
	}
	if r := m.ask("", append(server, "QUERY_STRING=p=none.git")...); r.code != 404 {
		t.Errorf("no such project: got %d", r.code)
	}
}

func TestCgit(t *testing.T) {
	const cgit = "/usr/lib/cgit/cgit.cgi"
	if _, err := os.Stat(cgit); err != nil {
		needs(t, "cgit")
	}
	dir := repository(t)
	config := filepath.Join(t.TempDir(), "cgitrc")
	must(t, os.WriteFile(config, []byte("virtual-root=/cgit/\nscan-path="+dir+"\n"), 0o644))
	m := startWorker(t, "--root", filepath.Dir(cgit), "--pass-request-var", "CGIT_CONFIG")
	server := []string{"SERVER_NAME=localhost", "SERVER_PORT=80", "SCRIPT_NAME=/cgit", "SCRIPT_FILENAME=" + cgit, "CGIT_CONFIG=" + config}
	for path, want := range map[string]string{
		"/":                             "hello.git",
		"/hello.git/log/":               "the first commit",
		"/hello.git/plain/greeting.txt": "hello from the repository\n",
	} {
		r := m.ask("", append(server, "PATH_INFO="+path)...)
		if r.code != 200 || !strings.Contains(r.body, want) {
			t.Errorf("%s: got %d %.500q\n%s", path, r.code, r.body, m.stderr)
		}
	}
}
