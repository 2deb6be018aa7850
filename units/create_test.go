package units

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A CGI program that says as whom it runs, and tries what another application
// must not let it do: to send it a request, and to read what it keeps.
const nosy = `#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
who=$(id -un)
echo "user $who, groups $(id -Gn)"
[ $who = scgid ] || echo mine >/var/lib/scgid/${who#scgid-}/kept
[ -z "$QUERY_STRING" ] && exit
scgictl request /run/scgid/$QUERY_STRING.sock / 2>&1; echo "request $?"
cat /var/lib/scgid/$QUERY_STRING/kept 2>&1; echo "cat $?"
ls /var/lib/scgid/$QUERY_STRING 2>&1; echo "ls $?"
`

// newCreated sets a pool up with create, to be removed in the end.
func newCreated(t *testing.T, name string, args ...string) *pool {
	t.Helper()
	p := &pool{t: t, m: booted(t), name: name}
	if err := put(p.m.path("/srv/scgid-test/nosy.cgi"), nosy, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.end()
		_, _ = p.m.try("scgictl", "remove", name, "--purge", "--force")
	})
	args = append([]string{"scgictl", "create", name}, args...)
	t.Log(p.m.run(t, append(args, "--", "scgi-cgi", "/srv/scgid-test/nosy.cgi")...))
	p.m.run(t, "systemctl", "enable", "--now", p.socket())
	return p
}

// says sends a request as a user, and returns what the application replies.
func (p *pool) says(user, query string) (string, error) {
	return p.m.as(user, "scgictl", "request", "/run/scgid/"+p.name+".sock", "/?"+query)
}

// as runs a command as a user.
func (m *machine) as(user string, argv ...string) (string, error) {
	return m.try(append([]string{"setpriv", "--reuid", user, "--regid", user, "--init-groups"}, argv...)...)
}

func TestCreatedPoolsAreKeptApart(t *testing.T) {
	a := newCreated(t, "apart", "--web-group", "www-data", "--set", "Worker.Environment=KEY=secret")
	b := newCreated(t, "my-app", "--web-group", "www-data")
	for _, p := range []*pool{a, b} {
		if got := p.show(p.service(), "ActiveState"); got != "inactive" {
			t.Errorf("before the first request %s is %s", p.service(), got)
		}
		verify(t, p.m.try, p.socket(), p.service())
		out, err := p.says("www-data", "")
		if err != nil || !strings.Contains(out, "user scgid-"+p.name+", groups scgid-"+p.name+" scgid\n") {
			t.Errorf("the application of %s says %q, %v", p.name, out, err)
		}
		if out := p.m.run(t, "scgictl", "doctor", p.name); strings.Contains(out, "warn") {
			t.Errorf("doctor: %s", out)
		}
	}

	// Neither an application nor any other user gets at another's.
	out, err := b.says("www-data", "apart")
	for _, want := range []string{"request 4\n", "cat 1\n", "ls 2\n"} {
		if err != nil || !strings.Contains(out, want) || strings.Contains(out, "mine") {
			t.Errorf("my-app at apart: %q, %v, want %q", out, err, want)
		}
	}
	for _, user := range []string{"scgid-my-app", "scgid-other", "scgid-apart"} {
		if out, err := a.says(user, ""); err == nil || !strings.Contains(strings.ToLower(out), "permission denied") {
			t.Errorf("%s may send requests: %s", user, out)
		}
	}
	for _, path := range []string{"/var/lib/scgid/apart/.", "/var/cache/scgid/apart/.", "/etc/scgid/apart.conf"} {
		if out, err := a.m.as("scgid-my-app", "head", "-c1", path); err == nil || !strings.Contains(out, "ermission denied") {
			t.Errorf("scgid-my-app at %s: %v, %s", path, err, out)
		}
	}

	// The bus knows my-app by another name.
	b.m.run(t, "systemctl", "service-log-level", b.service(), "debug")
	if got := strings.TrimSpace(b.m.run(t, "systemctl", "service-log-level", b.service())); got != "debug" {
		t.Errorf("log level %q", got)
	}
}

