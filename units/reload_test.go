package units

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// releaseApp says which release answers: what was loaded at the start, and
// what only the request loads.
const releaseApp = `VERSION = %q

def application(environ, start_response):
    import late
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{VERSION}/{late.VERSION} {environ['QUERY_STRING']}".encode()]
`

// A site is an application with releases, and a link to the current one.
type site struct {
	*pool
	dir string
}

func newSite(t *testing.T, name, more string) *site {
	t.Helper()
	m := booted(t)
	s := &site{dir: "/srv/scgid-test/" + name}
	s.pool = &pool{t: t, m: m, name: name}
	s.release("1", releaseApp)
	s.current("1")
	t.Cleanup(func() { _ = os.RemoveAll(m.path(s.dir)) })
	s.pool = newPool(t, name, more+"[Worker]\nWorkingDirectory="+s.dir+"/current\nExecStart=scgi-wsgi app:application\n")
	return s
}

// release makes a release of which app.py is text, with the version put in.
func (s *site) release(version, text string) {
	s.t.Helper()
	if strings.Contains(text, "%q") {
		text = fmt.Sprintf(text, version)
	}
	s.m.write(s.t, s.dir+"/"+version+"/app.py", text)
	s.m.write(s.t, s.dir+"/"+version+"/late.py", fmt.Sprintf("VERSION = %q\n", version))
}

// current switches the link, as a deployment does.
func (s *site) current(version string) {
	s.t.Helper()
	link := s.m.path(s.dir + "/current")
	_ = os.Remove(link + ".new")
	if err := os.Symlink(version, link+".new"); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		s.t.Fatal(err)
	}
}

// answers wants an answer of this release alone.
func (s *site) answers(version string) {
	s.t.Helper()
	if r := s.ask("/?x"); r.body != version+"/"+version+" x" {
		s.t.Errorf("answered by %q, want release %s", r.body, version)
	}
}

func TestReloadsUnderLoadFailNoRequest(t *testing.T) {
	const reloads = 20
	p := newPool(t, "reloaded", "[Pool]\nMinWorkers=3\nMaxWorkers=3\n"+wsgi)
	l := newLoad(p, 32)
	master := p.show(p.service(), "MainPID")
	for range reloads {
		p.m.run(t, "systemctl", "reload", p.service())
	}
	l.more(100)
	if bad := l.stop(); len(bad) > 0 {
		t.Errorf("%d requests failed beside %d good ones: %v", len(bad), l.good.Load(), bad[0])
	}
	if now := p.show(p.service(), "MainPID"); now != master {
		t.Errorf("main process %s, was %s", now, master)
	}
	if out := p.m.run(t, "scgictl", "status", p.name, "--json"); !strings.Contains(out, fmt.Sprintf(`"generation": %d`, 1+reloads)) &&
		!strings.Contains(out, fmt.Sprintf(`"generation":%d`, 1+reloads)) {
		t.Errorf("status %s", out)
	}
	t.Logf("%d requests answered over %d reloads", l.good.Load(), reloads)
}

func TestReloadThatFailsIsSeenAndChangesNothing(t *testing.T) {
	s := newSite(t, "unmoved", "[Pool]\nMinWorkers=2\nMaxWorkers=2\n")
	s.answers("1")
	conf := "/etc/scgid/unmoved.conf"
	good, err := os.ReadFile(s.m.path(conf))
	if err != nil {
		t.Fatal(err)
	}
	s.release("broken", "import there_is_no_such_module\n")
	s.release("mute", "import sys, time\nprint('waiting for the database', file=sys.stderr, flush=True)\ntime.sleep(1000)\n")
	for _, test := range []struct{ name, conf, release, want string }{
		{"syntax", string(good) + "MinWorker=1\n", "1", "/etc/scgid/unmoved.conf"},
		{"import", string(good), "broken", "there_is_no_such_module"},
		{"never ready", string(good) + "StartTimeoutSec=5s\n", "mute", "waiting for the database"},
		{"probe", string(good) + "[Request]\nProbeURI=//\n", "1", "ProbeURI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := s.watch()
			s.m.write(t, conf, test.conf)
			s.current(test.release)
			out, err := s.m.try("systemctl", "reload", s.service())
			if err == nil {
				t.Errorf("systemctl reload succeeds: %s", out)
			}
			if log := s.m.journal(t, "-u", s.service()); !strings.Contains(log, test.want) {
				t.Errorf("the journal does not say %q:\n%s", test.want, log)
			}
			if status := s.m.run(t, "systemctl", "status", "--no-pager", "-n30", s.service()); !strings.Contains(status, "cannot reload") {
				t.Errorf("systemctl status does not say that it could not reload:\n%s", status)
			}
			if state := s.show(s.service(), "ActiveState"); state != "active" {
				t.Errorf("the service is %s", state)
			}
			s.m.write(t, conf, string(good))
			s.answers("1")
			if n := l(); n > 0 {
				t.Errorf("%d requests were not answered by the old release", n)
			}
		})
	}
	s.release("2", releaseApp)
	s.current("2")
	s.m.run(t, "systemctl", "reload", s.service())
	s.answers("2")
	s.m.run(t, "scgictl", "rollback", s.name)
	s.answers("1")
}

