package units

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/worker/scgi"
)

// commandLimit bounds every command inside.
const commandLimit = 90 * time.Second

// path is a path inside, as it is seen from here.
func (m *machine) path(inside string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.pid, inside)
}

// try runs a command inside, as root. What it says on stderr is behind what
// it says on stdout.
func (m *machine) try(argv ...string) (string, error) {
	return m.tryWith(nil, argv...)
}

func (m *machine) tryWith(env []string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	args := append([]string{"-t", strconv.Itoa(m.pid), "-a", "env", "-i"}, clean...)
	args = append(append(args, env...), argv...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	return out.String() + said.String(), err
}

// run runs a command that must succeed.
func (m *machine) run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := m.try(argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// write writes a file inside.
func (m *machine) write(t *testing.T, inside, text string) {
	t.Helper()
	if err := put(m.path(inside), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// journal returns what the journal has, by what args select.
func (m *machine) journal(t *testing.T, args ...string) string {
	t.Helper()
	m.run(t, "journalctl", "--sync")
	return m.run(t, append([]string{"journalctl", "-b", "--no-pager", "-q"}, args...)...)
}

// A pool is an instance of the units.
type pool struct {
	t    *testing.T
	m    *machine
	name string
}

const (
	wsgi = "[Worker]\nExecStart=scgi-wsgi /srv/scgid-test/app.py:application\n"
	cgi  = "[Worker]\nExecStart=scgi-cgi /srv/scgid-test/app.cgi\n"
)

// newPool configures a pool and starts its socket.
func newPool(t *testing.T, name, conf string) *pool {
	t.Helper()
	p := &pool{t: t, m: booted(t), name: name}
	p.configure(conf)
	t.Cleanup(p.end)
	p.m.run(t, "systemctl", "start", p.socket())
	return p
}

func (p *pool) configure(conf string) {
	p.t.Helper()
	p.m.write(p.t, "/etc/scgid/"+p.name+".conf", conf)
}

func (p *pool) socket() string  { return "scgid@" + p.name + ".socket" }
func (p *pool) service() string { return "scgid@" + p.name + ".service" }

// end stops the pool, and shows its journal if the test failed.
func (p *pool) end() {
	if p.t.Failed() {
		journal, _ := p.m.try("journalctl", "-b", "--no-pager", "-q", "-n", "60", "-u", p.service(), "-u", p.socket())
		status, _ := p.m.try("systemctl", "status", "--no-pager", "-n0", p.service(), p.socket())
		p.t.Logf("%s\n%s", status, journal)
	}
	_, _ = p.m.try("systemctl", "stop", p.socket(), p.service())
	_, _ = p.m.try("systemctl", "reset-failed", p.socket(), p.service())
	_ = os.Remove(p.m.path("/etc/scgid/" + p.name + ".conf"))
	_ = os.RemoveAll(p.m.path("/var/lib/scgid/" + p.name))
}

// dropIn gives a unit of the pool a drop-in.
func (p *pool) dropIn(unit, name, text string) {
	p.t.Helper()
	dir := "/etc/systemd/system/" + unit + ".d"
	p.m.write(p.t, dir+"/"+name, text)
	p.m.run(p.t, "systemctl", "daemon-reload")
	p.t.Cleanup(func() {
		_ = os.RemoveAll(p.m.path(dir))
		_, _ = p.m.try("systemctl", "daemon-reload")
	})
}

// show returns a property of a unit.
func (p *pool) show(unit, property string) string {
	p.t.Helper()
	return strings.TrimSpace(p.m.run(p.t, "systemctl", "show", "-p", property, "--value", unit))
}

// waitShow waits for a property.
func (p *pool) waitShow(unit, property string, want func(string) bool) string {
	p.t.Helper()
	value := ""
	p.wait(property+" of "+unit, func() bool {
		value = p.show(unit, property)
		return want(value)
	})
	return value
}

// is is a condition of waitShow.
func is(want string) func(string) bool {
	return func(value string) bool { return value == want }
}

// eventLimit is how long a test waits for what must happen.
const eventLimit = 30 * time.Second

// heldLimit is how long a request may be held: over all that a test does.
const heldLimit = 10 * time.Minute

func (p *pool) wait(what string, come func() bool) {
	p.t.Helper()
	for end := time.Now().Add(eventLimit); !come(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// transport connects to the pool's socket.
func (p *pool) transport() *scgi.Transport {
	return transport(p.m.path("/run/scgid/" + p.name + ".sock"))
}

func transport(path string) *scgi.Transport {
	return &scgi.Transport{Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
}

// A reply is one as the application gives it: a process and what was asked.
type reply struct {
	code   int
	header http.Header
	body   string
}

// pid returns the process that the application names.
func (r *reply) pid(t *testing.T) int {
	t.Helper()
	first, _, _ := strings.Cut(r.body, " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatalf("reply %q", r.body)
	}
	return pid
}

// ask sends a request to uri and returns the whole reply.
func ask(to *scgi.Transport, uri string) (*reply, error) { return send(to, "GET", uri, nil) }

func send(to *scgi.Transport, method, uri string, body io.Reader) (*reply, error) {
	return sendWithin(eventLimit, to, method, uri, body)
}

func sendWithin(limit time.Duration, to *scgi.Transport, method, uri string, body io.Reader) (*reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://pool"+uri, body)
	if err != nil {
		return nil, err
	}
	res, err := to.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return &reply{res.StatusCode, res.Header, string(text)}, err
}

// ask sends a request that must be answered by the application.
func (p *pool) ask(uri string) *reply {
	p.t.Helper()
	r, err := askOK(p.transport(), uri)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// askOK sends a request, and takes only a whole reply of the application that
// belongs to it.
func askOK(to *scgi.Transport, uri string) (*reply, error) { return askOKWithin(eventLimit, to, uri) }

func askOKWithin(limit time.Duration, to *scgi.Transport, uri string) (*reply, error) {
	r, err := sendWithin(limit, to, "GET", uri, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	_, query, _ := strings.Cut(uri, "?")
	if r.code != 200 || !strings.HasSuffix(r.body, " "+query) {
		return nil, fmt.Errorf("%s: reply %d %.200q", uri, r.code, r.body)
	}
	return r, nil
}

// hold has n requests at work in workers, and returns when they are. Their
// names begin with mark. The answers come after release.
func (p *pool) hold(n int, mark string) *held {
	p.t.Helper()
	h := &held{p: p, errs: make(chan error, n)}
	for i := range n {
		name := fmt.Sprintf("h%s-%d", mark, i)
		h.names = append(h.names, name)
		go func() {
			_, err := askOKWithin(heldLimit, p.transport(), "/hold?"+name)
			h.errs <- err
		}()
	}
	for _, name := range h.names {
		p.wait("a request at work", func() bool {
			_, err := os.Stat(p.m.path("/var/lib/scgid/" + p.name + "/" + name + ".held"))
			return err == nil
		})
	}
	return h
}

// held are requests that wait in the application.
type held struct {
	p     *pool
	names []string
	errs  chan error
}

// release lets the held requests be answered, and counts those that are not.
func (h *held) release() (lost int) {
	h.p.t.Helper()
	for _, name := range h.names {
		h.p.m.write(h.p.t, "/var/lib/scgid/"+h.p.name+"/"+name+".go", "")
	}
	for range h.names {
		if err := <-h.errs; err != nil {
			h.p.t.Errorf("a request at work: %v", err)
			lost++
		}
	}
	return lost
}

// processes returns the processes of a unit's control group, below it too.
func (p *pool) processes() []string {
	p.t.Helper()
	var all []string
	group := filepath.Join(p.m.path("/sys/fs/cgroup/system.slice"), `system-scgid.slice`, p.service())
	_ = filepath.WalkDir(group, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" {
			text, _ := os.ReadFile(path)
			all = append(all, strings.Fields(string(text))...)
		}
		return nil
	})
	return all
}
