package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/scgid/scgid/master/config"
)

// loadConfig reads the configuration as the master would.
func (d *doctor) loadConfig() {
	switch {
	case d.file != "":
		d.conf, d.confErr = config.LoadFile(d.file, nil)
		abs, err := filepath.Abs(d.file)
		d.own = err == nil && abs == ownConfig(d.name)
	case d.name != "":
		if d.target != nil && d.target.user { // the system may have one of that name
			d.conf, d.confErr = loadOwn(d.name)
			d.own = !errors.Is(d.confErr, fs.ErrNotExist)
		}
		if !d.own {
			d.conf, d.own, d.confErr = d.load(d.name)
		}
	default:
		d.confErr = fs.ErrNotExist
	}
	if d.conf != nil {
		d.name = orElse(d.name, d.conf.Name)
	}
}

// checkConfig gives each mistake a line of its own. A pool that runs without a file
// is good: scgid run has none.
func (d *doctor) checkConfig(context.Context) {
	const what = "configuration"
	var many config.Errors
	switch {
	case errors.As(d.confErr, &many):
		for _, e := range many {
			d.add(bad, what, e.Error(), "")
		}
	case d.unconfigured():
		d.add(bad, what, d.confErr.Error(), "scgictl create "+d.name+" -- COMMAND, or write /etc/scgid/"+d.name+".conf, see scgid.conf(5)")
	case errors.Is(d.confErr, fs.ErrNotExist):
		d.add(good, what, "there is no file; the pool was started without one", "")
	case d.confErr != nil:
		d.cannot(what, d.confErr, "")
	default:
		d.checkNamed(what)
	}
}

// unconfigured says that there is nothing to be started: the units want a
// configuration.
func (d *doctor) unconfigured() bool {
	return d.status == nil && errors.Is(d.confErr, fs.ErrNotExist)
}

// cannot notes an error; what this user may not look at is none of the pool's.
func (d *doctor) cannot(what string, err error, hint string) {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		d.add(notable, what, err.Error(), "run doctor as root")
		return
	}
	d.add(bad, what, err.Error(), hint)
}

// checkNamed looks at what the configuration names.
func (d *doctor) checkNamed(what string) {
	env, err := d.conf.Environ()
	if err != nil {
		d.cannot(what, err, "EnvironmentFile=-FILE allows a file to be missing")
		return
	}
	before := len(d.checks)
	if hint, err := checkCommand(d.conf.Worker.ExecStart, env); err != nil {
		d.cannot(what, fmt.Errorf("ExecStart=: %w", err), hint)
	}
	if dir := d.conf.Worker.WorkingDirectory; dir != "" {
		if err := isDirectory(dir); err != nil {
			d.cannot(what, fmt.Errorf("WorkingDirectory=: %w", err), "")
		}
	}
	if len(d.checks) == before {
		d.add(good, what, strings.Join(d.conf.Files, ", "), "")
	}
}

// isDirectory says why a directory is not there.
func isDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New(dir + " is not a directory")
	}
	return err
}

// ours are the programs that come with scgid: they are found beside it.
var ours = []string{"scgi-wsgi", "scgi-cgi"}

// checkCommand says why a command cannot be run, and what to do. It follows
// scgid check.
func checkCommand(argv, env []string) (hint string, err error) {
	if len(argv) == 0 {
		return "", errors.New("no command is set")
	}
	if slices.Contains(ours, argv[0]) && besideUs(argv[0]) {
		return "", nil
	}
	if strings.ContainsRune(argv[0], '/') {
		return runnable(argv[0])
	}
	path := "/usr/local/bin:/usr/bin:/bin"
	for _, v := range append(os.Environ(), env...) {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if _, err := runnable(filepath.Join(dir, argv[0])); err == nil {
			return "", nil
		}
	}
	return "give an absolute path", fmt.Errorf("%s is not in PATH (%s)", argv[0], path)
}

// besideUs looks where scgid is installed: PREFIX/bin or sbin, and
// PREFIX/lib/scgid.
func besideUs(name string) bool {
	self, err := os.Executable()
	if err != nil {
		return false
	}
	bin := filepath.Dir(self)
	for _, dir := range []string{".", "../lib/scgid", "../bin", "../sbin"} {
		if _, err := runnable(filepath.Join(bin, dir, name)); err == nil {
			return true
		}
	}
	return false
}

// runnable says why path cannot be executed, as far as one can see.
func runnable(path string) (hint string, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case info.IsDir():
		return "", fmt.Errorf("%s is a directory", path)
	case info.Mode()&0o111 == 0:
		return "chmod +x " + path, fmt.Errorf("%s is not executable", path)
	}
	return "", nil
}
