package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// socketCheck is the name of the checks of listening sockets.
const socketCheck = "socket"

// checkSockets looks at each listener as the web server will.
func (d *doctor) checkSockets(ctx context.Context) {
	if len(d.where) == 0 && d.status != nil {
		d.add(skipped, socketCheck, "the master does not tell you where the pool listens", "")
		return
	}
	if len(d.where) == 0 {
		d.add(bad, socketCheck, "nothing says where the pool listens",
			d.toStart(d.systemctl()+"enable --now scgid@"+d.name+".socket, or set [Pool] Listen= in its configuration"))
		return
	}
	if d.web == nil && !d.own {
		d.add(notable, socketCheck, "none of the users "+strings.Join(webUsers, ", ")+" exists, so permissions are not checked",
			"name the web server's user: --web-user USER")
	}
	for _, text := range d.where {
		to, err := parseEndpoint(text)
		if err != nil {
			d.add(bad, socketCheck, err.Error(), "")
			continue
		}
		d.checkSocket(ctx, to)
	}
}

// checkSocket connects, and finds out the cause where that does not work.
func (d *doctor) checkSocket(ctx context.Context, to endpoint) {
	looks := to.address
	if to.network == "unix" && strings.HasPrefix(to.address, "/") {
		var st unix.Stat_t
		if err := unix.Stat(to.address, &st); err != nil {
			d.missing(to.address, err)
			return
		}
		looks += " (" + describe(&st) + ")"
		if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
			d.add(bad, socketCheck, looks+" is not a socket", "remove it, and start the pool again")
			return
		}
	}
	who, err := d.tryConnect(ctx, to)
	switch {
	case err == nil:
		d.add(good, socketCheck, looks+": "+who+" can connect", "")
		if d.userOnly(to) {
			d.add(notable, socketCheck, to.address+" is in a directory of its user alone: a web server that runs as another user cannot connect",
				"for a web server: scgictl create --user with --listen 127.0.0.1:PORT, or without --user")
			return
		}
		d.checkPrivate(to)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		d.refused(to.address, looks)
	default:
		text, hint := d.connectFault(err)
		d.add(bad, socketCheck, looks+": "+who+" cannot connect: "+text, hint)
	}
}

// tryConnect connects as the web server's user; where that is not possible, as
// ourselves, and then judges by the modes.
func (d *doctor) tryConnect(ctx context.Context, to endpoint) (who string, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout.d)
	defer cancel()
	if d.web == nil || d.userOnly(to) {
		return "this user", connect(ctx, to)
	}
	who = d.web.Name
	if err = d.web.connectAs(ctx, to); !errors.Is(err, errNoChild) {
		return who, err
	}
	if os.Geteuid() == 0 {
		d.add(notable, socketCheck, err.Error()+"; judging by the modes", "")
	}
	if !strings.HasPrefix(to.address, "/") {
		return "this user", connect(ctx, to) // there is no mode
	}
	if d.web.obstacle(to.address) != nil {
		return who, unix.EACCES
	}
	err = connect(ctx, to)
	if errors.Is(err, unix.EACCES) {
		return who + ", by the modes,", nil // ours is another matter
	}
	return who + ", by the modes,", err
}

// connectFault says what an errno of connect(2) means here, and what to do.
func (d *doctor) connectFault(err error) (text, hint string) {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "nobody listens there", d.toStartSocket()
	case errors.Is(err, unix.EAGAIN):
		return "the kernel's backlog of this socket is full", "scgictl explain " + d.name + " says what the pool is busy with"
	case errors.Is(err, unix.ETIMEDOUT):
		return "no connection within the time limit; the kernel's backlog may be full", "scgictl explain " + d.name
	}
	return err.Error(), ""
}