// again calls f in another goroutine, one time after the other, until the
// function it returns is called, which returns when the last call has.
func again(f func()) (end func()) {
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() {
			f()
		}
	}()
	return func() { over.Store(true); <-done }
}

// watch asks the site in turn until the function it returns is called, which
// says how often another release than the first answered.
func (s *site) watch() func() int64 {
	var bad int64
	end := again(func() {
		if r, err := askOK(s.transport(), "/?y"); err != nil || r.body != "1/1 y" {
			bad++
		}
	})
	return func() int64 { end(); return bad }
}

func TestNoGenerationMixesReleases(t *testing.T) {
	s := newSite(t, "mixed", "[Pool]\nMinWorkers=4\nMaxWorkers=4\n")
	s.answers("1")
	seen := map[string]bool{}
	wrong := 0
	end := again(func() {
		r, err := askOK(s.transport(), "/?z")
		if err != nil {
			wrong++
			return
		}
		v := strings.Split(strings.TrimSuffix(r.body, " z"), "/")
		seen[v[0]] = true
		if v[0] != v[1] {
			wrong++
		}
	})
	for i := 2; i <= 6; i++ {
		version := fmt.Sprint(i)
		s.release(version, releaseApp)
		s.current(version)
		// Workers that are replaced meanwhile are of the old release.
		s.killWorkers()
		s.waitWorkers(4)
		s.answers(fmt.Sprint(i - 1))
		reloaded := make(chan error, 1)
		go func() {
			_, err := s.m.try("systemctl", "reload", s.service())
			reloaded <- err
		}()
		s.killWorkers()
		if err := <-reloaded; err != nil {
			t.Errorf("reload %d: %v", i, err)
		}
		s.answers(version)
	}
	end()
	if wrong > 0 {
		t.Errorf("%d answers failed or mixed two releases", wrong)
	}
	if len(seen) != 6 {
		t.Errorf("answers of %d releases", len(seen))
	}
}

// killWorkers has all workers leave, by SIGTERM, so that none loses a request.
func (s *site) killWorkers() {
	s.t.Helper()
	for _, pid := range s.processes() {
		name, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if n, err := strconv.Atoi(pid); err == nil && (strings.HasPrefix(string(name), "python") || strings.HasPrefix(string(name), "scgi-wsgi")) {
			_ = unix.Kill(n, unix.SIGTERM)
		}
	}
}

func (s *site) waitWorkers(n int) {
	s.t.Helper()
	s.wait(fmt.Sprint(n, " ready workers"), func() bool {
		out, err := s.m.try("scgictl", "status", s.name, "--json")
		return err == nil && (strings.Contains(out, fmt.Sprintf(`"idle": %d`, n)) || strings.Contains(out, fmt.Sprintf(`"idle":%d`, n)))
	})
}

func TestListenThatHasChangedIsNotedAtReload(t *testing.T) {
	p := newPool(t, "noted", "[Pool]\nMinWorkers=1\n"+wsgi)
	p.ask("/?a")
	p.configure("[Pool]\nMinWorkers=1\nListen=/run/scgid/elsewhere.sock\n" + wsgi)
	p.m.run(t, "systemctl", "reload", p.service())
	if log := p.m.journal(t, "-u", p.service()); !strings.Contains(log, "systemd holds the sockets") || !strings.Contains(log, "scgid@noted.socket") {
		t.Errorf("the journal does not say what to do: %s", log)
	}
	p.ask("/?b")
}
