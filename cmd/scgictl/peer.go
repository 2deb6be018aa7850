package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// underSystemd follows sd_booted(3).
func (c *ctl) underSystemd() bool {
	_, err := os.Stat(c.systemd)
	return err == nil
}

// verify makes sure that root believes only the master that systemd started.
// The directory of the socket belongs to the pool's user, so that an exploited
// application could put a socket of its own there, and have root believe that
// a stop was done. What reads is warned only.
func (c *ctl) verify(ctx context.Context, t *target, changes bool) {
	if c.uid != 0 || t.user || !c.underSystemd() {
		return
	}
	warned := false
	t.Verify(func(p api.Peer) error {
		doubt, hint := c.doubt(ctx, t, p)
		switch {
		case doubt == "":
			return nil
		case changes:
			return control.Errorf(control.CodeFailed, "%s; nothing was asked of it", doubt).WithHint("%s", hint)
		}
		if !warned {
			warned = true
			c.err.line(span{yellow, "scgictl: warning: "}, doubt)
			c.err.Flush()
		}
		return nil
	})
}

// doubt says why root does not believe that a peer is the pool's master, with a
// hint, or returns an empty text. The peer has to be the main process of the
// pool's unit. One that systemd does not run is believed if it is root's, or of
// the user to whom the directory of the socket belongs.
func (c *ctl) doubt(ctx context.Context, t *target, p api.Peer) (text, hint string) {
	who := fmt.Sprintf("process %d of uid %d", p.PID, p.UID)
	unit, err := c.unitOf(t, p)
	if err != nil {
		return fmt.Sprintf("cannot make sure that %s is the master of a pool: %v", who, err), "ls -l " + c.root
	}
	if unit == "" {
		if p.UID == 0 || p.UID == p.Dir.Owner {
			return "", ""
		}
		return fmt.Sprintf("%s answers for %s, but the directory of the socket belongs to uid %d", who, t, p.Dir.Owner),
			"ls -ld " + filepath.Dir(t.Socket())
	}
	main, err := mainPID(ctx, unit)
	hint = "systemctl status " + unit
	switch {
	case err != nil:
		return fmt.Sprintf("cannot make sure that %s is %s: %v", who, unit, err), hint
	case main == p.PID && main != 0, main == 0 && p.UID == 0: // root itself may run a pool by hand
		return "", ""
	case main == 0:
		return fmt.Sprintf("%s answers for %s, but %s does not run", who, t, unit), hint
	}
	return fmt.Sprintf("%s answers for %s, but %s is process %d", who, t, unit, main), hint
}

// unitOf returns the unit of a pool: the one of the pool that was named; else
// the one whose socket it is, whatever path leads there; else the one that the
// peer is a process of.
func (c *ctl) unitOf(t *target, p api.Peer) (string, error) {
	if t.unit != "" && c.socket == "" {
		return t.unit, nil
	}
	name, err := p.Pool(c.root)
	if name == "" {
		name = p.UnitPool()
	}
	if name == "" || err != nil {
		return t.unit, err
	}
	return unitOf(name), nil
}

// mainPID asks systemd for the process of a unit; 0 is none.
func mainPID(ctx context.Context, unit string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "-p", "MainPID", "--value", unit).Output()
	if err != nil {
		return 0, fmt.Errorf("systemctl show: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return 0, fmt.Errorf("systemctl show says %.40q", out)
	}
	return pid, nil
}
