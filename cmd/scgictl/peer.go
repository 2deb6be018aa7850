package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
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
	if c.uid != 0 || t.unit == "" || !c.underSystemd() {
		return
	}
	warned := false
	t.Verify(func(pid int, uid uint32) error {
		main, err := mainPID(ctx, t.unit)
		switch {
		case err == nil && main == pid:
			return nil
		case err == nil && main == 0 && uid == 0:
			return nil // root itself may run a pool by hand
		}
		text := fmt.Sprintf("process %d of uid %d answers for %s, but %s is process %d", pid, uid, t, t.unit, main)
		switch {
		case err != nil:
			text = fmt.Sprintf("cannot make sure that process %d of uid %d is %s: %v", pid, uid, t.unit, err)
		case main == 0:
			text = fmt.Sprintf("process %d of uid %d answers for %s, but %s does not run", pid, uid, t, t.unit)
		}
		if changes {
			return control.Errorf(control.CodeFailed, "%s; nothing was asked of it", text).
				WithHint("systemctl status %s", t.unit)
		}
		if !warned {
			warned = true
			c.err.line(span{yellow, "scgictl: warning: "}, text)
			c.err.Flush()
		}
		return nil
	})
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