func TestPoolsOfTheSharedUserAndOtherAddresses(t *testing.T) {
	p := newCreated(t, "shared", "--shared-user", "--listen", "/run/scgid-shared/x.sock", "--listen", "127.0.0.1:4001")
	out := p.m.run(t, "scgictl", "request", "127.0.0.1:4001", "/")
	if !strings.Contains(out, "user scgid, groups scgid\n") {
		t.Errorf("the application says %q", out)
	}
	if out := p.m.run(t, "stat", "-c", "%U %G %a", "/run/scgid-shared/x.sock"); out != "root www-data 660\n" {
		t.Errorf("the socket is %s", out)
	}
	if _, err := os.Stat(p.m.path("/run/scgid/shared.sock")); err == nil {
		t.Error("the default socket is there, too")
	}
}

// A configuration with Environment= is not for all to read.
func TestAPoolRunsAsTheUserOfItsPackage(t *testing.T) {
	p := newCreated(t, "packaged", "--as", "www-data", "--web-group", "www-data", "--set", "Worker.Environment=KEY=secret")
	p.m.run(t, "mkdir", "-p", "/var/lib/scgid/www-data") // where nosy.cgi looks
	t.Cleanup(func() { _ = os.RemoveAll(p.m.path("/var/lib/scgid/www-data")) })
	out, err := p.says("www-data", "")
	if err != nil || !strings.Contains(out, "user www-data, groups www-data scgid\n") {
		t.Errorf("the application says %q, %v", out, err)
	}
	if out := p.m.run(t, "stat", "-c", "%U %G %a", "/etc/scgid/packaged.conf"); out != "root www-data 640\n" {
		t.Errorf("the configuration is %s", out)
	}

	// A directory of the sandbox that is not there, and then a configuration that
	// the user may not read, are told with what to do.
	p.m.run(t, "systemctl", "stop", p.service())
	p.dropIn(p.service(), "write.conf", "[Service]\nReadWritePaths=/srv/not-there\n")
	out, _ = p.m.try("scgictl", "doctor", p.name, "--timeout", "3s")
	for _, want := range []string{"226/NAMESPACE: its sandbox cannot be set up: /srv/not-there of ReadWritePaths= does not exist",
		"| scgid@packaged.service: Failed ", "-> mkdir /srv/not-there and give it to www-data"} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor lacks %q: %s", want, out)
		}
	}
	p.m.run(t, "mkdir", "/srv/not-there")
	t.Cleanup(func() { _ = os.Remove(p.m.path("/srv/not-there")) })
	p.m.run(t, "chgrp", "root", "/etc/scgid/packaged.conf")
	p.waitShow(p.service(), "ExecMainStatus", is("2"))
	out, _ = p.m.try("scgictl", "status", p.name)
	for _, want := range []string{"status 2: www-data may not read /etc/scgid/packaged.conf (-rw-r----- root root)",
		"hint: chgrp www-data /etc/scgid/packaged.conf && chmod g+r /etc/scgid/packaged.conf, then systemctl restart "} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q: %s", want, out)
		}
	}
	p.m.run(t, "chgrp", "www-data", "/etc/scgid/packaged.conf")
	p.m.run(t, "systemctl", "restart", p.service())
	if out, err := p.m.try("scgictl", "doctor", p.name); err != nil {
		t.Errorf("mended, doctor says: %s", out)
	}
}

// tree lists the files of a machine that a pool may have to do with.
func (m *machine) tree(t *testing.T) []string {
	t.Helper()
	all := strings.Split(m.run(t, "find", "/etc", "/run", "/var/lib", "/var/cache", "/usr/local",
		"(", "-path", "/run/user", "-o", "-path", "/run/systemd", "-o", "-path", "/run/log", "-o", "-path", "/var/lib/systemd", ")", "-prune", "-o", "-print"), "\n")
	slices.Sort(all)
	return all
}

