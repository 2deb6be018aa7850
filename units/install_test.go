package units

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// needTools skips where a program is missing, but not where all are there on
// purpose.
func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			lacks(t, name)
		}
	}
}

// lacks ends a test that needs what is not there: in CI, which installs it, that
// is a failure.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

// here runs a program on this machine, which must succeed.
func here(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// under lists the files below a directory.
func under(t *testing.T, root string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(root, path)
			all[rel] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var absolute = regexp.MustCompile(`(?m)^Exec\w+=\+?(/\S+)/(scgid|scgictl) `)

// The files of the package are installed where this package's tests of the
// booted systemd put them, and for another prefix where systemd looks, too.
func TestInstalledUnitsNameTheInstalledPrograms(t *testing.T) {
	needTools(t, "make", "install", "sed")
	for prefix, bus := range map[string]string{"/usr": "usr/share/dbus-1/system.d", "/usr/local": "etc/dbus-1/system.d"} {
		t.Run(prefix, func(t *testing.T) {
			root := t.TempDir()
			// Whoever installs may have a umask that keeps others out.
			here(t, "sh", "-c", `umask 077; exec make -s -C .. install-units "DESTDIR=$0" "PREFIX=$1"`, root, prefix)
			got := under(t, root)
			for from, to := range installed {
				if filepath.Dir(from) != "." && filepath.Dir(from) != "user" {
					continue
				}
				to = strings.Replace(to, "usr/share/dbus-1/system.d", bus, 1)
				if !strings.Contains(to, "polkit-1") {
					to = strings.Replace(to, "usr/", prefix[1:]+"/", 1)
				}
				if !got[to] {
					t.Errorf("there is no %s", to)
					continue
				}
				if info, err := os.Stat(filepath.Join(root, to)); err != nil || info.Mode() != 0o644 {
					t.Errorf("%s: %v, %v", to, info.Mode(), err)
				}
				text := string(read(t, filepath.Join(root, to)))
				for _, m := range absolute.FindAllStringSubmatch(text, -1) {
					if want := map[string]string{"scgid": prefix + "/sbin", "scgictl": prefix + "/bin"}[m[2]]; m[1] != want {
						t.Errorf("%s has %s, want %s", to, m[0], want)
					}
				}
				if strings.HasSuffix(to, ".service") && len(absolute.FindAllString(text, -1)) < 2 {
					t.Errorf("%s has not all commands", to)
				}
			}
			for _, example := range []string{"strict.conf", "systemd-254.conf", "write.conf", "sendmail.conf", "device.conf"} {
				if !got[prefix[1:]+"/share/doc/scgid/examples/"+example] {
					t.Errorf("there is no %s", example)
				}
			}
			if info, err := os.Stat(filepath.Join(root, "etc/scgid")); err != nil || !info.IsDir() {
				t.Errorf("/etc/scgid: %v", err)
			}
		})
	}
}

func TestSystemdReadsWhatIsInstalledBelowUsrLocal(t *testing.T) {
	needTools(t, "make", "systemd-analyze", "systemd-sysusers", "systemd-tmpfiles")
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := t.TempDir()
	here(t, "make", "-s", "-C", "..", "install-units", "DESTDIR="+root, "PREFIX=/usr/local")
	for _, args := range [][]string{{"unit-paths"}, {"--user", "unit-paths"}} {
		dir := "/usr/local/lib/systemd/system"
		if len(args) > 1 {
			dir = "/usr/local/lib/systemd/user"
		}
		if out := here(t, append([]string{"systemd-analyze"}, args...)...); !strings.Contains(out, dir+"\n") {
			t.Errorf("systemd does not read %s: %s", dir, out)
		}
	}
	here(t, "systemd-sysusers", "--root="+root, "scgid.conf")
	if users := string(read(t, filepath.Join(root, "etc/passwd"))); !strings.Contains(users, "scgid:") {
		t.Errorf("users: %s", users)
	}
	here(t, "systemd-tmpfiles", "--root="+root, "--create", "scgid.conf")
	for _, dir := range []string{"run/scgid", "var/lib/scgid"} {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || info.Mode() != os.ModeDir|0o755 {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
