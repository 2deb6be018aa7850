package units

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tester is a user with a service manager of its own.
type tester struct {
	t   *testing.T
	m   *machine
	uid string
}

func newTester(t *testing.T) *tester {
	t.Helper()
	m := booted(t)
	if found, _ := filepath.Glob(m.path("/usr/lib/*/security/pam_systemd.so")); len(found) == 0 {
		lacks(t, "pam_systemd")
	}
	u := &tester{t: t, m: m, uid: strings.TrimSpace(m.run(t, "id", "-u", "scgid-tester"))}
	m.run(t, "systemctl", "start", "user@"+u.uid+".service")
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := m.try("journalctl", "-b", "--no-pager", "-n", "60", "_UID="+u.uid)
			t.Log(journal)
		}
		_, _ = m.try("systemctl", "stop", "user@"+u.uid+".service")
	})
	return u
}

// try runs a command as the user.
func (u *tester) try(argv ...string) (string, error) {
	env := []string{"HOME=/var/lib/scgid-tester", "XDG_RUNTIME_DIR=/run/user/" + u.uid}
	return u.m.tryWith(env, append([]string{"setpriv", "--reuid", u.uid, "--regid", "scgid-tester", "--init-groups"}, argv...)...)
}

func (u *tester) run(argv ...string) string {
	u.t.Helper()
	out, err := u.try(argv...)
	if err != nil {
		u.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

func TestUserInstanceIsActivatedAndSteeredByItsUser(t *testing.T) {
	u := newTester(t)
	conf := "/var/lib/scgid-tester/.config/scgid/mine.conf"
	u.m.write(t, conf, "[Pool]\nMaxWorkers=2\n"+cgi)
	u.m.run(t, "chown", "-R", "scgid-tester", "/var/lib/scgid-tester/.config")
	verify(t, u.try, "--user", "scgid@mine.socket", "scgid@mine.service")
	u.run("systemctl", "--user", "enable", "--now", "scgid@mine.socket")
	socket := filepath.Join(u.m.path("/run/user/"+u.uid), "scgid/mine.sock")
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
	if state, _ := u.try("systemctl", "--user", "is-active", "scgid@mine.service"); strings.TrimSpace(state) != "inactive" {
		t.Errorf("before the first request the service is %s", state)
	}
	if _, err := askOK(transport(socket), "/?mine"); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(u.run("systemctl", "--user", "show", "-p", "ActiveState", "--value", "scgid@mine.service")); got != "active" {
		t.Errorf("after it the service is %s", got)
	}
	// Its own uid may do everything.
	if out := u.run("scgictl", "scale", "mine", "--max", "5"); !strings.Contains(out, strconv.Itoa(5)) {
		t.Errorf("scgictl scale: %s", out)
	}
	if _, err := os.Stat(u.m.path("/run/user/" + u.uid + "/bus")); err == nil {
		u.sessionBus()
	}
	if log := u.m.journal(t, "SCGID_APP=mine"); !strings.Contains(log, "worker is ready worker=1 ") {
		t.Errorf("the log is not in the journal: %s", log)
	}
	u.run("systemctl", "--user", "stop", "scgid@mine.service", "scgid@mine.socket")
	if out := u.m.journal(t, "_SYSTEMD_USER_UNIT=scgid@mine.service"); !strings.Contains(out, ", 0 lost, ") {
		t.Errorf("no report of the stop: %s", out)
	}
}

// sessionBus looks at the pool on the user's bus.
func (u *tester) sessionBus() {
	u.t.Helper()
	p := &pool{t: u.t}
	p.wait("the pool on the session bus", func() bool {
		_, err := u.try("busctl", "--user", "status", "org.scgid1.app.mine")
		return err == nil
	})
	u.run("systemctl", "--user", "service-log-level", "scgid@mine.service", "debug")
	if got := u.run("systemctl", "--user", "service-log-level", "scgid@mine.service"); strings.TrimSpace(got) != "debug" {
		u.t.Errorf("log level %q", got)
	}
}

// A pool that a user runs, as a unit or by hand, is that user's by both front
// ends, its programs are the user's too, and root steers it by its socket.
// Nobody else gets there.
func TestAUsersPoolIsThatUsersToSteer(t *testing.T) {
	u := newTester(t)
	run := "/run/user/" + u.uid
	if _, err := os.Stat(u.m.path(run + "/bus")); err != nil {
		lacks(t, "the user's bus, of dbus-user-session")
	}
	plantTries(t, u.m)
	u.m.write(t, "/var/lib/scgid-tester/.config/scgid/own.conf", tryPool)
	u.m.run(t, "chown", "-R", "scgid-tester", "/var/lib/scgid-tester/.config")
	for _, tt := range []struct {
		what, name, unit string
		begin            []string
	}{
		{"a user instance", "own", "scgid@own.service", []string{"systemctl", "--user", "start", "scgid@own.service"}},
		{"an ad hoc run", "adhoc", "adhoc.service", []string{"systemd-run", "--user", "--collect", "--unit=adhoc", "scgid", "run",
			"--name", "adhoc", "--listen", run + "/scgid/adhoc.sock", "--", "scgi-cgi", "/srv/scgid-test/try.cgi"}},
	} {
		busName, control := "org.scgid1.app."+tt.name, run+"/scgid/"+tt.name+"/control.sock"
		p := &pool{t: t, m: u.m, name: tt.name}
		begin := func() {
			t.Helper()
			p.wait(tt.unit+" has ended", func() bool { _, err := u.try("systemctl", "--user", "is-active", tt.unit); return err != nil })
			u.run(tt.begin...)
			p.wait(tt.name+" on the bus", func() bool { _, err := u.try("busctl", "--user", "status", busName); return err == nil })
		}
		env := []string{"XDG_RUNTIME_DIR=" + run, "TRY_SOCKET=" + control, "TRY_BUS=--user"}
		all := []string{tryVerbs, tt.name, busName}
		begin()
		for _, by := range []struct {
			who  string
			argv []string
			may  right
			stop string
		}{
			{"another user", []string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"}, nothing, ""},
			{"the user", []string{"setpriv", "--reuid=scgid-tester", "--regid=scgid-tester", "--init-groups"}, everything, "socket stop"},
			{"the user", []string{"setpriv", "--reuid=scgid-tester", "--regid=scgid-tester", "--init-groups"}, everything, "bus Stop"},
			{"root", nil, right{look: true, change: true}, "socket stop"}, // whom the user's bus turns away
		} {
			argv := slices.Concat(by.argv, all)
			var stops []string
			if front, _, ok := strings.Cut(by.stop, " "); ok {
				argv, stops = append(argv, front), []string{by.stop}
			}
			said, err := u.m.tryWith(env, argv...)
			if err != nil {
				t.Errorf("%s, %s: %v: %s", tt.what, by.who, err, said)
			}
			by.may.judge(t, tt.what+", "+by.who, said, stops...)
			if stops != nil {
				begin()
			}
		}
		r, err := ask(transport(filepath.Join(u.m.path(run), "scgid", tt.name+".sock")), "/?"+strings.Join([]string{tt.name, busName, control, "--user"}, "&"))
		if err != nil {
			t.Fatal(err)
		}
		everything.judge(t, tt.what+", a program of a worker", r.body)
	}
}
