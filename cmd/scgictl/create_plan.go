package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/config"
)

// A plan is what create is going to write.
type plan struct {
	*setup
	user   string // that the pool runs as; empty for --user
	group  string // of that user
	own    bool   // the user is the pool's own
	web    string // group that may send requests; empty: none
	listen []string
	loaded *config.Config // what the configuration gives
	writes []write
	notes  []string
}

// A write is one file.
type write struct {
	path, text string
	mode       os.FileMode
	group      string // whose it is, for those who may not read it; else empty
	what       string // it is for
}

// sharedUser is the user of pools without one of their own, and the group of
// all pools.
const sharedUser = "scgid"

// newPlan checks what the command line asks for. It reads the system and writes
// nothing.
func newPlan(s *setup, command []string, f createFlags) (*plan, error) {
	p := &plan{setup: s}
	text, err := p.compose(command, f.set)
	if err != nil {
		return nil, err
	}
	for _, l := range f.listen {
		addr, err := unitAddress(l)
		if err != nil {
			return nil, err
		}
		if slices.Contains(p.listen, addr) {
			return nil, usage("--listen "+l+" is there twice", "")
		}
		p.listen = append(p.listen, addr)
	}
	if !s.ofUser() {
		if err := p.findUser(f); err != nil {
			return nil, err
		}
		if err := p.findWebGroup(f.webGroup); err != nil {
			return nil, err
		}
	}
	p.files(text)
	return p, nil
}

// compose checks the configuration with its own loader.
func (p *plan) compose(command, set []string) (string, error) {
	for _, s := range set {
		key, _, _ := strings.Cut(s, "=")
		// The socket unit opens the sockets, so the master would ignore these.
		switch key {
		case "Pool.Listen", "Pool.ListenMode":
			return "", usage("--set "+key+" has no effect where systemd listens", "use --listen")
		case "Worker.ExecStart":
			return "", usage("--set "+key+" and the command behind -- exclude each other", "give the command only")
		}
	}
	if strings.Contains(command[0], "/") && !filepath.IsAbs(command[0]) {
		hint := "give its absolute path"
		if abs, err := filepath.Abs(command[0]); err == nil {
			hint = "-- " + abs
		}
		return "", usage(fmt.Sprintf("the command %q is a relative path, which systemd cannot know", command[0]), hint)
	}
	text, conf, err := config.Compose(p.name, set, command)
	if err != nil {
		return "", invalid(err)
	}
	p.loaded = conf
	return text, nil
}

// plainAddress is what means the same in a unit as here.
var plainAddress = regexp.MustCompile(`^[A-Za-z0-9_./@:+,=~\[\]-]+$`)

// unixMax is the longest path of a Unix socket; see unix(7).
const unixMax = 107

// unitAddress writes an address as ListenStream= of systemd.socket(5) wants it.
func unitAddress(text string) (string, error) {
	addr := strings.TrimPrefix(text, "unix:")
	bad := func(format string, args ...any) (string, error) {
		return "", usage(fmt.Sprintf("--listen %s: ", text)+fmt.Sprintf(format, args...), "it is /path, @name or IP:PORT")
	}
	switch {
	case !plainAddress.MatchString(addr):
		return bad("is not an address that a unit can have")
	case addr[0] == '/' || addr[0] == '@' && len(addr) > 1:
		if len(addr) > unixMax {
			return bad("is longer than %d bytes", unixMax)
		}
		if addr[0] == '/' && filepath.Clean(addr) != addr {
			return bad("is not the shortest way to write that path")
		}
		return addr, nil
	}
	to, err := netip.ParseAddrPort(addr)
	if err != nil || to.Port() == 0 {
		return bad("is not an IP address with a port; systemd does not look names up")
	}
	return to.String(), nil
}

// addresses are where the pool listens.
func (p *plan) addresses() []string {
	switch {
	case len(p.listen) > 0:
		return p.listen
	case p.ofUser():
		return []string{fmt.Sprintf("/run/user/%d/scgid/%s.sock", os.Getuid(), p.name)}
	}
	return []string{"/run/scgid/" + p.name + ".sock"}
}