// missing says which part of a path is not there, or cannot be seen.
func (d *doctor) missing(path string, err error) {
	if d.userOnly(endpoint{"unix", path}) && errors.Is(err, unix.ENOENT) {
		d.add(bad, socketCheck, path+" does not exist", d.toStartSocket())
		return
	}
	for _, dir := range dirsTo(path) {
		if _, e := os.Stat(dir); errors.Is(e, fs.ErrNotExist) {
			d.add(bad, socketCheck, fmt.Sprintf("%s does not exist: there is no directory %s", path, dir),
				d.toStart("make the directory, or have the unit do so: RuntimeDirectory= in systemd.exec(5)"))
			return
		}
	}
	if errors.Is(err, unix.ENOENT) {
		d.add(bad, socketCheck, path+" does not exist", d.toStartSocket())
		return
	}
	hint := ""
	if errors.Is(err, unix.EACCES) {
		if d.web != nil && !d.userOnly(endpoint{"unix", path}) && d.web.obstacle(path) != nil {
			d.refused(path, path)
			return
		}
		hint = "run doctor as root"
	}
	d.add(bad, socketCheck, fmt.Sprintf("cannot look at %s: %v", path, err), hint)
}

// refused finds what keeps the web server from a socket.
func (d *doctor) refused(path, looks string) {
	who := "this user"
	if d.web != nil {
		who = d.web.Name
	}
	var o *obstacle
	if d.userOnly(endpoint{"unix", path}) {
		d.add(bad, socketCheck, looks+": this user cannot connect: permission denied", "run doctor as the pool's user")
		return
	}
	if d.web != nil && strings.HasPrefix(path, "/") {
		o = d.web.obstacle(path)
	}
	if o == nil {
		d.add(bad, socketCheck, looks+": "+who+" cannot connect: permission denied, though the modes allow it",
			"look for access control lists (getfacl "+path+") and for denials of AppArmor or SELinux in the journal")
		return
	}
	text, hint := o.explain(d.web, d.name, d.underSystemd())
	d.add(bad, socketCheck, looks+": "+who+" cannot connect: "+text, hint)
}

// An obstacle is the first thing on the way to a socket that keeps a user out.
type obstacle struct {
	path string
	dir  bool
	st   unix.Stat_t
}

// obstacle walks to path as a would; nil is a free way.
func (a *account) obstacle(path string) *obstacle {
	for _, dir := range dirsTo(path) {
		o := obstacle{path: dir, dir: true}
		if unix.Stat(dir, &o.st) == nil && !a.allowed(&o.st, maySearch) {
			return &o
		}
	}
	o := obstacle{path: path}
	// unix(7): connecting wants write permission on the socket.
	if unix.Stat(path, &o.st) == nil && !a.allowed(&o.st, mayWrite) {
		return &o
	}
	return nil
}

// explain says what is wrong and what to do about it.
func (o *obstacle) explain(a *account, pool string, systemd bool) (text, hint string) {
	bit, right := uint32(mayWrite), "may not write to the socket"
	if o.dir {
		bit, right = maySearch, "may not search the directory "+o.path+" ("+describe(&o.st)+")"
	}
	group := groupName(o.st.Gid)
	// The group of root, or of a private user, is not one to be joined.
	if o.st.Mode>>3&bit != 0 && o.st.Gid != 0 {
		return fmt.Sprintf("it %s: it is not a member of group %s", right, group),
			fmt.Sprintf("usermod -aG %s %s, then restart the web server", group, a.Name)
	}
	if !o.dir && o.st.Mode>>3&bit != 0 && !systemd {
		dir := filepath.Dir(o.path)
		return fmt.Sprintf("it %s: that is for group %s", right, group),
			fmt.Sprintf("give the socket's directory a group that %s is in, which the socket then has: chgrp %s %s && chmod g+s %s; then start the pool again", a.Name, groupName(a.GID), dir, dir)
	}
	if !o.dir && o.st.Mode>>3&bit != 0 {
		return fmt.Sprintf("it %s: that is for group %s", right, group),
			fmt.Sprintf("give it a group that %s is in: SocketGroup= in scgid@%s.socket, or run the pool as a user of such a group", a.Name, pool)
	}
	text = fmt.Sprintf("it %s: the mode is %04o", right, o.st.Mode&0o7777)
	if o.dir {
		return text, "chmod o+x " + o.path + ", or RuntimeDirectoryMode=0755 where systemd makes it"
	}
	return text, fmt.Sprintf("set SocketMode=0660 in scgid@%s.socket, or ListenMode=0660 in [Pool], with a group that %s is in", pool, a.Name)
}