func TestRemoveLeavesNothingButTheUser(t *testing.T) {
	m := booted(t)
	// What the first pool of all leaves: the directories of all, and users'
	// files as they were before.
	first := newCreated(t, "first")
	first.says("www-data", "")
	m.run(t, "scgictl", "remove", "first", "--purge")

	before := m.tree(t)
	p := newCreated(t, "gone")
	if _, err := p.says("www-data", ""); err != nil {
		t.Fatal(err)
	}
	if got := p.show(p.service(), "ActiveState"); got != "active" {
		t.Fatalf("the service is %s", got)
	}
	made := m.tree(t)
	for _, want := range []string{"/etc/scgid/gone.conf", "/etc/sysusers.d/scgid-gone.conf", "/etc/systemd/system/sockets.target.wants/scgid@gone.socket",
		"/run/scgid/gone.sock", "/run/scgid/gone/control.sock", "/var/lib/scgid/gone/kept", "/var/cache/scgid/gone"} {
		if !slices.Contains(made, want) {
			t.Errorf("there is no %s", want)
		}
	}

	out := m.run(t, "scgictl", "remove", "gone")
	if !strings.Contains(out, "left: /var/lib/scgid/gone\n") || !strings.Contains(out, "left: user scgid-gone") {
		t.Errorf("remove says %s", out)
	}
	if _, err := os.Stat(m.path("/var/lib/scgid/gone/kept")); err != nil {
		t.Error(err)
	}
	if log := m.journal(t, "-u", p.service()); !strings.Contains(log, ", 0 lost, ") {
		t.Errorf("no report of an orderly stop: %s", log)
	}
	m.run(t, "scgictl", "remove", "gone", "--purge")
	if after := m.tree(t); !slices.Equal(after, before) {
		t.Errorf("left or lost: %v", difference(after, before))
	}
	if left := m.run(t, "systemctl", "list-units", "--all", "--no-legend", "scgid@gone.*"); left != "" {
		t.Errorf("systemd still has %s", left)
	}
	m.run(t, "id", "scgid-gone")
	if out, err := m.try("scgictl", "remove", "gone"); err == nil || !strings.Contains(out, "there is no pool gone") {
		t.Errorf("a second remove: %v, %s", err, out)
	}

	// The name is free again, and its user is taken as it is.
	again := newCreated(t, "gone")
	if out, err := again.says("www-data", ""); err != nil || !strings.Contains(out, "user scgid-gone,") {
		t.Errorf("the application says %q, %v", out, err)
	}
}

// difference is what only one of two lists has.
func difference(a, b []string) (only []string) {
	for _, x := range a {
		if !slices.Contains(b, x) {
			only = append(only, "+"+x)
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			only = append(only, "-"+x)
		}
	}
	return only
}

func TestCreateThatFailsHalfWayLeavesNothing(t *testing.T) {
	m := booted(t)
	// A drop-in that is there already makes the configuration a wrong one.
	m.write(t, "/etc/scgid/half.conf.d/x.conf", "[Pool]\nMinWorker=1\n")
	t.Cleanup(func() { _ = os.RemoveAll(m.path("/etc/scgid/half.conf.d")) })
	m.run(t, "scgictl", "create", "half", "--shared-user", "--dry-run", "--", "true")
	before := m.tree(t)
	out, err := m.try("scgictl", "create", "half", "--shared-user", "--", "true")
	if err == nil || !strings.Contains(out, "/etc/scgid/half.conf.d/x.conf:2") || !strings.Contains(out, "nothing was written") {
		t.Errorf("create: %v, %s", err, out)
	}
	if after := m.tree(t); !slices.Equal(after, before) {
		t.Errorf("left: %v", difference(after, before))
	}
}

func TestUnreadableApplicationIsNoted(t *testing.T) {
	m := booted(t)
	if err := put(m.path("/root/private/app"), "#!/bin/sh\n", 0o755); err != nil {
		t.Fatal(err)
	}
	m.run(t, "chmod", "700", "/root/private")
	t.Cleanup(func() { _ = os.RemoveAll(m.path("/root/private")) })
	out := m.run(t, "scgictl", "create", "barred", "--json", "--", "/root/private/app")
	t.Cleanup(func() { m.run(t, "scgictl", "remove", "barred", "--purge") })
	var said struct{ Notes []string }
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(said.Notes, func(n string) bool { return strings.HasPrefix(n, "scgid-barred may not read /root") }) {
		t.Errorf("notes %q", said.Notes)
	}
}

