package units

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// installed are the files of this package and of others, and where a package
// puts them.
var installed = map[string]string{
	"scgid@.socket":                 "usr/lib/systemd/system/scgid@.socket",
	"scgid@.service":                "usr/lib/systemd/system/scgid@.service",
	"scgid.target":                  "usr/lib/systemd/system/scgid.target",
	"user/scgid@.socket":            "usr/lib/systemd/user/scgid@.socket",
	"user/scgid@.service":           "usr/lib/systemd/user/scgid@.service",
	"scgid.sysusers":                "usr/lib/sysusers.d/scgid.conf",
	"scgid.tmpfiles":                "usr/lib/tmpfiles.d/scgid.conf",
	"org.scgid1.conf":               "usr/share/dbus-1/system.d/org.scgid1.conf",
	"org.scgid1.policy":             "usr/share/polkit-1/actions/org.scgid1.policy",
	"../packaging/man/scgid.8":      "usr/share/man/man8/scgid.8",
	"../packaging/man/scgid.conf.5": "usr/share/man/man5/scgid.conf.5",
	"../worker/python/scgi_wsgi.py": "usr/lib/scgid/scgi-wsgi",
	"testdata/app.py":               "srv/scgid-test/app.py",
	"testdata/app.cgi":              "srv/scgid-test/app.cgi",
}

// programs are built, as a user would.
var programs = map[string]string{
	"scgid":    "usr/sbin/scgid",
	"scgictl":  "usr/bin/scgictl",
	"scgi-cgi": "usr/lib/scgid/scgi-cgi",
}

// settingsInside are for the machine itself.
var settingsInside = map[string]string{
	// The bus, unlike us, takes 90 s for hopeless to be hopeless.
	"etc/systemd/system.conf.d/test.conf":   "[Manager]\nDefaultTimeoutStartSec=20s\nDefaultTimeoutStopSec=10s\n",
	"etc/systemd/journald.conf.d/test.conf": "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n",
	"usr/lib/sysusers.d/scgid-test.conf":    "u scgid-tester - - /var/lib/scgid-tester /bin/bash\nu scgid-other - -\ng scgid-ops - -\ng scgid-watch - -\n",
	"usr/lib/tmpfiles.d/scgid-test.conf":    "d /var/lib/scgid-tester 0700 scgid-tester scgid-tester -\n",
	"etc/scgid/README":                      "NAME.conf for each pool\n",
}

// plant makes the files that the machine has more than this one.
func plant(tree string) error {
	if err := lookAtSources(); err != nil {
		return err
	}
	for from, to := range installed {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := put(filepath.Join(tree, to), string(text), modeOf(from)); err != nil {
			return err
		}
	}
	for to, text := range settingsInside {
		if err := put(filepath.Join(tree, to), text, 0o644); err != nil {
			return err
		}
	}
	for name, to := range programs {
		if err := build(filepath.Join(tree, to), name); err != nil {
			return err
		}
	}
	// As make install has it.
	return os.Chmod(filepath.Join(tree, programs["scgid"]), scgidMode)
}

// scgidMode is the mode of an installed scgid: see the Makefile.
const scgidMode = 0o711

// build builds a program of ours.
func build(to, name string, flags ...string) error {
	args := append([]string{"build", "-o", to}, flags...)
	out, err := exec.Command("go", append(args, "../cmd/"+name)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot build %s: %v\n%s", name, err, out)
	}
	return nil
}

// lookAtSources tells go test what the result depends on, so that it is not
// taken from the cache when a program has changed.
func lookAtSources() error {
	return filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	})
}

func modeOf(from string) os.FileMode {
	if strings.HasSuffix(from, ".py") || strings.HasSuffix(from, ".cgi") {
		return 0o755
	}
	return 0o644
}

// put writes a file, and makes its directories, readable by all whatever the
// umask.
func put(path, text string, mode os.FileMode) error {
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}
