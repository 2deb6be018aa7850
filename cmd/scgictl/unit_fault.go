package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// A fault is why a service does not start: text continues a sentence, lines are
// the last of the log.
type fault struct {
	text, hint string
	lines      []string
}

// steps are the exit statuses by which systemd says that it could not even
// execute the program; see systemd.exec(5).
var steps = map[string]struct{ name, text string }{
	"200": {"CHDIR", "its WorkingDirectory= cannot be entered"},
	"203": {"EXEC", "its program cannot be executed"},
	"216": {"GROUP", "a group of Group= or SupplementaryGroups= does not exist"},
	"217": {"USER", "the user of User= does not exist"},
	"218": {"CAPABILITIES", "its capabilities cannot be set"},
	"225": {"NETWORK", "its network cannot be set up"},
	"226": {"NAMESPACE", "its sandbox cannot be set up"},
	"228": {"SECCOMP", "its SystemCallFilter= cannot be set up"},
	"233": {"RUNTIME_DIRECTORY", "its directory in /run cannot be made"},
	"238": {"STATE_DIRECTORY", "its directory in /var/lib cannot be made"},
	"239": {"CACHE_DIRECTORY", "its directory in /var/cache cannot be made"},
}

// faultOf says why a service that is failing does so, and what to do.
func (c *ctl) faultOf(ctx context.Context, j journal, u unitState) fault {
	f := fault{text: ": " + orElse(u.result, "it failed"), lines: c.lastWords(ctx, j)}
	systemctl := "systemctl "
	if j.own {
		systemctl += "--user "
	}
	step, atStep := steps[u.status]
	switch {
	case u.code != "" && u.code != "0" && u.code != "1":
		f.text += ", killed by signal " + u.status
		f.hint = "scgictl log " + j.pool + " -n 50"
	case atStep:
		f.text += ", status " + u.status + "/" + step.name + ": " + step.text
		more, hint := u.atStep(step.name)
		f.text += more
		f.hint = orElse(hint, systemctl+"edit "+u.name)
	case u.status == "2":
		f.text += ", status 2: its configuration is wrong, or not to be read"
		f.hint = "scgid check " + j.pool
		if text, hint := c.unreadableConfig(j, u); text != "" {
			f.text, f.hint = ": "+u.result+", status 2: "+text, hint+", then "+systemctl+"restart "+u.name
		}
	case u.status != "" && u.status != "0":
		f.text += ", status " + u.status
		f.hint = "scgictl log " + j.pool + " -n 50"
	default:
		f.hint = systemctl + "status " + u.name
	}
	return f
}

// atStep finds the cause where it can be seen from here.
func (u *unitState) atStep(step string) (text, hint string) {
	switch step {
	case "NAMESPACE":
		for _, p := range u.paths {
			if _, err := os.Stat(p.path); errors.Is(err, fs.ErrNotExist) {
				return ": " + p.path + " of " + p.setting + "= does not exist",
					"mkdir " + p.path + " and give it to " + orElse(u.user, "root") + ", or allow it to be missing: " +
						p.setting + "=-" + p.path + " in systemctl edit " + u.name
			}
		}
	case "USER":
		if u.user != "" {
			return ": " + u.user, "systemd-sysusers makes those of sysusers.d(5), useradd --system " + u.user + " any other"
		}
	case "GROUP":
		names := strings.Join(strings.Fields(u.group+" "+u.groups), ", ")
		return ": one of " + names, "systemd-sysusers makes those of sysusers.d(5), groupadd --system any other"
	case "EXEC":
		return "", "systemctl cat " + u.name + " shows ExecStart=: the path of scgid there has to be that of the installed program"
	}
	return "", ""
}

// unreadableConfig finds a configuration that the user of the unit may not read.
func (c *ctl) unreadableConfig(j journal, u unitState) (text, hint string) {
	if j.own || u.user == "" {
		return "", ""
	}
	a, err := findAccount(u.user)
	if err != nil {
		return "", ""
	}
	for _, name := range strings.Fields(u.group + " " + u.groups) {
		if g, ok := otherEntry("group", name); ok {
			a.Groups = append(a.Groups, g.uid)
		}
	}
	for _, dir := range c.configs {
		files, _ := filepath.Glob(filepath.Join(dir, j.pool+".conf.d", "*.conf"))
		for _, path := range append([]string{filepath.Join(dir, j.pool+".conf")}, files...) {
			what, st := a.unreadable(path)
			if what == "" {
				continue
			}
			return u.user + " may not read " + what + " (" + describe(st) + "), and the unit runs as that user", makeReadable(a, what, st)
		}
	}
	return "", ""
}

// makeReadable is a command after which a may read a file or pass a directory.
func makeReadable(a *account, path string, st *unix.Stat_t) string {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return "chmod o+x " + path
	}
	return "chgrp " + groupName(a.GID) + " " + path + " && chmod g+r " + path
}

// wordsMost is how many of the last lines are shown.
const wordsMost = 3

// lastWords are the last lines that the master, or systemd in its place, wrote
// about a failure; those of systemd that only say that it failed are left out.
func (c *ctl) lastWords(ctx context.Context, j journal) []string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if j.uid == "" {
		j.uid = c.uidOf(ctx, j, nil)
	}
	var last []string
	_ = entries(ctx, append([]string{"-n", "40"}, matches(j.all(nil))...), func(e entry) error {
		text, _, _ := strings.Cut(e.text, "\n")
		if e.who == "systemd" || text == "" {
			return nil
		}
		text = bounded(text, 300)
		last = slices.DeleteFunc(last, func(s string) bool { return s == text }) // it fails again and again
		last = append(last, text)
		last = last[max(0, len(last)-wordsMost):]
		return nil
	})
	return last
}

// whyNotRunning makes a better error of one that says that a pool does not run,
// where systemd knows why.
func (c *ctl) whyNotRunning(ctx context.Context, name string, err error) error {
	if !isNotRunning(err) || errors.As(err, new(unreachable)) || !isName(name) || !c.underSystemd() || c.socket != "" {
		return err
	}
	_, own, confErr := c.load(name)
	if errors.Is(confErr, fs.ErrNotExist) {
		return err
	}
	units := c.unitsOf(ctx, name, own)
	service, socket := findUnit(units, unitOf(name)), findUnit(units, socketUnit(name))
	switch {
	case service != nil && service.failing():
		f := c.faultOf(ctx, journal{pool: name, own: own}, *service)
		text := name + " is not running: " + service.describe() + f.text
		for _, line := range f.lines {
			text += "\n" + line
		}
		return control.Errorf(control.CodeNotRunning, "%s", text).WithHint("%s", f.hint)
	case socket != nil && socket.active == "active" && socket.sub == "listening" && service != nil && service.active == "inactive":
		return control.Errorf(control.CodeNotRunning, "%s is not started yet: the first request starts it", name).
			WithHint("scgictl request %s /", name)
	}
	return err
}
