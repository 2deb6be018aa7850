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

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/master/config"
)

// A target is the pool that a command line means.
type target struct {
	*api.Client
	name string // as its socket's directory; with --socket maybe empty
	unit string // of systemd, for a pool of the system; else empty
	user bool   // it is a user's own
}

// String is what to call the pool in a sentence.
func (t *target) String() string {
	if t.name != "" {
		return t.name
	}
	return t.Socket()
}

// A poolVerb is a command on one pool: scgictl VERB [NAME] ARGUMENTS.
type poolVerb struct {
	verb    string
	args    string // those after NAME in the usage, such as "WORKER"
	short   string
	long    string
	example string
	changes bool // it changes something, so that its peer has to be the right one

	// How many arguments there are after NAME. Where their number leaves open
	// whether the first is NAME, own says that it is not.
	min, max int
	own      func(arg string) bool

	// check, which may be nil, looks at the arguments after NAME and at flags
	// before a pool is looked for.
	check func(args []string) error

	// complete gives candidates for the arguments after NAME.
	complete func(ctx context.Context, t *target) []cobra.Completion

	run func(ctx context.Context, t *target, args []string) error

	// all, which may be nil, runs the verb on several pools where none is named.
	all func(ctx context.Context, pools []*target) error

	// idle, which may be nil, is asked where no master runs: whether systemd knows
	// the pool, and then what to return.
	idle func(ctx context.Context, name string) (known bool, err error)
}

// poolCommand makes the command of a poolVerb.
func (c *ctl) poolCommand(v poolVerb) *cobra.Command {
	return &cobra.Command{
		Use:                   strings.TrimSpace(v.verb + " [NAME] " + v.args),
		Short:                 v.short,
		Long:                  v.long,
		Example:               v.example,
		DisableFlagsInUseLine: v.args != "" && strings.Contains(v.args, "-"),
		ValidArgsFunction:     c.completeVerb(v),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, rest, err := c.split(v, cmd, args)
			if err != nil {
				return err
			}
			if v.check != nil {
				if err := v.check(rest); err != nil {
					return err
				}
			}
			if v.all != nil && name == "" && c.socket == "" {
				if pools := c.several(cmd.Context(), v.changes); pools != nil {
					return v.all(cmd.Context(), pools)
				}
			}
			err = c.onPool(cmd.Context(), v, name, rest)
			if v.idle == nil || c.socket != "" || !isNotRunning(err) {
				return c.whyNotRunning(cmd.Context(), name, err)
			}
			if known, is := v.idle(cmd.Context(), name); known {
				return c.whyNotRunning(cmd.Context(), name, is)
			}
			return c.whyNotRunning(cmd.Context(), name, err)
		},
	}
}

// several returns the pools that run here, nil if it is one or none.
func (c *ctl) several(ctx context.Context, changes bool) (pools []*target) {
	found, err := c.sockets()
	if err != nil {
		return nil // onPool says so
	}
	if found = running(found); len(found) < 2 {
		return nil
	}
	for _, f := range found {
		t := targetOf(f)
		c.verify(ctx, t, changes)
		pools = append(pools, t)
	}
	return pools
}

// onPool runs a verb on the pool with this name.
func (c *ctl) onPool(ctx context.Context, v poolVerb, name string, args []string) error {
	t, err := c.target(v.verb, name)
	if err != nil {
		return err
	}
	c.verify(ctx, t, v.changes)
	return v.run(ctx, t, args)
}

// split takes NAME off the arguments, if it is there.
func (c *ctl) split(v poolVerb, cmd *cobra.Command, args []string) (name string, rest []string, err error) {
	named := len(args) > v.max || len(args) > v.min && !v.own(args[0])
	if c.socket != "" && named {
		return "", nil, usage(fmt.Sprintf("unexpected argument %q: --socket names the pool already", args[0]), "usage: "+cmd.UseLine())
	}
	if named {
		name, args = args[0], args[1:]
	}
	switch {
	case named && name == "": // a variable of a script that is not set must not mean the only pool
		return "", nil, usage("the name of the pool is empty", "usage: "+cmd.UseLine())
	case len(args) > v.max:
		return "", nil, usage(fmt.Sprintf("unexpected argument %q", args[v.max]), "usage: "+cmd.UseLine())
	case len(args) < v.min:
		return "", nil, usage("an argument is missing", "usage: "+cmd.UseLine())
	}
	return name, args, nil
}

// isName says whether a pool may be called so.
func isName(name string) bool { return config.CheckName(name) == nil }

