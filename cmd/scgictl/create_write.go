package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	"github.com/scgid/scgid/cmd/scgictl/tree"
	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/config"
)

// apply writes the files of a plan and has systemd read them. After an error
// nothing is left but a user: files elsewhere may be its by now.
func (c *ctl) apply(ctx context.Context, p *plan) error {
	d := p.Draft()
	defer d.Close()
	err := c.writeAll(ctx, p, d)
	if err == nil && !p.ofUser() && p.root == "" && c.underSystemd() {
		err = p.command(ctx, p.systemctl("daemon-reload"))
	}
	if err == nil {
		return nil
	}
	left := d.Undo()
	e := *control.AsError(err)
	if ctx.Err() != nil {
		e.Text = "interrupted"
	}
	switch _, made, _ := p.id("passwd", p.user); {
	case len(left) > 0:
		e.Text += "; these could not be removed: " + strings.Join(left, ", ")
	case p.own && made:
		e.Text += "; nothing is left but the user " + p.user
	default:
		e.Text += "; nothing was written"
	}
	return &e
}

// writeAll writes the files in their order, and stops at the first error or when
// ctx ends.
func (c *ctl) writeAll(ctx context.Context, p *plan, d *tree.Draft) error {
	if !p.own && !p.ofUser() {
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
			id, ok, err := p.id("group", w.group)
			if err != nil {
				return err
			}
			if !ok {
				return fmt.Errorf("there is no group %s, though systemd-sysusers made the user", w.group)
			}
			gid = int(id)
		}
		if err := d.Write(w.path, w.text, w.mode, gid); err != nil {
			return cannotWrite(p.Name(w.path), err)
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
	_, known, err := p.id("group", sharedUser)
	if err != nil {
		return err
	}
	if !known {
		files = append(files, "scgid.conf") // of scgid itself
	}
	if p.own {
		files = append(files, p.sysusersName())
	}
	if len(files) == 0 {
		return nil
	}
	return c.sysusers(ctx, p.setup, files, !known)
}

// sysusersPaths are the files that systemd-sysusers(8) opens.
var sysusersPaths = []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/.pwd.lock", "/etc/login.defs",
	"/etc/sysusers.d", "/run/sysusers.d", "/usr/local/lib/sysusers.d", "/usr/lib/sysusers.d"}

// sysusers makes what the files say. newGroup says that the bus has to be told.
func (c *ctl) sysusers(ctx context.Context, s *setup, files []string, newGroup bool) error {
	argv := []string{"systemd-sysusers"}
	if s.root != "" {
		argv = append(argv, "--root="+s.root)
	}
	err := s.command(ctx, append(argv, files...), sysusersPaths...)
	if err == nil && newGroup && s.root == "" && c.underSystemd() {
		s.reloadBus(ctx)
	}
	return err
}

// reloadBus has the system bus read its rules again: it ignores those for a
// group, as org.scgid1.conf has them, that did not exist when it read them.
// A failure is ignored: there is no bus then, or the pool is not on it, and its
// log says so.
func (s *setup) reloadBus(ctx context.Context) {
	_ = s.command(ctx, []string{"busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig"})
}

// command runs a program of systemd, which bounds how long it takes, on the
// setup's system; paths are all that it opens there. The error has what the
// program said last.
func (s *setup) command(ctx context.Context, argv []string, paths ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := s.Run(cmd, paths...)
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(said.String())
	text = text[strings.LastIndexByte(text, '\n')+1:]
	if text != "" {
		text = ": " + text
	}
	return fmt.Errorf("%s: %w%s", strings.Join(argv, " "), err, text)
}

// cannotWrite is the error of a file that cannot be written.
func cannotWrite(path string, err error) error {
	text := fmt.Sprintf("cannot write %s: %v", path, bare(err))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return control.Errorf(control.CodeDenied, "%s", text)
	case errors.Is(err, fs.ErrExist):
		return control.Errorf(control.CodeFailed, "%s", text).WithHint("somebody else made it just now")
	}
	return errors.New(text)
}

// bare is an error without the operation and the path, where the message has
// them already.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
