package main

import (
	"context"
	"slices"
	"strings"
)

// A unitState is what systemd says of a unit; see org.freedesktop.systemd1(5).
type unitState struct {
	name, load, active, sub, result string
	restarts                        string
	code, status                    string   // how the main process ended: 1 is exited, 2 killed, 3 dumped; and with what
	listens                         []string // addresses, of a socket unit
	user, group, groups             string   // as the unit names them
	paths                           []sandboxPath
}

// A sandboxPath is one that a unit's sandbox wants to be there.
type sandboxPath struct{ setting, path string }

// Properties of systemd's that are read.
const (
	unitProperties = "Id,LoadState,ActiveState,SubState,Result,NRestarts,Listen,ExecMainCode,ExecMainStatus,User,Group,SupplementaryGroups"
	pathProperties = "ReadWritePaths,ReadOnlyPaths,InaccessiblePaths,ExecPaths,NoExecPaths,BindPaths,BindReadOnlyPaths"
)

// readUnits asks systemd, if it runs this machine.
func (d *doctor) readUnits(ctx context.Context) []unitState {
	if !isName(d.name) {
		return nil
	}
	return d.unitsOf(ctx, d.name, d.own || d.target != nil && d.target.unit == "" && d.uid != 0)
}

// unitsOf are the units of a pool that systemd knows; own are those of systemctl
// --user.
func (c *ctl) unitsOf(ctx context.Context, pool string, own bool) []unitState {
	text, err := c.askSystemd(ctx, own, unitProperties+","+pathProperties, socketUnit(pool), unitOf(pool))
	if err != nil {
		return nil
	}
	return parseUnits(text)
}

// socketUnit is the unit that listens for a pool.
func socketUnit(pool string) string { return "scgid@" + pool + ".socket" }

// parseUnits reads what systemctl show prints: KEY=VALUE lines, a blank line
// between units.
func parseUnits(text string) []unitState {
	var all []unitState
	for _, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		var u unitState
		fields := map[string]*string{"Id": &u.name, "LoadState": &u.load, "ActiveState": &u.active,
			"SubState": &u.sub, "Result": &u.result, "NRestarts": &u.restarts,
			"ExecMainCode": &u.code, "ExecMainStatus": &u.status,
			"User": &u.user, "Group": &u.group, "SupplementaryGroups": &u.groups}
		for _, line := range strings.Split(part, "\n") {
			key, value, _ := strings.Cut(line, "=")
			if to := fields[key]; to != nil {
				*to = value
			}
			// Listen=/run/scgid/wiki.sock (Stream)
			if addr, ok := strings.CutSuffix(value, " (Stream)"); ok && key == "Listen" {
				u.listens = append(u.listens, addr)
			}
			if slices.Contains(strings.Split(pathProperties, ","), key) {
				u.addPaths(key, value)
			}
		}
		if u.load == "loaded" {
			all = append(all, u)
		}
	}
	return all
}

// addPaths takes those without which the sandbox cannot be made: "-" in front
// allows a path to be missing, and a bind mount is SOURCE:DESTINATION:OPTIONS.
func (u *unitState) addPaths(setting, value string) {
	for _, path := range strings.Fields(value) {
		path = strings.TrimPrefix(path, "+")
		if strings.HasPrefix(setting, "Bind") {
			path, _, _ = strings.Cut(path, ":")
		}
		if isPath(path) {
			u.paths = append(u.paths, sandboxPath{setting, path})
		}
	}
}

// failing says that the unit does not run because it failed: for good, or until
// the next try. While that begins, systemd has forgotten the last result.
func (u *unitState) failing() bool {
	switch u.active {
	case "failed":
		return true
	case "active", "reloading", "deactivating":
		return false
	}
	again := u.active == "activating" && u.restarts != "" && u.restarts != "0"
	return again || u.result != "" && u.result != "success"
}

// service is the unit of the master; nil where systemd has none.
func (d *doctor) service() *unitState { return findUnit(d.units, unitOf(d.name)) }

func findUnit(units []unitState, name string) *unitState {
	if i := slices.IndexFunc(units, func(u unitState) bool { return u.name == name }); i >= 0 {
		return &units[i]
	}
	return nil
}

// waits says that systemd listens for a pool that does not run.
func (d *doctor) waits() bool {
	s, u := findUnit(d.units, socketUnit(d.name)), d.service()
	return s != nil && s.active == "active" && s.sub == "listening" && (u == nil || u.active == "inactive")
}

// checkUnits comes last, where the eye is: why a service does not start is the
// cause of what could not be looked at before.
func (d *doctor) checkUnits(context.Context) {
	const what = "unit"
	for _, u := range d.units {
		text := u.describe()
		switch {
		case u.name == unitOf(d.name) && d.broken != nil:
			d.checks = append(d.checks, check{what, bad, text + d.broken.text, d.broken.hint, d.broken.lines})
		case u.active == "failed":
			d.add(bad, what, text+": "+u.result, d.systemctl()+"status "+u.name)
		case u.active == "inactive" && strings.HasSuffix(u.name, ".socket") && d.byHand():
			d.add(skipped, what, text+"; the pool was started without it", "")
		case u.active == "inactive" && strings.HasSuffix(u.name, ".socket"):
			d.add(notable, what, text, d.toStart(d.systemctl()+"enable --now "+u.name+", unless scgid opens its sockets itself"))
		default:
			d.add(good, what, text, "")
		}
	}
}

// byHand says that the pool runs, but not as its unit.
func (d *doctor) byHand() bool {
	u := d.service()
	return d.status != nil && (u == nil || u.active == "inactive")
}

// describe is the state in words.
func (u *unitState) describe() string {
	text := u.name + " is " + u.active + " (" + u.sub + ")"
	if u.restarts != "" && u.restarts != "0" {
		text += ", restarted " + u.restarts + " times"
	}
	return text
}
