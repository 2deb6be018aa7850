package webserver_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	gitwebProgram = "/usr/share/gitweb/gitweb.cgi"
	cgitProgram   = "/usr/lib/cgit/cgit.cgi"
	gitBackend    = "/usr/lib/git-core/git-http-backend"
	greeting      = "hello from the repository\n"
)

// git runs it, with no configuration but ours.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command("git", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_HTTP_LOW_SPEED_LIMIT=1", "GIT_HTTP_LOW_SPEED_TIME=15",
		"GIT_AUTHOR_NAME=A U Thor", "GIT_AUTHOR_EMAIL=author@example.org",
		"GIT_COMMITTER_NAME=A U Thor", "GIT_COMMITTER_EMAIL=author@example.org", "no_proxy=127.0.0.1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes a bare repository hello.git beneath a new directory, which it
// returns with the name of its only commit.
func repository(t *testing.T) (dir, commit string) {
	t.Helper()
	needProgram(t, "git", "git")
	dir = place(t)
	work := filepath.Join(place(t), "work")
	git(t, dir, "init", "-q", "-b", "main", work)
	must(t, os.WriteFile(filepath.Join(work, "greeting.txt"), []byte(greeting), 0o644))
	git(t, work, "add", ".")
	git(t, work, "commit", "-q", "-m", "the first commit")
	git(t, dir, "clone", "-q", "--bare", work, "hello.git")
	git(t, dir, "-C", "hello.git", "config", "http.receivepack", "true")
	return dir, git(t, work, "rev-parse", "HEAD")
}

// cgi starts a pool of scgi-cgi with the program.
func cgi(t *testing.T, name string, arguments ...string) *pool {
	t.Helper()
	return startPool(t, place(t), name, nil, append([]string{"scgi-cgi"}, arguments...)...)
}

func gitwebPool(t *testing.T, repositories string) *pool {
	t.Helper()
	return cgi(t, "gitweb", "--env", "GITWEB_CONFIG="+gitwebConfig(t, repositories), gitwebProgram)
}

// cgibinPool serves gitweb by Debian's link in /usr/lib/cgi-bin.
func cgibinPool(t *testing.T, repositories string) *pool {
	t.Helper()
	return cgi(t, "cgibin", "--root", "/usr/lib/cgi-bin", "--follow-links-to", "/usr/share/gitweb", "--env", "GITWEB_CONFIG="+gitwebConfig(t, repositories))
}

func gitwebConfig(t *testing.T, repositories string) string {
	t.Helper()
	needFile(t, gitwebProgram, "gitweb")
	config := filepath.Join(place(t), "gitweb.conf")
	must(t, os.WriteFile(config, []byte("$projectroot = '"+repositories+"';\n"+
		"$feature{'snapshot'}{'default'} = ['tgz'];\n$feature{'pathinfo'}{'default'} = [1];\n"), 0o644))
	return config
}

func cgitPool(t *testing.T, repositories string) *pool {
	t.Helper()
	needFile(t, cgitProgram, "cgit")
	config := filepath.Join(place(t), "cgitrc")
	must(t, os.WriteFile(config, []byte("virtual-root=/cgit/\nsnapshots=tar.gz\nscan-path="+repositories+"\n"), 0o644))
	return cgi(t, "cgit", "--env", "CGIT_CONFIG="+config, cgitProgram)
}

// gitSite starts all programs behind nginx.
func gitSite(t *testing.T) (s *site, commit string) {
	t.Helper()
	dir, commit := repository(t)
	s = &site{t: t, client: newClient(t)}
	needFile(t, gitBackend, "git")
	smart := cgi(t, "git", "--env", "GIT_PROJECT_ROOT="+dir, "--env", "GIT_HTTP_EXPORT_ALL=1", gitBackend)
	cgit, gitweb := cgitPool(t, dir), gitwebPool(t, dir)
	s.front = nginx(t, "nginx/scgid-git.conf", swap{"/run/scgid/git.sock", smart.sock},
		swap{"/run/scgid/cgit.sock", cgit.sock}, swap{"/run/scgid/gitweb.sock", gitweb.sock},
		swap{"/run/scgid/cgibin.sock", cgibinPool(t, dir).sock})
	return s, commit
}

// shows wants every text in a page.
func (s *site) shows(path string, texts ...string) {
	s.t.Helper()
	page := s.ok(path)
	for _, text := range texts {
		if !strings.Contains(page, text) {
			s.t.Errorf("%s has no %q:\n%.2000s", path, text, page)
		}
	}
}

