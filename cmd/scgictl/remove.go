package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

// removeFlags are the flags of scgictl remove.
type removeFlags struct {
	purge bool
	force bool
	yes   bool
	root  string
	user  bool
}

// removed is what remove --json prints.
type removed struct {
	Name    string   `json:"name"`
	Removed []string `json:"removed"`
	Left    []string `json:"left"`
	User    string   `json:"user,omitempty"` // which is left, too
}

func removeCommand(c *ctl) *cobra.Command {
	var f removeFlags
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take away what create has set up",
		Long: `remove stops and disables the socket and the service of a pool, which answers what
it accepted, and removes the files that create wrote. Nothing is done if one of
them was changed since, or is somebody else's: --force removes those, too.

What the application keeps, in /var/lib/scgid/NAME and /var/cache/scgid/NAME, is
left, unless --purge says otherwise; on a terminal it asks first. The user is
always left: files elsewhere may be its, and its number must not become
another's.`,
		Example:           "  scgictl remove wiki\n  scgictl remove wiki --purge",
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: completeConfigured,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.remove(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.purge, "purge", false, "also remove what the application keeps")
	flags.BoolVar(&f.force, "force", false, "also remove files that somebody changed or wrote")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.Var(pathFlag{&f.root}, "root", "remove the files of the system below `DIR`")
	flags.BoolVar(&f.user, "user", false, "remove a pool of systemctl --user, of this user")
	_ = cmd.MarkFlagDirname("root")
	return cmd
}

// completeConfigured completes the name of a pool that has a file.
func completeConfigured(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []cobra.Completion
	files, _ := filepath.Glob("/etc/scgid/*.conf")
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".conf"); len(args) == 0 && isName(name) {
			all = append(all, name)
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// remove looks at everything before it stops anything, and stops the pool before it
// removes anything: a pool that cannot be stopped keeps its files.
func (c *ctl) remove(ctx context.Context, name string, f removeFlags) error {
	if f.user && f.purge {
		return usage("--purge is for pools of the system", "one of systemctl --user keeps nothing of its own")
	}
	s, err := c.setup(name, f.root, f.user)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := c.mayChange(s, "remove"); err != nil {
		return err
	}
	files, err := s.removable(f)
	if err != nil {
		return err
	}
	kept := s.existing(s.stateDirs())
	if f.purge && len(kept) > 0 && !f.yes && c.asks {
		if err := c.confirm(ctx, "Remove "+strings.Join(s.shown(kept), " and ")+" for good?"); err != nil {
			return err
		}
	}
	user := s.userInDropIn()
	if err := c.disable(ctx, s); err != nil {
		return err
	}
	if !f.purge {
		kept = nil
	}
	return c.removeFiles(ctx, s, files, kept, user)
}

// removable returns the files to be removed.
func (s *setup) removable(f removeFlags) ([]string, error) {
	var found []string
	for _, path := range s.files() {
		whose, err := s.originOf(path)
		if err != nil {
			return nil, fmt.Errorf("cannot look at %s: %w", s.Name(path), bare(err))
		}
		what := ""
		switch whose {
		case absent:
			continue
		case edited:
			what = " was changed since scgictl wrote it"
		case foreign:
			what = " was not written by scgictl"
		}
		if what != "" && !f.force {
			return nil, control.Errorf(control.CodeFailed, "%s%s; nothing was removed", s.Name(path), what).
				WithHint("scgictl remove %s%s --force, if it is not wanted any more", s.name, s.flags())
		}
		found = append(found, path)
	}
	if len(found) > 0 || f.purge && len(s.existing(s.stateDirs())) > 0 {
		return found, nil
	}
	e := control.Errorf(control.CodeNotRunning, "there is no pool %s: %s does not exist", s.name, s.Name(s.conf()))
	if !s.ofUser() && s.root == "" {
		return nil, e.WithHint("pools of systemctl --user are removed with --user")
	}
	return nil, e
}

// existing are those of paths that there are.
func (s *setup) existing(paths []string) (there []string) {
	for _, path := range paths {
		if s.Exists(path) {
			there = append(there, path)
		}
	}
	return there
}

// userInDropIn is the pool's own user, if it is there.
func (s *setup) userInDropIn() string {
	if s.ofUser() {
		return ""
	}
	text, err := s.ReadFile(s.userDropIn(), fileMax)
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(text), "\n") {
		if user, ok := strings.CutPrefix(line, "User="); ok {
			if own, _ := poolUser(s.name); user != own {
				return "" // of create --as
			}
			if _, there, _ := s.id("passwd", user); there {
				return user
			}
		}
	}
	return ""
}