// findUser chooses the user that the pool runs as.
func (p *plan) findUser(f createFlags) error {
	switch {
	case f.as != "":
		return p.findExisting(f.as)
	case f.shared:
		p.user, p.group = sharedUser, sharedUser
		return nil
	}
	p.own = true
	var another bool
	p.user, another = poolUser(p.name)
	p.group = p.user
	if another {
		p.notes = append(p.notes, fmt.Sprintf("its user is called %s, because users' names have at most %d characters and no dot", p.user, userMax))
	}
	uid, ok, err := p.id("passwd", p.user)
	if err != nil {
		return err
	}
	if ok && (uid == 0 || uid >= personsFrom) {
		return control.Errorf(control.CodeFailed, "user %s exists already and is not a system user (uid %d)", p.user, uid).
			WithHint("take another name, or --shared-user")
	}
	if other := p.userOf(); other != "" {
		return control.Errorf(control.CodeFailed, "user %s is that of another pool: %s", p.user, other).
			WithHint("take another name, or --shared-user")
	}
	return nil
}

// personsFrom is the first number of a person, who has files to lose; see
// login.defs(5).
const personsFrom = 1000

// findExisting takes a user that somebody else has made.
func (p *plan) findExisting(name string) error {
	const how = "scgictl create NAME --as USER, of a package say; without --as the pool has a user of its own"
	e, ok, err := p.entry("passwd", name)
	switch {
	case err != nil:
		return err
	case !ok:
		return usage(fmt.Sprintf("there is no user %q", name), how)
	case e.uid == 0:
		return usage("--as "+name+": applications do not run as root", how)
	}
	group, ok, err := p.nameOf("group", e.gid)
	if err == nil && !ok {
		err = control.Errorf(control.CodeFailed, "the group of user %s, %d, does not exist", name, e.gid)
	}
	if err != nil {
		return err
	}
	p.user, p.group = name, group
	if e.uid >= personsFrom && e.uid < nobodyFrom {
		p.notes = append(p.notes, fmt.Sprintf("%s is a person's user (uid %d): the application can read and write what that person can, as far as its sandbox allows", name, e.uid))
	}
	if other := p.userOf(); other != "" {
		p.notes = append(p.notes, "user "+name+" is that of another pool, too: "+other+"; the two can read what the other keeps")
	}
	more := "its data"
	if isPath(e.home) && e.home != "/" && !strings.HasPrefix(e.home, "/nonexistent") {
		more = "its data, in " + e.home + " say"
	}
	p.notes = append(p.notes, "it may write to /var/lib/scgid/"+p.name+", /var/cache/scgid/"+p.name+" and temporary files only: if it has to write to "+more+
		", add ReadWritePaths= below [Service] in systemctl edit "+p.unit("service"))
	return nil
}

// nobodyFrom is the first number that is not a person's again: nobody's.
const nobodyFrom = 65534

// userOf returns a drop-in that gives our user to another pool.
func (p *plan) userOf() string {
	const units = "/etc/systemd/system"
	names, _ := p.ReadDir(units)
	for _, name := range names {
		dir := filepath.Join(units, name)
		if !strings.HasPrefix(name, "scgid@") || !strings.HasSuffix(name, ".service.d") || dir == p.dropIns("service") {
			continue
		}
		files, _ := p.ReadDir(dir)
		for _, file := range files {
			path := filepath.Join(dir, file)
			text, err := p.ReadFile(path, fileMax)
			if err == nil && strings.HasSuffix(file, ".conf") && slices.Contains(strings.Split(string(text), "\n"), "User="+p.user) {
				return p.Name(path)
			}
		}
	}
	return ""
}

// webGroups are the groups that web servers run as.
var webGroups = append(slices.Clip(webUsers), "lighttpd")

// findWebGroup chooses the group that may write to the sockets.
func (p *plan) findWebGroup(group string) error {
	if !slices.ContainsFunc(p.addresses(), isPath) {
		if group != "" {
			return usage("--web-group is for a socket with a path", "leave it out: anybody can connect to "+p.addresses()[0])
		}
		return nil
	}
	if group != "" {
		_, ok, err := p.id("group", group)
		if err != nil {
			return err
		}
		if !ok {
			return usage(fmt.Sprintf("there is no group %q", group), "install the web server first, or name another group")
		}
		p.web = group
		return nil
	}
	for _, g := range webGroups {
		_, ok, err := p.id("group", g)
		if err != nil {
			return err
		}
		if ok {
			p.web = g
			p.notes = append(p.notes, "group "+g+" was found here; another one is set with --web-group")
			return nil
		}
	}
	p.notes = append(p.notes, "no group of a web server was found, so only root may send requests until systemctl edit "+
		p.unit("socket")+" gives it SocketGroup= below [Socket]")
	return nil
}

func isPath(address string) bool { return strings.HasPrefix(address, "/") }
