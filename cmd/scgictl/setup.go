package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/scgid/scgid/cmd/scgictl/tree"
)

// A setup is where everything of one pool is that create writes and remove
// takes away. Paths are those of the system that the pool is for: shown gives
// the names that they have here.
type setup struct {
	name string
	root string // the system's files are below it; empty: this system's
	home string // of a pool of systemctl --user: the user's configuration; else empty

	*tree.Tree // the files of that system
}

// newSetup opens the system's files. The caller closes the setup.
func newSetup(name, root, home string) (*setup, error) {
	files, err := tree.Open(orElse(root, "/"))
	return &setup{name: name, root: root, home: home, Tree: files}, err
}

// ofUser says that the pool is of systemctl --user.
func (s *setup) ofUser() bool { return s.home != "" }

// shown are the names of paths on this system.
func (s *setup) shown(paths []string) []string {
	all := make([]string, len(paths))
	for i, path := range paths {
		all[i] = s.Name(path)
	}
	return all
}

func (s *setup) conf() string {
	if s.ofUser() {
		return filepath.Join(s.home, "scgid", s.name+".conf")
	}
	return "/etc/scgid/" + s.name + ".conf"
}

func (s *setup) sysusers() string { return "/etc/sysusers.d/" + s.sysusersName() }

func (s *setup) sysusersName() string { return "scgid-" + s.name + ".conf" }

// unit is a unit of the pool; kind is socket or service.
func (s *setup) unit(kind string) string { return "scgid@" + s.name + "." + kind }

// dropIns is the directory of a unit's drop-ins.
func (s *setup) dropIns(kind string) string {
	if s.ofUser() {
		return filepath.Join(s.home, "systemd/user", s.unit(kind)+".d")
	}
	return "/etc/systemd/system/" + s.unit(kind) + ".d"
}

// The drop-ins that create may write.
func (s *setup) userDropIn() string { return filepath.Join(s.dropIns("service"), "10-scgid-user.conf") }
func (s *setup) busDropIn() string  { return filepath.Join(s.dropIns("service"), "10-scgid-bus.conf") }
func (s *setup) listenDropIn() string {
	return filepath.Join(s.dropIns("socket"), "10-scgid-listen.conf")
}
func (s *setup) webDropIn() string { return filepath.Join(s.dropIns("socket"), "10-scgid-web.conf") }

// files are all that create may write. The last is the one without which there
// is no pool.
func (s *setup) files() []string {
	if s.ofUser() {
		return []string{s.busDropIn(), s.listenDropIn(), s.conf()}
	}
	return []string{s.userDropIn(), s.busDropIn(), s.listenDropIn(), s.webDropIn(), s.sysusers(), s.conf()}
}

// stateDirs are the directories in which the application keeps what it has; see
// StateDirectory= in systemd.exec(5).
func (s *setup) stateDirs() []string {
	return []string{"/var/lib/scgid/" + s.name, "/var/cache/scgid/" + s.name}
}

// systemctl is how to call it for the pool.
func (s *setup) systemctl(args ...string) []string {
	switch {
	case s.ofUser():
		return append([]string{"systemctl", "--user"}, args...)
	case s.root != "":
		return append([]string{"systemctl", "--root=" + s.root}, args...)
	}
	return append([]string{"systemctl"}, args...)
}

// unitDirs are where packages put units; see systemd.unit(5).
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
	"/usr/lib/systemd/system", "/lib/systemd/system"}

// hasUnits says whether scgid's units are installed.
func (s *setup) hasUnits() bool {
	dirs := unitDirs
	if s.ofUser() {
		dirs = []string{filepath.Join(s.home, "systemd/user"), "/etc/systemd/user", "/run/systemd/user",
			"/usr/local/lib/systemd/user", "/usr/lib/systemd/user"}
	}
	for _, dir := range dirs {
		if s.Exists(filepath.Join(dir, "scgid@.socket")) {
			return true
		}
	}
	return false
}

// usersMax bounds passwd and group, in bytes: a large site has some MiB.
const usersMax = 64 << 20

// id looks a user up in passwd or a group in group, as the system has them.
func (s *setup) id(file, name string) (id uint32, ok bool, err error) {
	e, ok, err := s.entry(file, name)
	return e.uid, ok, err
}

// An idEntry is a line of passwd or group; a group has its number in uid.
type idEntry struct {
	name     string
	uid, gid uint32
	home     string
}

// entry looks a name up, with all that the line has.
func (s *setup) entry(file, name string) (e idEntry, ok bool, err error) {
	e, ok, err = s.find(file, func(e idEntry) bool { return e.name == name })
	if !ok && err == nil && s.root == "" {
		e, ok = otherEntry(file, name)
	}
	if err != nil {
		err = fmt.Errorf("cannot look %s up: %w", name, err)
	}
	return e, ok, err
}

// nameOf looks a number up.
func (s *setup) nameOf(file string, id uint32) (name string, ok bool, err error) {
	e, ok, err := s.find(file, func(e idEntry) bool { return e.uid == id })
	if !ok && err == nil && s.root == "" {
		if g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10)); err == nil && file == "group" {
			return g.Name, true, nil
		}
	}
	return e.name, ok, err
}

// find returns the first line that is meant.
func (s *setup) find(file string, meant func(idEntry) bool) (e idEntry, ok bool, err error) {
	text, err := s.ReadFile("/etc/"+file, usersMax)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return e, false, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if e, ok := parseID(line); ok && meant(e) {
			return e, true, nil
		}
	}
	return idEntry{}, false, nil
}

// parseID reads a line of passwd(5) or group(5).
func parseID(line string) (e idEntry, ok bool) {
	f := strings.Split(line, ":")
	if len(f) < 4 {
		return e, false
	}
	n, err := strconv.ParseUint(f[2], 10, 32)
	e.name, e.uid = f[0], uint32(n)
	if gid, err := strconv.ParseUint(f[3], 10, 32); err == nil && len(f) > 5 {
		e.gid, e.home = uint32(gid), f[5]
	}
	return e, err == nil
}

// otherEntry asks what else knows users and groups of this system.
func otherEntry(file, name string) (idEntry, bool) {
	if file == "group" {
		g, err := user.LookupGroup(name)
		if err != nil {
			return idEntry{}, false
		}
		return parseID(g.Name + "::" + g.Gid + ":")
	}
	u, err := user.Lookup(name)
	if err != nil {
		return idEntry{}, false
	}
	return parseID(strings.Join([]string{u.Username, "", u.Uid, u.Gid, "", u.HomeDir, ""}, ":"))
}

// userMax is the longest name of a user that systemd takes; see sysusers.d(5).
const userMax = 31

// poolUser is the name of the application's own user. One that would be too
// long, or have a dot in it, is made of another name and says so.
func poolUser(pool string) (name string, another bool) {
	name = "scgid-" + pool
	if len(name) <= userMax && !strings.Contains(name, ".") {
		return name, false
	}
	sum := sha256.Sum256([]byte(pool))
	tail := fmt.Sprintf("-%x", sum[:4])
	name = strings.ReplaceAll(name, ".", "-")
	return name[:min(len(name), userMax-len(tail))] + tail, true
}

// busLabel is a pool's name as a part of a bus name; see sd_bus_path_encode(3).
func busLabel(pool string) string {
	var b strings.Builder
	for i := range len(pool) {
		c := pool[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}
