package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// A need is something that a kind cannot do without.
type need struct {
	programs []string // any of these
	packages []string // Debian's, that bring it
	built    string   // the part of the kit that has to have been built
	how      string   // how to get it where no package does
}

var (
	compiler    = need{programs: []string{"gcc"}, packages: []string{"gcc", "libc6-dev"}, built: "floor"}
	headers     = need{programs: []string{"/usr/include/python3*/Python.h"}, packages: []string{"python3-dev"}}
	interpreter = need{programs: []string{python}, packages: []string{"python3"}}
	front       = need{programs: []string{"nginx", "/usr/sbin/nginx"}, packages: []string{"nginx-light"}}
	uwsgi       = need{programs: []string{"uwsgi_python3"}, packages: []string{"uwsgi-core", "uwsgi-plugin-python3"}}
	gunicorn    = need{programs: []string{"/usr/bin/gunicorn"}, packages: []string{"gunicorn"}}
	fcgiwrap    = need{programs: []string{"fcgiwrap", "/usr/sbin/fcgiwrap"}, packages: []string{"fcgiwrap"}}
	phpFPM      = need{programs: []string{"/usr/sbin/php-fpm*"}, packages: []string{"php-fpm"}}
	django      = need{programs: []string{python}, packages: []string{"python3-django"}, built: "django"}
	cProgram    = need{programs: []string{"gcc"}, packages: []string{"gcc", "libc6-dev"}, built: "cgi"}
	tracer      = need{programs: []string{"strace"}, packages: []string{"strace"}}
	checkout    = need{built: "scgi", how: errNoCheckout.Error()}

	ours       = need{programs: []string{"scgid"}, how: "make build"}
	wsgiWorker = need{programs: []string{"scgi-wsgi"}, how: "make build"}
	cgiWorker  = need{programs: []string{"scgi-cgi"}, how: "make build"}
	goWorker   = need{programs: []string{"goworker"}, how: "go build -o bin/ ./cmd/scgibench/goworker, or make bench"}
)

// Missing says what a kind lacks for an application, and how to get it; "" when
// it can be started. What has to be built for it is built now.
func (k *Kit) Missing(ctx context.Context, kind Kind, app App) string {
	for _, n := range k.needsOf(kind, app) {
		if why := k.lacks(ctx, n); why != "" {
			return why
		}
	}
	return ""
}

func (k *Kit) needsOf(kind Kind, app App) []need {
	needs := slices.Clone(kind.needs)
	if app.Front && !kind.Spawns() {
		needs = append(needs, front)
	}
	switch {
	case slices.Contains(djangoApps, app.Name):
		needs = append(needs, django)
	case app.Name == "cgi-c":
		needs = append(needs, cProgram)
	}
	return needs
}

func (k *Kit) lacks(ctx context.Context, n need) string {
	switch {
	case strings.HasPrefix(n.how, "make") || strings.HasPrefix(n.how, "go build"):
		if _, err := os.Stat(k.bin(n.programs[0])); err != nil {
			return fmt.Sprintf("there is no %s: %s", k.bin(n.programs[0]), n.how)
		}
	case len(n.programs) > 0 && n.find() == "":
		return fmt.Sprintf("there is no %s: apt-get install %s, or --install", n.programs[0], strings.Join(n.packages, " "))
	case n.built != "":
		return n.say(k.build(ctx, n.built))
	}
	return ""
}

// say is the error of building what is needed, with what may help.
func (n need) say(err error) string {
	switch {
	case err == nil:
		return ""
	case n.packages == nil:
		return err.Error()
	}
	return fmt.Sprintf("%v: apt-get install %s, or --install", err, strings.Join(n.packages, " "))
}

// Install installs Debian's packages for all kinds, nginx and strace included.
// It needs root and apt-get. No service is started by it: what the packages
// bring is started by Start alone.
func Install(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can install packages")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("there is no apt-get: install the packages by hand")
	}
	missing := absent(Packages())
	if len(missing) == 0 {
		return nil
	}
	const policy = "/usr/sbin/policy-rc.d"
	if _, err := os.Stat(policy); err != nil {
		if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return err
		}
		defer os.Remove(policy)
	}
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-q", "-y", "--no-install-recommends", "--no-remove"}, missing...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %v: %s", args[0], err, lastLine(out))
		}
	}
	return nil
}

// Packages are all that Install would see to.
func Packages() (all []string) {
	for _, n := range []need{compiler, headers, interpreter, front, uwsgi, gunicorn, fcgiwrap, phpFPM, django, tracer} {
		all = append(all, n.packages...)
	}
	return all
}

func absent(packages []string) (missing []string) {
	for _, p := range packages {
		out, err := exec.Command("dpkg-query", "-W", "-f", "${Status}", p).Output()
		if err != nil || !strings.Contains(string(out), "ok installed") {
			missing = append(missing, p)
		}
	}
	return missing
}