// target finds the pool. An empty name means the only one.
func (c *ctl) target(verb, name string) (*target, error) {
	if c.socket != "" {
		return c.targetAt(c.socket), nil
	}
	if name != "" && !isName(name) {
		hint := "scgictl list shows the pools"
		if strings.Contains(name, "/") {
			hint = "scgictl " + verb + " --socket " + name
		}
		return nil, usage(fmt.Sprintf("%q is not a pool name", name), hint)
	}
	found, err := c.sockets()
	if err != nil {
		return nil, fmt.Errorf("cannot look for pools: %v", err)
	}
	matching := found
	if name != "" {
		matching = nil
		for _, f := range found {
			if f.Name == name {
				matching = append(matching, f)
			}
		}
	}
	if len(matching) > 1 {
		matching = running(matching)
	}
	switch {
	case len(matching) == 1:
		return targetOf(matching[0]), nil
	case len(matching) == 0:
		return c.configuredTarget(name, found)
	case name == "":
		return nil, usage("several pools run here: "+someNames(matching), "scgictl "+verb+" NAME")
	}
	return nil, usage(fmt.Sprintf("there is a %s of the system and one of yours", name),
		fmt.Sprintf("scgictl %s --socket %s, or %s", verb, matching[0].Socket, matching[1].Socket))
}

// configuredTarget finds a pool whose control socket is elsewhere than those of
// most pools, by its configuration.
func (c *ctl) configuredTarget(name string, found []api.Found) (*target, error) {
	if name == "" {
		return nil, c.notRunning(name, found)
	}
	conf, err := config.Load(name, c.configs, nil)
	switch {
	case errors.As(err, new(config.Errors)):
		return nil, unreachable{control.Errorf(control.CodeNotRunning, "%s does not run, or listens elsewhere: its configuration is wrong", name).
			WithHint("scgid check %s", name)}
	case err != nil: // there is none, or it is not for us to read
		return nil, c.notRunning(name, found)
	case conf.Control.SocketOff:
		return nil, unreachable{control.Errorf(control.CodeNotRunning, "%s has no control socket, its configuration says [Control] Socket=off", name).
			WithHint("see scgid.conf(5) for what works without one")}
	}
	if _, err := os.Lstat(conf.Control.Socket); errors.Is(err, fs.ErrNotExist) { // as "" does not
		return nil, c.notRunning(name, found)
	}
	return targetOf(api.Found{Name: name, Socket: conf.Control.Socket}), nil
}

// unreachable is the error for a pool that may run or not: there is nobody to
// ask.
type unreachable struct{ err *control.Error }

func (u unreachable) Error() string { return u.err.Text }
func (u unreachable) Unwrap() error { return u.err }

func targetOf(f api.Found) *target {
	t := &target{Client: api.NewClient(f.Socket), name: f.Name, user: f.User}
	if !f.User {
		t.unit = unitOf(f.Name)
	}
	return t
}

// targetAt is a pool by its socket. One that a path in the system's directory
// names is called as there; whose it is, verify sees for itself.
func (c *ctl) targetAt(socket string) *target {
	dir := filepath.Dir(filepath.Clean(socket))
	if filepath.Base(socket) == api.SocketName && filepath.Dir(dir) == c.root {
		return targetOf(api.Found{Name: filepath.Base(dir), Socket: socket})
	}
	return &target{Client: api.NewClient(socket)}
}

// unitOf is the unit of a pool of the system.
func unitOf(name string) string { return "scgid@" + name + ".service" }

// notRunning is the error where no pool is found.
func (c *ctl) notRunning(name string, found []api.Found) error {
	if name == "" {
		start := "scgid serve NAME"
		if c.underSystemd() {
			start = "systemctl start scgid@NAME.socket"
		}
		return control.Errorf(control.CodeNotRunning, "no pool runs here").
			WithHint("%s, or scgid run -- COMMAND", start)
	}
	e := control.Errorf(control.CodeNotRunning, "%s is not running", name)
	if _, own, _ := c.load(name); own {
		return e.WithHint("%s", c.startHint(name))
	}
	if _, err := config.Load(name, c.configs, nil); err == nil {
		return e.WithHint("%s", c.startHint(name)) // this is the one that was meant
	}
	if others := running(found); len(others) > 0 {
		return e.WithHint("these run: %s", someNames(others))
	}
	return e.WithHint("%s", c.startHint(name))
}

// startHint is the command that starts a pool.
func (c *ctl) startHint(name string) string {
	_, own, _ := c.load(name)
	switch {
	case own && c.underSystemd():
		return "systemctl --user start scgid@" + name + ".service"
	case own:
		return "scgid serve --config " + ownConfig(name)
	case c.underSystemd():
		return "systemctl start scgid@" + name + ".service"
	}
	return "scgid serve " + name
}

// running leaves out sockets that a master left behind when it was killed:
// nobody answers there.
func running(found []api.Found) []api.Found {
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	var all []api.Found
	for _, f := range found {
		if _, err := api.NewClient(f.Socket).Peer(ctx); !isNotRunning(err) {
			all = append(all, f)
		}
	}
	return all
}

// namesMost is how many pools a hint names.
const namesMost = 8

// someNames are names as far as they fit into a hint.
func someNames(found []api.Found) string {
	if len(found) <= namesMost {
		return names(found)
	}
	return fmt.Sprintf("%s and %d more, see scgictl list", names(found[:namesMost]), len(found)-namesMost)
}

func names(found []api.Found) string {
	all := make([]string, len(found))
	for i, f := range found {
		all[i] = f.Name
	}
	return strings.Join(all, ", ")
}
