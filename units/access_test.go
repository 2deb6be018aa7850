package units

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// What may be done with a pool of the units, on a machine with a real systemd,
// dbus-daemon and polkitd: everybody tries everything, by both front ends.

// looks and changes are the verbs of testdata/try-verbs by their level.
var (
	looks = []string{"socket status", "socket workers", "socket requests", "socket config", "socket metrics", "socket log-level", "socket events"}

	socketChanges = []string{"socket scale", "socket pause", "socket resume", "socket retire", "socket kill", "socket dump", "socket set-log-level",
		"socket reload", "socket rollback", "socket upgrade"}
	busChanges = []string{"bus Scale", "bus ResetLimits", "bus Pause", "bus Resume", "bus RetireWorker", "bus KillWorker", "bus DumpWorker", "bus Reload", "bus Rollback", "bus LogLevel"}
)

// A right is what somebody may do. The name of a pool, and its properties on the
// bus, are for everybody who gets there.
type right struct{ name, look, change, bus bool }

var (
	everything = right{true, true, true, true}
	onlyLook   = right{name: true, look: true}
	onlyName   = right{name: true}
	nothing    = right{}
)

// verdicts reads what try-verbs prints.
func verdicts(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if f := strings.SplitN(strings.TrimSpace(line), " ", 3); len(f) == 3 {
			all[f[0]+" "+f[1]] = f[2]
		}
	}
	return all
}