// packs wants the greeting in a gzipped tar file.
func (s *site) packs(path string) {
	s.t.Helper()
	z, err := gzip.NewReader(strings.NewReader(s.ok(path)))
	must(s.t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			s.t.Fatalf("%s: no greeting.txt in it: %v", path, err)
		}
		if filepath.Base(h.Name) != "greeting.txt" {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil || string(text) != greeting {
			s.t.Errorf("%s: greeting.txt is %q (%v)", path, text, err)
		}
		return
	}
}

func TestNginxServesGit(t *testing.T) {
	s, commit := gitSite(t)
	t.Run("gitweb", func(t *testing.T) { checkGitweb(s.with(t), "/gitweb", commit) })
	t.Run("cgit", func(t *testing.T) { checkCgit(s.with(t), commit) })
	t.Run("cgi-bin", func(t *testing.T) { checkGitweb(s.with(t), "/cgi-bin/gitweb.cgi", commit) })
	t.Run("clone and push", func(t *testing.T) { checkSmart(t, s.with(t), commit) })
}

func checkGitweb(s *site, at, commit string) {
	s.t.Helper()
	s.shows(at+"/", "hello.git")
	s.shows(at+"/?p=hello.git;a=summary", "the first commit", "A U Thor")
	s.shows(at+"/hello.git/commit/"+commit, "the first commit", commit, "greeting.txt")
	s.shows(at+"/?p=hello.git;a=patch;h="+commit, "From "+commit, "+"+greeting)
	s.want(s.get(at+"/hello.git/blob_plain/main:/greeting.txt"), 200, greeting)
	s.want(s.get(at+"/?p=hello.git;a=blob_plain;f=greeting.txt"), 200, greeting)
	s.packs(at + "/?p=hello.git;a=snapshot;h=main;sf=tgz")
	s.want(s.get(at+"/?p=none.git"), 404, "")
}

func checkCgit(s *site, commit string) {
	s.t.Helper()
	s.shows("/cgit/", "hello.git")
	s.shows("/cgit/hello.git/", "the first commit", "A U Thor")
	s.shows("/cgit/hello.git/commit/?id="+commit, "the first commit", commit, "greeting.txt")
	s.shows("/cgit/hello.git/patch/?id="+commit, "From "+commit, "+"+greeting)
	s.want(s.get("/cgit/hello.git/plain/greeting.txt"), 200, greeting)
	s.packs("/cgit/hello.git/snapshot/hello-main.tar.gz")
	s.want(s.get("/cgit/none.git/"), 404, "")
	s.shows("/cgit-css/cgit.css", "cgit")
}

// A clone, a push whose body is large enough to be sent in chunks, and a clone of
// what it brought. git-http-backend begins its reply before it reads the body,
// and nginx stops sending a body when it sees a reply: scgi-cgi must not show it
// one before it has the whole body.
func checkSmart(t *testing.T, s *site, commit string) {
	address := s.front.url("/git/hello.git")
	dir := t.TempDir()
	git(t, dir, "clone", "-q", address, "one")
	if got := git(t, filepath.Join(dir, "one"), "rev-parse", "HEAD"); got != commit {
		t.Errorf("cloned %s, want %s", got, commit)
	}
	var data bytes.Buffer // that does not compress
	for i := 0; data.Len() < 4*mib; i++ {
		block := sha256.Sum256(fmt.Append(nil, i))
		data.Write(block[:])
	}
	must(t, os.WriteFile(filepath.Join(dir, "one/large"), data.Bytes(), 0o644))
	git(t, filepath.Join(dir, "one"), "add", ".")
	git(t, filepath.Join(dir, "one"), "commit", "-q", "-m", "a large file")
	git(t, filepath.Join(dir, "one"), "push", "-q", address, "main")
	git(t, dir, "clone", "-q", address, "two")
	got, err := os.ReadFile(filepath.Join(dir, "two/large"))
	if err != nil || !bytes.Equal(got, data.Bytes()) {
		t.Errorf("the second clone has %d other bytes (%v)", len(got), err)
	}
}

// The other two give a CGI program its path as their examples say.
func TestApacheServesGitweb(t *testing.T) {
	dir, commit := repository(t)
	p := gitwebPool(t, dir)
	const split = "SetEnvIf Request_URI . proxy-scgi-pathinfo"
	f := apache(t, swap{exampleSock, p.sock}, swap{"#" + split, split})
	checkGitweb(&site{t: t, client: newClient(t), front: f, pool: p}, "", commit)
}

func TestLighttpdServesGitweb(t *testing.T) {
	dir, commit := repository(t)
	p := gitwebPool(t, dir)
	f := lighttpd(t, swap{exampleSock, p.sock})
	checkGitweb(&site{t: t, client: newClient(t), front: f, pool: p}, "", commit)
}