// dirsTo lists the directories that are searched on the way to path, those
// behind symbolic links too.
func dirsTo(path string) []string {
	dir := filepath.Dir(filepath.Clean(path))
	all := chain(dir)
	if real, err := filepath.EvalSymlinks(dir); err == nil && real != dir {
		all = append(all, chain(real)...)
	}
	return all
}

// chain is / and everything below on the way to dir, dir included.
func chain(dir string) []string {
	all := []string{"/"}
	for i := 1; i < len(dir); i++ {
		if dir[i] == '/' {
			all = append(all, dir[:i])
		}
	}
	if dir != "/" {
		all = append(all, dir)
	}
	return all
}

// describe writes mode, owner and group as ls(1) does.
func describe(st *unix.Stat_t) string {
	kind := map[uint32]byte{unix.S_IFSOCK: 's', unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b'}[st.Mode&unix.S_IFMT]
	if kind == 0 {
		kind = '-'
	}
	bits := []byte("rwxrwxrwx")
	for i := range bits {
		if st.Mode>>(8-i)&1 == 0 {
			bits[i] = '-'
		}
	}
	return string(kind) + string(bits) + " " + userName(st.Uid) + " " + groupName(st.Gid)
}

// checkPrivate warns of what a connection from here does not show: that the
// running web server sees another /tmp, or has yet to learn of a group.
func (d *doctor) checkPrivate(to endpoint) {
	if to.network != "unix" || !strings.HasPrefix(to.address, "/") {
		return
	}
	if d.units != nil && (strings.HasPrefix(to.address, "/tmp/") || strings.HasPrefix(to.address, "/var/tmp/")) {
		d.add(notable, socketCheck, to.address+" is not seen by a web server whose unit says PrivateTmp=yes", "use a path under /run")
	}
	if d.web == nil || d.web.UID == 0 {
		return
	}
	if pid, comm := d.web.stale(to.address); pid != 0 {
		d.add(notable, socketCheck, fmt.Sprintf("process %d (%s) of %s was started before that user became a member of the group, and cannot connect", pid, comm, d.web.Name),
			"if this is the web server, restart it")
	}
}

// stale finds a process of a that was started before a had all its groups, and
// that cannot connect for that reason.
func (a *account) stale(path string) (pid int, comm string) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, ""
	}
	for _, dir := range dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil || st.Uid != a.UID {
			continue
		}
		then := *a
		var ok bool
		if then.GID, then.Groups, ok = processGroups(dir); !ok || then.obstacle(path) == nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		name, _ := os.ReadFile(dir + "/comm")
		return pid, strings.TrimSpace(bounded(string(name), 16))
	}
	return 0, ""
}

// processGroups reads a process's groups from proc(5).
func processGroups(dir string) (gid uint32, groups []uint32, ok bool) {
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return 0, nil, false
	}
	for _, line := range strings.Split(string(text), "\n") {
		name, value, _ := strings.Cut(line, ":")
		if name != "Gid" && name != "Groups" {
			continue
		}
		for i, field := range strings.Fields(value) {
			n, err := strconv.ParseUint(field, 10, 32)
			switch {
			case err != nil:
				return 0, nil, false
			case name == "Gid" && i == 1: // the effective one
				gid, ok = uint32(n), true
			case name == "Groups":
				groups = append(groups, uint32(n))
			}
		}
	}
	return gid, groups, ok
}
