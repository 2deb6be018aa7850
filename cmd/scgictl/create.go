package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/config"
)

// createFlags are the flags of scgictl create.
type createFlags struct {
	shared   bool
	as       string // an existing user
	webGroup string
	listen   []string
	set      []string
	root     string
	user     bool
	dryRun   bool
}

func createCommand(c *ctl) *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create NAME [flags] -- COMMAND [ARG...]",
		Short: "Set up a pool under systemd",
		Long: `create writes what systemd needs to run COMMAND as the pool NAME: its
configuration, a user of its own (or the one of --as), and drop-ins of its units, which say who may
send requests. It says what to type next, and starts nothing. It never overwrites
a file, and removes all that it wrote if one cannot be written.`,
		Example: "  scgictl create wiki --set Worker.WorkingDirectory=/srv/wiki -- scgi-wsgi wiki.wsgi:application\n" +
			"  scgictl create git -- scgi-cgi --env GIT_PROJECT_ROOT=/srv/git --env GIT_HTTP_EXPORT_ALL=1 \\\n" +
			"    /usr/lib/git-core/git-http-backend\n" +
			"  scgictl create mine --user -- scgi-wsgi ~/app.wsgi",
		DisableFlagsInUseLine: true,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			const how = "scgictl create NAME -- COMMAND [ARG...]"
			switch at := cmd.ArgsLenAtDash(); {
			case len(args) == 0 || at == 0:
				return usage("the name of the pool is missing", how)
			case at < 0 || len(args) == at:
				return usage("the command of the application is missing", how)
			case at > 1:
				return usage(fmt.Sprintf("unexpected argument %q before --", args[1]), how)
			}
			return c.create(cmd.Context(), args[0], args[1:], f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.shared, "shared-user", false, "run it as the user scgid, like other pools that trust it")
	flags.StringVar(&f.as, "as", "", "run it as `USER`, who exists, such as the one of the application's package")
	flags.StringVar(&f.webGroup, "web-group", "", "`GROUP` of the web server, which may send requests (default: the first of "+
		strings.Join(webGroups, ", ")+" that exists)")
	flags.StringArrayVar(&f.listen, "listen", nil, "listen on `ADDRESS`, /path, @name or IP:PORT, instead of /run/scgid/NAME.sock (can be repeated)")
	flags.StringArrayVar(&f.set, "set", nil, "set one `Section.Key=VALUE` of scgid.conf(5) (can be repeated)")
	flags.Var(pathFlag{&f.root}, "root", "write the files of the system below `DIR`")
	flags.BoolVar(&f.user, "user", false, "set it up for systemctl --user, as this user")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the files, and write nothing")
	_ = cmd.MarkFlagDirname("root")
	return cmd
}

// create checks everything before it writes anything; with --dry-run that is all.
// The notes come last: they are about the system with the files in place.
func (c *ctl) create(ctx context.Context, name string, command []string, f createFlags) error {
	if f.user && (f.shared || f.as != "" || f.webGroup != "") {
		return usage("--shared-user, --as and --web-group are for pools of the system", "leave them out, or --user")
	}
	if f.shared && f.as != "" {
		return usage("--shared-user and --as exclude each other", "leave one of them out")
	}
	s, err := c.setup(name, f.root, f.user)
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := newPlan(s, command, f)
	if err != nil {
		return err
	}
	if !f.dryRun {
		if err := c.mayChange(s, "create"); err != nil {
			return err
		}
	}
	if err := s.checkFree(); err != nil {
		return err
	}
	if !f.dryRun {
		if err := c.apply(ctx, p); err != nil {
			return err
		}
	}
	p.noteProblems()
	return c.showPlan(p, f.dryRun)
}

// setup checks what create and remove have in common.
func (c *ctl) setup(name, root string, ofUser bool) (*setup, error) {
	if c.socket != "" {
		return nil, usage("--socket is for pools that run", "leave it out")
	}
	if err := config.CheckName(name); err != nil {
		return nil, usage(err.Error(), "")
	}
	if !ofUser {
		return setupAt(name, root)
	}
	if root != "" {
		return nil, usage("--root and --user exclude each other", "")
	}
	home, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("cannot find your configuration: %v", err)
	}
	if err := c.ownHome(home); err != nil {
		return nil, err
	}
	return newSetup(name, "", home)
}

// ownHome makes sure that root does not write where another user decides what a
// name leads to: sudo(8) may leave that user's HOME in place.
func (c *ctl) ownHome(home string) error {
	if c.uid != 0 {
		return nil // the kernel stops others
	}
	var st unix.Stat_t
	for dir := home; ; dir = filepath.Dir(dir) {
		// What is not there is going to be made.
		if unix.Stat(dir, &st) == nil && st.Uid != 0 {
			return control.Errorf(control.CodeFailed, "%s belongs to %s, and --user means the user who runs scgictl, root", dir, userName(st.Uid)).
				WithHint("run scgictl as %s", userName(st.Uid))
		}
		if dir == "/" {
			return nil
		}
	}
}

// setupAt is the setup of a system's pool.
func setupAt(name, root string) (*setup, error) {
	if root == "" {
		return newSetup(name, "", "")
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s, err := newSetup(name, strings.TrimSuffix(abs, "/"), "")
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil, usage("--root "+root+" is not a directory", "make it first")
	case err != nil:
		return nil, fmt.Errorf("cannot use --root: %w", err)
	}
	return s, nil
}

// mayChange refuses early what would fail in the middle.
func (c *ctl) mayChange(s *setup, verb string) error {
	if c.uid == 0 || s.ofUser() || s.root != "" {
		return nil
	}
	return control.Errorf(control.CodeDenied, "cannot %s a pool of the system: permission denied (uid %d)", verb, c.uid).
		WithHint("run as root, or scgictl %s --user for one of your own", verb)
}

// checkFree returns an error if files of a pool with this name exist.
func (s *setup) checkFree() error {
	for _, path := range s.files() {
		whose, err := s.originOf(path)
		switch path = s.Name(path); {
		case err != nil:
			return fmt.Errorf("cannot look for %s: %w", path, bare(err))
		case whose == foreign:
			return control.Errorf(control.CodeFailed, "%s exists already, and scgictl did not write it", path).
				WithHint("take another name, or move the file away")
		case whose != absent:
			return control.Errorf(control.CodeFailed, "%s exists already: %s", s.name, path).
				WithHint("change it there, or first: scgictl remove %s%s", s.name, s.flags())
		}
	}
	if s.ofUser() {
		return nil
	}
	for _, dir := range config.DefaultRoots {
		path := filepath.Join(dir, s.name+".conf")
		if s.Exists(path) {
			return control.Errorf(control.CodeFailed, "%s is configured already: %s", s.name, s.Name(path)).
				WithHint("take another name")
		}
	}
	return nil
}

// flags are those by which commands find it.
func (s *setup) flags() string {
	switch {
	case s.ofUser():
		return " --user"
	case s.root != "":
		return " --root " + s.root
	}
	return ""
}

// invalid makes one error of the command line of all that a configuration has.
func invalid(err error) error {
	var many config.Errors
	if !errors.As(err, &many) {
		return usage(err.Error(), "")
	}
	texts := make([]string, len(many))
	for i, e := range many {
		texts[i] = e.Error()
	}
	return usage(strings.Join(texts, "; "), "the keys are in scgid.conf(5)")
}
