package main

import (
	"context"
	"os/exec"
	"strings"

	"github.com/scgid/scgid/control"
)

// States of a pool whose master does not run.
const (
	stateListening = "listening" // systemd listens, and the first request starts the master
	stateFailed    = "failed"    // systemd could not start it
)

// An idle pool has no master now, but systemd has units of it.
type idlePool struct {
	Name      string             `json:"name"`
	State     string             `json:"state"`
	Result    string             `json:"result,omitempty"`   // of the unit that failed, as systemd calls it
	Restarts  string             `json:"restarts,omitempty"` // how often systemd has tried
	Listeners []control.Listener `json:"listeners"`

	user bool // of systemctl --user
}

// idlePools are those of which systemd has a socket, and those of which it has a
// service that failed; of the system first, then the user's own.
func (c *ctl) idlePools(ctx context.Context) []idlePool {
	if !c.underSystemd() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	all := idleOf(c.unitsNamed(ctx, "*"), false)
	if c.uid != 0 {
		all = append(all, idleOf(c.unitsNamed(ctx, "*", "--user"), true)...)
	}
	return all
}

// idlePool is the one with this name, or the only one where that is empty; nil
// without it.
func (c *ctl) idlePool(ctx context.Context, name string) *idlePool {
	all := c.idlePools(ctx)
	if name == "" && len(all) == 1 {
		return &all[0]
	}
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// unitsNamed asks systemd for socket and service of pools with this name, which
// may be a pattern. Without an answer there are none.
func (c *ctl) unitsNamed(ctx context.Context, name string, flags ...string) []unitState {
	args := append(flags, "show", "-p", "Id,LoadState,ActiveState,SubState,Result,NRestarts,Listen",
		"scgid@"+name+".socket", "scgid@"+name+".service")
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	if err != nil {
		return nil
	}
	return parseUnits(string(out))
}

// idleOf makes pools of units: the socket says where a pool listens, the service
// whether it could be started.
func idleOf(units []unitState, user bool) (all []idlePool) {
	at := map[string]int{}
	for _, u := range units {
		name, kind, ok := poolOfUnit(u.name)
		broken := u.active == "failed" || u.sub == "auto-restart"
		if !ok || !broken && (kind != "socket" || u.active != "active") {
			continue
		}
		i, known := at[name]
		if !known {
			i = len(all)
			at[name], all = i, append(all, idlePool{Name: name, State: stateListening, Listeners: []control.Listener{}, user: user})
		}
		p := &all[i]
		if broken {
			p.State, p.Result, p.Restarts = stateFailed, u.result, u.restarts
		}
		for _, addr := range u.listens {
			p.Listeners = append(p.Listeners, control.Listener{Name: "scgi", Address: addr, Backlog: -1, BacklogLimit: -1})
		}
	}
	return all
}

// poolOfUnit takes scgid@NAME.socket and .service apart.
func poolOfUnit(unit string) (name, kind string, ok bool) {
	name, ok = strings.CutPrefix(unit, "scgid@")
	i := strings.LastIndexByte(name, '.')
	if !ok || i < 0 || !isName(name[:i]) {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// why says in words what the state means.
func (p *idlePool) why() string {
	if p.State == stateListening {
		return "not started yet: the first request starts it"
	}
	text := "systemd cannot start scgid@" + p.Name + ": " + bounded(orElse(p.Result, "no result"), 40)
	if p.Restarts != "" && p.Restarts != "0" {
		text += ", tried again " + bounded(p.Restarts, 20) + " times"
	}
	return text
}

// showIdle is status for a pool that has no master. One that systemd cannot start
// is an error, told with what systemd says.
func (c *ctl) showIdle(ctx context.Context, name string) (bool, error) {
	p := c.idlePool(ctx, name)
	if p == nil {
		return false, nil
	}
	if p.State == stateFailed {
		return true, control.Errorf(control.CodeNotRunning, "%s is not running: %s", p.Name, p.why()).
			WithHint("%s", c.logHint(&target{user: p.user}, p.Name))
	}
	return true, c.show(p, func(s *screen) {
		s.line(span{bold, p.Name}, ": ", stateSpan(p.State), ", ", p.why())
		s.line()
		s.listeners(p.Listeners)
	})
}

// explainIdle is explain for such a pool: nothing waits for it.
func (c *ctl) explainIdle(ctx context.Context, name string) (bool, error) {
	p := c.idlePool(ctx, name)
	if p == nil || p.State == stateFailed {
		return c.showIdle(ctx, name)
	}
	r := reason{good, "not-started", p.why(), "scgictl request " + p.Name + " sends one"}
	x := explanation{p.Name, p.State, 0, []reason{r}}
	return true, c.show(x, func(s *screen) { s.reasons(x.Reasons) })
}
