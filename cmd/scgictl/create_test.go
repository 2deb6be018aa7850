package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control/bus"
)

// setupFor opens a system below root; "" is this one.
func setupFor(t *testing.T, name, root string) *setup {
	t.Helper()
	s, err := newSetup(name, root, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestPoolsHaveUsersThatSystemdTakes(t *testing.T) {
	seen := map[string]string{}
	for pool, want := range map[string]string{
		"wiki":                  "scgid-wiki",
		"my-app_2":              "scgid-my-app_2",
		strings.Repeat("x", 25): "scgid-" + strings.Repeat("x", 25),
		strings.Repeat("x", 26): "scgid-" + strings.Repeat("x", 16) + "-18d2a9c4",
		strings.Repeat("x", 64): "scgid-" + strings.Repeat("x", 16) + "-7ce10097",
		"a-b":                   "scgid-a-b",
		"a.b":                   "scgid-a-b-2e7336dc",
		"a..b":                  "scgid-a--b-f62b4241",
	} {
		user, _ := poolUser(pool)
		if !strings.HasPrefix(user, want) || len(user) > userMax || strings.Contains(user, ".") {
			t.Errorf("pool %s has user %s, want %s", pool, user, want)
		}
		if other, ok := seen[user]; ok {
			t.Errorf("%s and %s have one user, %s", pool, other, user)
		}
		seen[user] = pool
	}
}

// The examples are typed as they are, on any system.
func TestTheExamplesOfCreateWorkAnywhere(t *testing.T) {
	root, home := t.TempDir(), t.TempDir()
	if err := os.Mkdir(root+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	examples := strings.ReplaceAll(createCommand(newCtl()).Example, "\\\n", "")
	for _, line := range strings.Split(examples, "\n") {
		if strings.Contains(line, "git-http-backend") && !strings.Contains(line, "GIT_PROJECT_ROOT=") {
			t.Errorf("git-http-backend wants GIT_PROJECT_ROOT: %s", line)
		}
		dry := "--dry-run --root " + root + " -- "
		if strings.Contains(line, "--user") {
			dry = "--dry-run -- "
		}
		cmd := exec.Command("sh", "-c", strings.Replace(line, "-- ", dry, 1))
		cmd.Env = append(os.Environ(), "HOME="+home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

// Without SCRIPT_FILENAME, scgi-cgi --root answers 403.
func TestNginxIsToldWhichProgramIsWanted(t *testing.T) {
	const begin = "location / { include scgi_params; "
	for _, c := range []struct {
		command []string
		want    string
	}{
		{[]string{"scgi-cgi", "--root", "/usr/lib/cgi-bin"}, "scgi_param SCRIPT_FILENAME /usr/lib/cgi-bin$document_uri; "},
		{[]string{"/opt/bin/scgi-cgi", "--slots", "8", "--pass-authorization", "--root=/srv/cgi/"}, "scgi_param SCRIPT_FILENAME /srv/cgi$document_uri; "},
		{[]string{"scgi-cgi", "--root", "/srv/my cgi"}, `scgi_param SCRIPT_FILENAME "/srv/my cgi$document_uri"; `},
		{[]string{"scgi-cgi", "--root", "cgi"}, "scgi_param SCRIPT_FILENAME /cgi$document_uri; "},
		{[]string{"scgi-cgi", "--root", "/"}, "scgi_param SCRIPT_FILENAME $document_uri; "},
		{[]string{"scgi-cgi", "/usr/bin/program", "--root", "/srv"}, ""},
		{[]string{"scgi-cgi", "--env", "--root", "/usr/bin/program"}, ""},
		{[]string{"scgi-cgi", "--root"}, ""},
		{[]string{"other", "--root", "/srv"}, ""},
	} {
		p, err := newPlan(setupFor(t, "cgi", t.TempDir()), c.command, createFlags{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := p.nginx(), begin+c.want+"scgi_pass unix:/run/scgid/cgi.sock; }"; got != want {
			t.Errorf("%q: nginx is told\n%s\nwant\n%s", c.command, got, want)
		}
	}
}

func TestAModuleWantsAWorkingDirectory(t *testing.T) {
	for _, c := range []struct {
		command, set []string
		want         string
	}{
		{[]string{"scgi-wsgi", "wiki.wsgi:application"}, nil, "wiki.wsgi"},
		{[]string{"/usr/bin/scgi-wsgi", "--threads", "4", "wiki:create_app('/etc/wiki')"}, nil, "wiki"},
		{[]string{"scgi-wsgi", "wiki"}, nil, "wiki"},
		{[]string{"scgi-wsgi", "wiki:app"}, []string{"Worker.WorkingDirectory=/srv/wiki"}, ""},
		{[]string{"scgi-wsgi", "--mount", "/wiki", "/srv/wiki.wsgi:app"}, nil, ""},
		{[]string{"other", "wiki:app"}, nil, ""},
	} {
		p, err := newPlan(setupFor(t, "wiki", t.TempDir()), c.command, createFlags{set: c.set})
		if err != nil {
			t.Fatal(err)
		}
		p.noteProblems()
		got := ""
		for _, note := range p.notes {
			if app, ok := strings.CutPrefix(note, "it runs in /, where scgi-wsgi looks for "); ok && strings.HasSuffix(app, " --set Worker.WorkingDirectory=DIR") {
				got, _, _ = strings.Cut(app, ": ")
			}
		}
		if got != c.want {
			t.Errorf("%q: the note is about %q, want %q: %q", c.command, got, c.want, p.notes)
		}
	}
}

// dbus-daemon has ignored the rules for group scgid if it was not there.
func TestTheBusLearnsOfTheGroupThatWasMade(t *testing.T) {
	bin, there := t.TempDir(), t.TempDir()
	called := filepath.Join(there, "called")
	for name, status := range map[string]string{"systemd-sysusers": "0", "busctl": "1"} {
		text := "#!/bin/sh\necho " + name + " \"$@\" >>" + called + "\nexit " + status + "\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	const reload = "busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig\n"
	for _, c := range []struct {
		what, root, systemd string
		made                bool
		want                string
	}{
		{"this system", "", there, true, "systemd-sysusers scgid.conf\n" + reload},
		{"which had the group", "", there, false, "systemd-sysusers scgid.conf\n"},
		{"without systemd", "", there + "/none", true, "systemd-sysusers scgid.conf\n"},
		{"an image", there, there, true, "systemd-sysusers --root=" + there + " scgid.conf\n"},
	} {
		if err := (&ctl{systemd: c.systemd}).sysusers(t.Context(), setupFor(t, "wiki", c.root), []string{"scgid.conf"}, c.made); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		got, err := os.ReadFile(called)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: called %q, %v, want %q", c.what, got, err, c.want)
		}
		os.Remove(called)
	}
}

func TestRootDoesNotWriteIntoAUsersHome(t *testing.T) {
	home := t.TempDir()
	if os.Getuid() == 0 {
		if err := os.Chown(home, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	// What root made there by sudo is beneath a name that is still the user's.
	roots := home + "/.config"
	if err := os.Mkdir(roots, 0o755); err != nil {
		t.Fatal(err)
	}
	owner := map[bool]string{true: home, false: roots}[os.Getuid() == 0]
	for dir, want := range map[string]string{home: home, home + "/none/none": home, roots: owner, roots + "/none": owner, "/none/none": ""} {
		t.Setenv("XDG_CONFIG_HOME", dir)
		s, err := (&ctl{uid: 0}).setup("wiki", "", true)
		switch {
		case err == nil && want != "":
			t.Errorf("%s: root may write there", dir)
		case err != nil && (want == "" || !strings.HasPrefix(err.Error(), want+" belongs to ")):
			t.Errorf("%s: %v", dir, err)
		}
		if err == nil {
			s.Close()
		}
	}
}

func TestBusLabelIsTheServers(t *testing.T) {
	for _, pool := range []string{"wiki", "my-app", "a.b", "1st", "x1", "_", "a_b", "Z-"} {
		if got, want := "org.scgid1.app."+busLabel(pool), bus.Name(pool); got != want {
			t.Errorf("%s is %s, the server takes %s", pool, got, want)
		}
	}
}

func TestChangedFilesAreNotTakenForOurs(t *testing.T) {
	text := signed("wiki", "# a comment\n", "[Worker]\nExecStart=app\n")
	for _, c := range []struct {
		what, text string
		want       origin
	}{
		{"as it was written", text, written},
		{"without a comment", signed("wiki", "", "[Pool]\n"), written},
		{"a changed value", strings.Replace(text, "app", "other", 1), edited},
		{"one more line", text + "Nice=1\n", edited},
		{"another comment", "#\n" + text, edited},
		{"a lost line", strings.TrimSuffix(text, "ExecStart=app\n"), edited},
		{"another pool's", signed("shop", "", "[Pool]\n"), foreign},
		{"no signature", "[Worker]\n", foreign},
		{"a signature in a value", "[Worker]\nExecStart=" + signature + "wiki 0\n", foreign},
		{"nothing", "", foreign},
	} {
		if got := signer("wiki", c.text); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

func TestLinksAndPipesAreSomebodyElses(t *testing.T) {
	dir := t.TempDir()
	file, link, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, []byte(signed("wiki", "", "[Pool]\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	s := setupFor(t, "wiki", "")
	for path, want := range map[string]origin{file: written, link: foreign, pipe: foreign, dir: foreign, file + ".none": absent} {
		if got, err := s.originOf(path); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", path, got, err, want)
		}
	}
}
