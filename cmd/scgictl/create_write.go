package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/config"
)

// carryOut writes the files of a plan, and makes them known. After an error
// nothing is left but a user: nobody can tell what else is its by now.
func (c *ctl) carryOut(ctx context.Context, p *plan) error {
	var d draft
	err := c.writeAll(ctx, p, &d)
	if err == nil && !p.ofUser() && p.root == "" && c.underSystemd() {
		err = c.command(ctx, p.systemctl("daemon-reload"))
	}
	if err == nil {
		return nil
	}
	left := d.undo()
	e := *control.AsError(err)
	if ctx.Err() != nil {
		e.Text = "interrupted"
	}
	switch _, made := p.id("passwd", p.user); {
	case len(left) > 0:
		e.Text += "; these could not be removed: " + strings.Join(left, ", ")
	case p.own && made:
		e.Text += "; nothing is left but the user " + p.user
	default:
		e.Text += "; nothing was written"
	}
	return &e
}

// writeAll stops at the first error, and between files when it is told to.
func (c *ctl) writeAll(ctx context.Context, p *plan, d *draft) error {
	if p.user == sharedUser {
		if err := c.makeUsers(ctx, p); err != nil {
			return err
		}
	}
	for _, w := range p.writes {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		gid := -1
		if w.group != "" {
			id, ok := p.id("group", w.group)
			if !ok {
				return fmt.Errorf("there is no group %s, though systemd-sysusers made the user", w.group)
			}
			gid = int(id)
		}
		if err := d.write(w.path, w.text, w.mode, gid); err != nil {
			return err
		}
		if w.path == p.sysusers() {
			if err := c.makeUsers(ctx, p); err != nil {
				return err
			}
		}
	}
	if p.ofUser() || p.root != "" {
		return nil
	}
	// There may be drop-ins already, and those for all pools.
	if _, err := config.Load(p.name, config.DefaultRoots, nil); err != nil {
		return invalid(err)
	}
	return nil
}

// makeUsers makes those that are not there, by sysusers.d(5).
func (c *ctl) makeUsers(ctx context.Context, p *plan) error {
	var files []string
	_, known := p.id("group", sharedUser)
	if !known {
		files = append(files, "scgid.conf") // of scgid itself
	}
	if p.own {
		files = append(files, p.sysusersName())
	}
	if len(files) == 0 {
		return nil
	}
	return c.sysusers(ctx, p.root, files, !known)
}

// sysusers makes what the files say. newGroup says that the bus has to be told.
func (c *ctl) sysusers(ctx context.Context, root string, files []string, newGroup bool) error {
	argv := []string{"systemd-sysusers"}
	if root != "" {
		argv = append(argv, "--root="+root)
	}
	err := c.command(ctx, append(argv, files...))
	if err == nil && newGroup && root == "" && c.underSystemd() {
		c.reloadBus(ctx)
	}
	return err
}

// reloadBus has the system bus read its rules again: it ignores those for a
// group, as org.scgid1.conf has them, that did not exist when it read them.
// Where that fails there is no bus, or a pool is not on it, which its log tells.
func (c *ctl) reloadBus(ctx context.Context) {
	_ = c.command(ctx, []string{"busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig"})
}

// command runs a program of systemd, which bounds how long it takes. Its error
// has what the program said last.
func (c *ctl) command(ctx context.Context, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(said.String())
	text = text[strings.LastIndexByte(text, '\n')+1:]
	if text != "" {
		text = ": " + text
	}
	return fmt.Errorf("%s: %v%s", strings.Join(argv, " "), err, text)
}
