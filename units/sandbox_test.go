package units

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// verify is what systemd-analyze has to say of our units.
func verify(t *testing.T, try func(...string) (string, error), args ...string) {
	t.Helper()
	out, err := try(append([]string{"systemd-analyze", "verify", "--man=no"}, args...)...)
	if err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "scgid") {
			t.Error(line)
		}
	}
}

func TestSystemdTakesEveryLineOfTheUnits(t *testing.T) {
	verify(t, booted(t).try, "scgid@verified.socket", "scgid@verified.service", "scgid.target")
}

func TestManualPagesOfTheUnitsAreThere(t *testing.T) {
	m := booted(t)
	pages := regexp.MustCompile(`man:([a-z.]+)\((\d)\)`)
	for _, file := range []string{"scgid@.service", "scgid@.socket", "scgid.target", "user/scgid@.service", "user/scgid@.socket"} {
		found := pages.FindAllStringSubmatch(string(read(t, file)), -1)
		if len(found) == 0 {
			t.Errorf("%s names no manual page", file)
		}
		for _, page := range found {
			if _, err := os.Stat(m.path("/usr/share/man/man" + page[2] + "/" + page[1] + "." + page[2])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// exposure is the score of systemd-analyze security, from 0 to 10.
var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func score(t *testing.T, said string, most float64) {
	t.Helper()
	found := exposure.FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("no score: %s", said)
	}
	t.Logf("exposure %s", found[1])
	if got, err := strconv.ParseFloat(found[1], 64); err != nil || got > most {
		t.Errorf("exposure %s, want %v at most\n%s", found[1], most, said)
	}
}

// sandboxes are what the unit is with each drop-in.
var sandboxes = []struct {
	name, dropIn string
	most         float64 // exposure
}{
	{"shipped", "", 2.0},
	{"strict", "examples/strict.conf", 1.0},
}

// This needs neither root nor a running systemd.
func TestUnitsAreAsTightAsPromised(t *testing.T) {
	if out, err := exec.Command("systemd-analyze", "--help").CombinedOutput(); err != nil || !strings.Contains(string(out), "--offline") {
		lacks(t, "systemd-analyze with --offline")
	}
	for _, s := range sandboxes {
		t.Run(s.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "usr/lib/systemd/system")
			for _, unit := range []string{"scgid@.service", "scgid@.socket"} {
				if err := put(filepath.Join(dir, unit), string(read(t, unit)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if s.dropIn != "" {
				if err := put(filepath.Join(dir, "scgid@.service.d/strict.conf"), string(read(t, s.dropIn)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", filepath.Join(dir, "scgid@.service")).CombinedOutput()
			if err != nil {
				t.Errorf("systemd-analyze security: %v", err)
			}
			score(t, string(out), s.most)
		})
	}
}

func TestApplicationsRunInTheSandbox(t *testing.T) {
	for _, s := range sandboxes {
		for kind, conf := range map[string]string{"wsgi": wsgi, "cgi": cgi} {
			t.Run(s.name+" "+kind, func(t *testing.T) {
				p := newPool(t, s.name+"_"+kind, conf)
				if s.dropIn != "" {
					p.dropIn(p.service(), "strict.conf", string(read(t, s.dropIn)))
				}
				p.ask("/?" + kind)
				p.upload(4 << 20)
				score(t, p.m.run(t, "systemd-analyze", "security", "--no-pager", p.service()), s.most)
				p.wait("the pool on the bus", func() bool {
					_, err := p.m.try("busctl", "status", "org.scgid1.app."+escaped(p.name))
					return err == nil
				})
				if log := p.m.journal(t, "-u", p.service(), "-p", "warning"); strings.TrimSpace(log) != "" {
					t.Errorf("the journal warns: %s", log)
				}
			})
		}
		// RestrictSUIDSGID= takes openat2(2) away.
		t.Run(s.name+" cgi below a directory", func(t *testing.T) {
			p := newPool(t, s.name+"_root", "[Worker]\nExecStart=scgi-cgi --root /srv/scgid-test\n")
			if s.dropIn != "" {
				p.dropIn(p.service(), "strict.conf", string(read(t, s.dropIn)))
			}
			p.ask("/app.cgi?below")
			if r, err := send(p.transport(), "GET", "/../scgid-test/app.cgi", nil); err != nil || r.code != 403 {
				t.Errorf("a path that goes up: %+v, %v", r, err)
			}
		})
	}
}

// escaped is a pool's name on the bus.
func escaped(name string) string { return strings.ReplaceAll(name, "_", "_5f") }

// upload sends a request with a body and wants its checksum.
func (p *pool) upload(size int) {
	p.t.Helper()
	body := bytes.Repeat([]byte("scgid "), size/6)
	r, err := send(p.transport(), "POST", "/?upload", bytes.NewReader(body))
	if want := fmt.Sprintf("%x upload", sha256.Sum256(body)); err != nil || r.body != want {
		p.t.Errorf("upload of %d bytes: %+v, %v", len(body), r, err)
	}
}

// A CGI program that tries what the sandbox may forbid.
const confined = `#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
{
	/srv/scgid-test/setgid-id -gn
	echo x >/srv/scgid-test/media/file && echo written
	ls -d "$QUERY_STRING"
	/usr/bin/python3 -c 'import os; os.setresuid(*os.getresuid()); print("same user")'
} 2>&1
`

// The examples do what they are for, and it is forbidden without them.
func TestDropInsGiveBackWhatTheSandboxTakes(t *testing.T) {
	m := booted(t)
	if err := put(m.path("/srv/scgid-test/confined.cgi"), confined, 0o755); err != nil {
		t.Fatal(err)
	}
	m.run(t, "sh", "-c", "cp /usr/bin/id /srv/scgid-test/setgid-id && chgrp www-data /srv/scgid-test/setgid-id && chmod 2755 /srv/scgid-test/setgid-id")
	m.run(t, "install", "-d", "-o", "scgid", "/srv/scgid-test/media")
	p := newPool(t, "confined", "[Worker]\nExecStart=scgi-cgi /srv/scgid-test/confined.cgi\n")
	says := func(what string) string {
		r, err := ask(p.transport(), "/?/dev/kmsg")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return r.body
	}
	for _, c := range []struct{ example, from, to, without, with string }{
		{"write.conf", "/srv/app/media", "/srv/scgid-test/media", "Read-only file system", "written\n"},
		{"sendmail.conf", "", "", "scgid\n", "www-data\n"},
		{"device.conf", "/dev/ttyUSB0", "/dev/kmsg", "'/dev/kmsg': No such file or directory", "\n/dev/kmsg\n"},
	} {
		t.Run(c.example, func(t *testing.T) {
			if got := says("without"); !strings.Contains(got, c.without) || strings.Contains(got, c.with) || !strings.Contains(got, "same user") {
				t.Errorf("without %s: %s", c.example, got)
			}
			p.dropIn(p.service(), c.example, strings.Replace(string(read(t, "examples/"+c.example)), c.from, c.to, 1))
			verify(t, m.try, p.service())
			m.run(t, "systemctl", "stop", p.service())
			if got := says("with"); !strings.Contains(got, c.with) {
				t.Errorf("with %s: %s", c.example, got)
			}
			_ = os.RemoveAll(m.path("/etc/systemd/system/" + p.service() + ".d"))
			m.run(t, "systemctl", "daemon-reload")
			m.run(t, "systemctl", "stop", p.service())
		})
	}
}

// The unit's network is not the socket's.
func TestStrictSandboxServesATCPSocket(t *testing.T) {
	p := newPool(t, "tcp", wsgi)
	p.dropIn(p.service(), "strict.conf", string(read(t, "examples/strict.conf")))
	p.dropIn(p.socket(), "tcp.conf", "[Socket]\nListenStream=127.0.0.1:4000\n")
	p.m.run(t, "systemctl", "restart", p.socket())
	if out := p.m.run(t, "scgictl", "request", "127.0.0.1:4000", "/?tcp"); !strings.HasSuffix(strings.TrimSpace(out), " tcp") {
		t.Errorf("reply %q", out)
	}
}

func TestDropInForNewerSystemdIsHarmless(t *testing.T) {
	p := newPool(t, "newer", cgi)
	p.dropIn(p.service(), "systemd-254.conf", string(read(t, "examples/systemd-254.conf")))
	p.ask("/?newer")
}