func TestCreateForAnotherRoot(t *testing.T) {
	m := booted(t)
	root := "/tmp/other"
	for from, to := range map[string]string{"scgid@.service": "usr/lib/systemd/system", "scgid@.socket": "usr/lib/systemd/system"} {
		if err := put(filepath.Join(m.path(root), to, from), string(read(t, from)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(m.path(root+"/usr/lib/sysusers.d/scgid.conf"), string(read(t, "scgid.sysusers")), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(m.path(root)) })
	m.run(t, "scgictl", "create", "there", "--root", root, "--set", "Worker.Environment=KEY=secret", "--", "true")
	users, err := os.ReadFile(m.path(root + "/etc/passwd"))
	if err != nil || !strings.Contains(string(users), "scgid-there:") || !strings.Contains(string(users), "scgid:") {
		t.Errorf("users there: %v, %s", err, users)
	}
	if out, err := m.try("id", "scgid-there"); err == nil {
		t.Errorf("the user is here: %s", out)
	}
	gid := ""
	groups, _ := os.ReadFile(m.path(root + "/etc/group"))
	for _, line := range strings.Split(string(groups), "\n") {
		if f := strings.Split(line, ":"); f[0] == "scgid-there" {
			gid = f[2]
		}
	}
	if got := m.run(t, "stat", "-c", "%u %g %a", root+"/etc/scgid/there.conf"); got != "0 "+gid+" 640\n" {
		t.Errorf("the configuration is %s, want group %s", got, gid)
	}
	m.run(t, "systemctl", "--root="+root, "enable", "scgid@there.socket")
	m.run(t, "scgictl", "remove", "there", "--root", root)
	if left := m.run(t, "find", root, "-name", "*there*"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// systemd's own programs follow an absolute link out of the root.
func TestLinksOfAnotherRootDoNotLeadHere(t *testing.T) {
	m := booted(t)
	root := "/tmp/hostile"
	t.Cleanup(func() { _ = os.RemoveAll(m.path(root)) })
	if err := put(m.path(root+"/usr/lib/sysusers.d/scgid.conf"), string(read(t, "scgid.sysusers")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := put(m.path(root+"/usr/lib/systemd/system/scgid@.socket"), string(read(t, "scgid@.socket")), 0o644); err != nil {
		t.Fatal(err)
	}
	m.run(t, "ln", "-s", "/etc", "/var", root)
	m.run(t, "mkdir", "-p", "/var/lib/scgid/lured/kept")
	t.Cleanup(func() { m.run(t, "rm", "-r", "/var/lib/scgid/lured") })
	users, before := m.run(t, "cat", "/etc/passwd", "/etc/group", "/etc/shadow"), m.tree(t)
	if out, err := m.try("scgictl", "create", "lured", "--root", root, "--", "true"); err == nil {
		t.Errorf("create wrote: %s", out)
	}
	m.run(t, "rm", root+"/etc")
	if out, err := m.try("scgictl", "remove", "lured", "--root", root, "--purge", "--force"); err == nil {
		t.Errorf("remove removed: %s", out)
	}
	if after := m.tree(t); !slices.Equal(after, before) {
		t.Errorf("changed here: %v, %v", difference(after, before), difference(before, after))
	}
	if after := m.run(t, "cat", "/etc/passwd", "/etc/group", "/etc/shadow"); after != users {
		t.Errorf("users here were\n%s, are\n%s", users, after)
	}
}

func TestCreateForAUsersManager(t *testing.T) {
	u := newTester(t)
	out := u.run("scgictl", "create", "my-own", "--user", "--", "scgi-cgi", "/srv/scgid-test/app.cgi")
	for _, command := range []string{"systemctl --user daemon-reload", "systemctl --user enable --now scgid@my-own.socket"} {
		if !strings.Contains(out, "  "+command+"\n") {
			t.Errorf("create says %s, want %s", out, command)
		}
		u.run(strings.Fields(command)...)
	}
	socket := "/run/user/" + u.uid + "/scgid/my-own.sock"
	if !strings.Contains(out, "  scgictl request "+socket+" /\n") {
		t.Errorf("create says %s", out)
	}
	u.run("scgictl", "request", socket, "/")
	if _, err := os.Stat(u.m.path("/run/user/" + u.uid + "/bus")); err == nil {
		u.run("systemctl", "--user", "service-log-level", "scgid@my-own.service", "debug")
	}
	u.run("scgictl", "remove", "my-own", "--user")
	if _, err := os.Stat(u.m.path(socket)); err == nil {
		t.Error("the socket is left")
	}
	if left := u.run("find", "/var/lib/scgid-tester/.config", "-name", "*my-own*"); left != "" {
		t.Errorf("left: %s", left)
	}
}