// disable stops the pool and forgets that it is to be started. The socket is
// stopped in the same transaction: while that waits for the last requests,
// systemd starts nothing for new ones.
func (c *ctl) disable(ctx context.Context, s *setup) error {
	units := []string{s.unit("socket"), s.unit("service")}
	at, verbs := *s, []string{"stop", "disable"}
	if s.root != "" || !c.underSystemd() {
		if s.ofUser() { // systemctl --user needs the service manager
			return nil
		}
		at.root, verbs = orElse(s.root, "/"), verbs[1:]
	}
	for _, verb := range verbs {
		err := at.command(ctx, at.systemctl(append([]string{verb}, units...)...), unitDirs...)
		// If scgid is not installed any more, there are no units to name.
		if err != nil && (s.hasUnits() || ctx.Err() != nil) {
			return withHint(err, "nothing was removed; "+strings.Join(s.systemctl("status", units[1]), " "))
		}
	}
	return nil
}

// withHint gives an error that is none of ours a hint.
func withHint(err error, hint string) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return control.Errorf(control.CodeFailed, "%v", err).WithHint("%s", hint)
}

// removeFiles removes files and the directories of the application's state, and
// says what is left.
func (c *ctl) removeFiles(ctx context.Context, s *setup, files, kept []string, user string) error {
	out := removed{Name: s.name, Removed: s.shown(append(files, kept...)), User: user}
	for _, path := range files {
		if err := s.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return cannotRemove(s.Name(path), err)
		}
	}
	for _, path := range kept {
		if err := s.RemoveAll(path); err != nil {
			return cannotRemove(s.Name(path), err)
		}
	}
	for _, kind := range []string{"service", "socket"} {
		_ = s.Remove(s.dropIns(kind)) // if there is nothing else in it
	}
	if s.root == "" && c.underSystemd() && s.hasUnits() {
		if err := s.command(ctx, s.systemctl("daemon-reload")); err != nil {
			return err
		}
		// Units that have failed must not be listed forever. This is an error if
		// none has.
		_ = s.command(ctx, s.systemctl("reset-failed", s.unit("socket"), s.unit("service")))
	}
	dirs := []string{s.dropIns("service"), s.dropIns("socket")}
	if !s.ofUser() {
		dirs = append(append(dirs, s.conf()+".d"), s.stateDirs()...)
	}
	out.Left = s.shown(s.existing(dirs))
	return c.show(out, func(sc *screen) { sc.removed(&out) })
}

func cannotRemove(path string, err error) error {
	text := fmt.Sprintf("cannot remove %s: %v", path, bare(err))
	if errors.Is(err, fs.ErrPermission) {
		return control.Errorf(control.CodeDenied, "%s", text)
	}
	return errors.New(text)
}

// removed prints what was removed and, by the word left, what was not.
func (s *screen) removed(r *removed) {
	s.line(span{bold, r.Name}, ": removed")
	for _, path := range r.Removed {
		s.line("  ", path)
	}
	for _, path := range r.Left {
		s.line(span{yellow, "left: "}, path)
	}
	if r.User != "" {
		s.line(span{yellow, "left: "}, "user "+r.User+"; userdel "+r.User+" removes it, once no file is its own")
	}
}
