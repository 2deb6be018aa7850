package main

import "fmt"

// files lists what is to be written: the configuration's text, and what comes
// with it. The configuration is the last, so that a pool is there when all is.
func (p *plan) files(conf string) {
	if p.own {
		p.add(write{path: p.sysusers(), mode: 0o644, what: "its user, " + p.user,
			text: p.sign("# The user of the application "+p.name+"; see sysusers.d(5).\n",
				fmt.Sprintf("u %s - \"SCGI application %s\" /var/lib/scgid/%s\n", p.user, p.name, p.name))})
		// Other users may not see what the application keeps; the runtime
		// directory has the control socket, which is for all.
		p.dropIn("service", p.userDropIn(), "it runs as "+p.user, "Service",
			"User="+p.user, "Group="+p.user, "StateDirectoryMode=0750", "CacheDirectoryMode=0750")
	}
	if p.user != "" && p.user != sharedUser && !p.own {
		p.dropIn("service", p.userDropIn(), "it runs as "+p.user, "Service",
			"User="+p.user, "Group="+p.group, "StateDirectoryMode=0750", "CacheDirectoryMode=0750")
	}
	if label := busLabel(p.name); label != p.name {
		p.dropIn("service", p.busDropIn(), "its name on the bus", "Service", "BusName=org.scgid1.app."+label)
	}
	if len(p.listen) > 0 {
		lines := []string{"ListenStream="}
		for _, addr := range p.listen {
			lines = append(lines, "ListenStream="+addr)
		}
		p.dropIn("socket", p.listenDropIn(), "where it listens", "Socket", lines...)
	}
	if p.web != "" {
		p.dropIn("socket", p.webDropIn(), "group "+p.web+" may send requests", "Socket", "SocketGroup="+p.web)
	}
	w := write{path: p.conf(), mode: 0o644, what: "the configuration", text: p.sign(p.comment(), conf)}
	switch secret := len(p.loaded.Worker.Environment) > 0; {
	case secret && p.ofUser():
		w.mode = 0o600
	case secret: // the master reads it as the pool's user
		w.mode, w.group = 0o640, p.group
	}
	p.add(w)
}

func (p *plan) add(w write) { p.writes = append(p.writes, w) }

func (p *plan) sign(comment, rest string) string { return signed(p.name, comment, rest) }

// dropIn adds a drop-in of a unit.
func (p *plan) dropIn(kind, path, what, section string, lines ...string) {
	text := "[" + section + "]\n"
	for _, l := range lines {
		text += l + "\n"
	}
	edit := "systemctl edit "
	if p.ofUser() {
		edit = "systemctl --user edit "
	}
	p.add(write{path: path, mode: 0o644, what: what,
		text: p.sign("# From scgictl create. Changes belong in a file beside this one:\n#\t"+edit+p.unit(kind)+"\n", text)})
}

// comment begins the configuration. It is read where the pool runs, whatever
// --root is here.
func (p *plan) comment() string {
	there := setup{name: p.name, home: p.home}
	ctl, check := "systemctl", p.name
	if p.ofUser() {
		ctl, check = "systemctl --user", there.conf()
	}
	text := fmt.Sprintf("# The application %s; the keys are in scgid.conf(5). After a change:\n", p.name)
	text += fmt.Sprintf("#\tscgid check %s && %s reload-or-restart %s\n", check, ctl, p.unit("service"))
	if !p.ofUser() { // whose unit reads this file only
		text += fmt.Sprintf("# Drop-ins, %s.d/*.conf, keep changes apart.\n", there.conf())
	}
	return text + fmt.Sprintf("# \"scgictl remove %s%s\" wants --force once this file was changed.\n", p.name, there.flags())
}