// judge holds what somebody was told against what they may.
func (r right) judge(t *testing.T, who, text string, stops ...string) {
	t.Helper()
	got := verdicts(text)
	want := map[string]bool{"bus State": r.name}
	for _, v := range looks {
		want[v] = r.look
	}
	for _, v := range socketChanges {
		want[v] = r.change
	}
	for _, v := range busChanges {
		want[v] = r.bus
	}
	for _, s := range stops {
		want[s] = r.change
		if strings.HasPrefix(s, "bus") {
			want[s] = r.bus
		}
	}
	for verb, may := range want {
		outcome := "denied"
		if may {
			outcome = "done"
		}
		if got[verb] != outcome {
			t.Errorf("%s: %s is %q, want %s", who, verb, got[verb], outcome)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: tried %d verbs, want %d:\n%s", who, len(got), len(want), text)
	}
}

const (
	tryVerbs = "/srv/scgid-test/try-verbs"
	tryPool  = "[Worker]\nExecStart=scgi-cgi /srv/scgid-test/try.cgi\n"
)

// plantTries puts the programs that try there.
func plantTries(t *testing.T, m *machine) {
	t.Helper()
	for _, name := range []string{"try-verbs", "try.cgi"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := put(m.path("/srv/scgid-test/"+name), string(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// as runs a command as a user with these groups besides its own.
func (p *pool) as(user, groups string, argv ...string) (string, error) {
	group := user
	if user == "nobody" {
		group = "nogroup"
	}
	as := []string{"setpriv", "--reuid", user, "--regid", group, "--clear-groups"}
	if groups != "" {
		as = append(as[:5], "--groups", groups)
	}
	return p.m.try(append(as, argv...)...)
}

// up has a request start the pool, and waits until the bus has it.
func (p *pool) up(start func()) {
	p.t.Helper()
	start()
	p.wait(p.name+" on the bus", func() bool {
		_, err := p.m.try("busctl", "status", "org.scgid1.app."+p.name)
		return err == nil
	})
}

// begin starts the service itself: its program is one that tries verbs.
func (p *pool) begin() { p.m.run(p.t, "systemctl", "start", p.service()) }

func TestEverybodyMayDoWhatIsTheirsByBothFrontEnds(t *testing.T) {
	p := newPool(t, "steered", tryPool+"[Control]\nGroup=scgid-ops\nReadGroup=scgid-watch\n")
	plantTries(t, p.m)
	p.up(p.begin)
	busName := "org.scgid1.app." + p.name
	both := []string{"socket stop", "bus Stop"}
	var all sync.WaitGroup
	for _, tt := range []struct {
		who, user, groups string
		may               right
	}{
		{"the pool's own user", "scgid", "", onlyLook},
		{"the pool's own user in the bus group", "scgid", "scgid", onlyLook},
		{"the pool's own user, though in Group=", "scgid", "scgid-ops", onlyLook},
		{"a member of ReadGroup=", "nobody", "scgid-watch", onlyLook},
		{"another user", "nobody", "", onlyName},
		{"another pool's user, in the bus group", "scgid-other", "scgid", onlyName},
	} {
		all.Add(1)
		go func() {
			defer all.Done()
			said, err := p.as(tt.user, tt.groups, tryVerbs, p.name, busName, "socket", "bus")
			if err != nil {
				t.Errorf("%s: %v: %s", tt.who, err, said)
			}
			tt.may.judge(t, tt.who, said, both...)
		}()
	}
	all.Wait()
	// Whoever may stop it does so by each front end.
	for _, tt := range []struct{ who, user, groups string }{{"root", "root", ""}, {"a member of Group=", "nobody", "scgid-ops"}} {
		said, err := p.as(tt.user, tt.groups, tryVerbs, p.name, busName, "socket")
		if err != nil {
			t.Errorf("%s: %v: %s", tt.who, err, said)
		}
		everything.judge(t, tt.who, said, "socket stop")
		p.up(p.begin)
		said, err = p.as(tt.user, tt.groups, "busctl", "call", busName, "/org/scgid1/pool", "org.scgid1.Pool", "Stop", "bt", "false", "0")
		if err != nil || !strings.HasPrefix(said, "tttt ") {
			t.Errorf("%s: bus Stop: %v: %s", tt.who, err, said)
		}
		p.up(p.begin)
	}
	// Programs of workers: of this pool, and of siblings.
	sibling := newPool(t, "sibling", tryPool)
	stranger := newPool(t, "stranger", tryPool)
	stranger.dropIn(stranger.service(), "user.conf", "[Service]\nUser=scgid-other\nGroup=scgid-other\n")
	for _, from := range []struct {
		who string
		*pool
		may right
	}{{"a program of a worker", p, onlyLook}, {"a program of a sibling's worker", sibling, onlyLook}, {"a program of another user's worker", stranger, onlyName}} {
		from.up(from.begin)
		r, err := ask(from.transport(), "/?"+p.name+"&"+busName)
		if err != nil {
			t.Fatalf("%s: %v", from.who, err)
		}
		from.may.judge(t, from.who, r.body, both...)
	}
	if got := p.m.run(t, "scgictl", "status", p.name); !strings.HasPrefix(got, p.name+": running") {
		t.Errorf("afterwards: %s", got)
	}
	p.polkitDecides(busName)
}

// polkitDecides has a rule of the administrator's allow one verb to a stranger
// on the bus, and takes polkit away.
func (p *pool) polkitDecides(busName string) {
	p.t.Helper()
	if _, err := p.m.try("systemctl", "start", "polkit.service"); err != nil {
		if os.Getenv("CI") == "true" {
			p.t.Fatal("needs polkitd")
		}
		p.t.Log("without polkitd: it is not installed")
		return
	}
	const rule = "/etc/polkit-1/rules.d/10-scgid-test.rules"
	p.m.write(p.t, rule, fmt.Sprintf(`polkit.addRule(function(action, subject) {
	if (action.id == "org.scgid1.manage" && action.lookup("pool") == %q && action.lookup("verb") == "resume" && subject.user == "nobody")
		return polkit.Result.YES;
});`, p.name))
	p.t.Cleanup(func() { _ = os.Remove(p.m.path(rule)) })
	p.m.run(p.t, "systemctl", "restart", "polkit.service")
	call := func(user, method string) string {
		out, err := p.as(user, "", "busctl", "--timeout=20", "--", "call", busName, "/org/scgid1/pool", "org.scgid1.Pool", method)
		if err == nil {
			return "done"
		}
		if strings.Contains(out, "permission denied") {
			return "denied"
		}
		return out
	}
	p.wait("polkit has read the rule", func() bool { return call("nobody", "Resume") == "done" })
	for user, want := range map[string][2]string{
		"nobody":      {"done", "denied"},
		"scgid-other": {"denied", "denied"},
		"scgid":       {"denied", "denied"}, // no rule helps an application to steer its server
		"root":        {"done", "done"},
	} {
		if got := [2]string{call(user, "Resume"), call(user, "ResetLimits")}; got != want {
			p.t.Errorf("with polkit, %s: %q, want %q", user, got, want)
		}
	}
	p.m.run(p.t, "systemctl", "mask", "--runtime", "--now", "polkit.service")
	p.t.Cleanup(func() { _, _ = p.m.try("systemctl", "unmask", "--runtime", "polkit.service") })
	for user, want := range map[string]string{"nobody": "denied", "scgid": "denied", "root": "done"} {
		if got := call(user, "Resume"); got != want {
			p.t.Errorf("without polkit, %s: %q, want %s", user, got, want)
		}
	}
}

// Without a bus the control socket is as good.
func TestWithoutABusTheControlSocketDecidesAlike(t *testing.T) {
	p := newPool(t, "busless", tryPool+"[Control]\nGroup=scgid-ops\nReadGroup=scgid-watch\nBus=off\n")
	plantTries(t, p.m)
	p.begin()
	for _, tt := range []struct {
		who, user, groups string
		may               right
	}{
		{"the pool's own user", "scgid", "", onlyLook},
		{"another user", "nobody", "", onlyName},
		{"a member of ReadGroup=", "nobody", "scgid-watch", onlyLook},
		{"a member of Group=", "nobody", "scgid-ops", right{name: true, look: true, change: true}},
	} {
		said, err := p.as(tt.user, tt.groups, tryVerbs, p.name, "org.scgid1.app."+p.name)
		if err != nil {
			t.Errorf("%s: %v: %s", tt.who, err, said)
		}
		got := verdicts(said)
		for verb, may := range map[string]bool{"socket workers": tt.may.look, "socket scale": tt.may.change, "socket kill": tt.may.change} {
			want := "denied"
			if may {
				want = "done"
			}
			if got[verb] != want {
				t.Errorf("%s: %s is %q, want %s", tt.who, verb, got[verb], want)
			}
		}
		if got := got["bus Resume"]; got == "done" || got == "denied" {
			t.Errorf("%s: it is on the bus", tt.who)
		}
	}
}

// The directory of the control socket is the pool's user's, and so is that of
// an application that somebody has broken into: root does not take a socket of
// its making for the server's.
func TestRootBelievesOnlyTheMasterThatSystemdStarted(t *testing.T) {
	p := newPool(t, "faked", wsgi)
	p.ask("/?x")
	if out := p.m.run(t, "scgictl", "scale", p.name, "--max", "7"); !strings.Contains(out, "set at run time") {
		t.Fatal(out)
	}
	dir := "/run/scgid/" + p.name
	p.m.write(t, "/srv/scgid-test/fake.py", `import os, socket, sys
os.chdir(sys.argv[1])
os.rename("control.sock", "real")
s = socket.socket(socket.AF_UNIX)
s.bind("control.sock")
os.chmod("control.sock", 0o666)
s.listen(10)
open("fake", "w").close()
while True:
    c, _ = s.accept()
    got = c.recv(65536)
    if got:
        open("fake", "ab").write(got)
        body = b'{"name": "faked", "state": "running", "finished": 5}'
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    c.close()
`)
	p.m.run(t, "systemd-run", "--unit=fake-server", "--uid=scgid", "--gid=scgid", "/usr/bin/python3", "/srv/scgid-test/fake.py", dir)
	t.Cleanup(func() { _, _ = p.m.try("systemctl", "stop", "fake-server.service") })
	p.wait("the false socket is there", func() bool { _, err := os.Stat(p.m.path(dir + "/fake")); return err == nil })
	for _, args := range [][]string{{"scale", p.name, "--max", "2"}, {"stop", p.name}, {"kill", p.name, "1"}, {"log-level", p.name, "debug"}} {
		out, err := p.m.try(append([]string{"scgictl"}, args...)...)
		if err == nil || !strings.Contains(out, "answers for "+p.name+", but scgid@"+p.name+".service is process ") || !strings.Contains(out, "nothing was asked of it") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
	if asked, err := os.ReadFile(p.m.path(dir + "/fake")); err != nil || len(asked) > 0 {
		t.Errorf("it was asked %q, %v", asked, err)
	}
	if out := p.m.run(t, "scgictl", "status", p.name); !strings.Contains(out, "warning: process ") {
		t.Errorf("looking does not warn: %s", out)
	}
	p.m.run(t, "systemctl", "stop", "fake-server.service")
	if err := os.Rename(p.m.path(dir+"/real"), p.m.path(dir+"/control.sock")); err != nil {
		t.Fatal(err)
	}
	if out := p.m.run(t, "scgictl", "scale", p.name, "--max", "6"); !strings.Contains(out, "6 workers") {
		t.Error(out)
	}
}
