package webserver_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const workers = 3 // of each pool

func TestNginx(t *testing.T) { behind(t, nginxSite) }

func TestApache(t *testing.T) { behind(t, apacheSite) }

func TestLighttpd(t *testing.T) { behind(t, lighttpdSite) }

func nginxSite(t *testing.T, p *pool) *front {
	return nginx(t, "nginx/scgid-site.conf", swap{exampleSock, p.sock})
}

func apacheSite(t *testing.T, p *pool) *front { return apache(t, swap{exampleSock, p.sock}) }

func lighttpdSite(t *testing.T, p *pool) *front { return lighttpd(t, swap{exampleSock, p.sock}) }

func needModule(t *testing.T, name string) {
	t.Helper()
	if exec.Command(python(t), "-c", "import "+name).Run() != nil {
		need(t, "python3-"+name)
	}
}

// behind runs all checks on both applications behind a web server, as they are and
// with wsgiref.validate around them.
func behind(t *testing.T, begin func(*testing.T, *pool) *front) {
	for _, app := range []string{"flask", "flask --validate", "django", "django --validate"} {
		t.Run(app, func(t *testing.T) {
			name, option, _ := strings.Cut(app, " ")
			s := newSite(t, begin, name, strings.Fields(option), "Pool.MinWorkers=2", fmt.Sprint("Pool.MaxWorkers=", workers))
			for _, c := range checks {
				t.Run(c.name, func(t *testing.T) { c.run(t, s.with(t)) })
			}
			s.pool.finish()
			blameless(t, s.pool)
		})
	}
}

// newSite starts an application and a web server in front of it.
func newSite(t *testing.T, begin func(*testing.T, *pool) *front, app string, options []string, set ...string) *site {
	t.Helper()
	needModule(t, app)
	dir := place(t)
	s := &site{t: t, client: newClient(t)}
	command := append([]string{python(t), "scgi-wsgi"}, options...)
	s.pool = startPool(t, dir, app, set, append(command, app+"_app:application")...)
	s.front = begin(t, s.pool)
	return s
}

// complaint is what a fault of the worker's, or of the application's, leaves in
// the log; wsgiref.validate says AssertionError or WSGIWarning.
var complaint = regexp.MustCompile(`(?i)AssertionError|[a-z]*Warning\b|exception in the application|the application gave|` +
	`scgi_wsgi: |lost=[1-9]|refused=[1-9]`)

// blameless wants nothing of that kind in the log of a pool that has ended.
func blameless(t *testing.T, p *pool) {
	t.Helper()
	if found := complaint.FindString(p.log.String()); found != "" {
		t.Errorf("the log says %q:\n%s", found, p.log)
	}
}
