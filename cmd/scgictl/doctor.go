package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/config"
)

// A check is one thing that doctor looked at, and what it found.
type check struct {
	Check string `json:"check"`
	Grade grade  `json:"grade"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`

	Lines []string `json:"lines,omitempty"` // of the log
}

// A diagnosis is what doctor --json prints.
type diagnosis struct {
	Name    string  `json:"name"`
	WebUser string  `json:"web_user,omitempty"`
	OK      bool    `json:"ok"` // nothing failed
	Checks  []check `json:"checks"`
}

// doctorFlags are the flags of scgictl doctor.
type doctorFlags struct {
	webUser string
	file    string // --config
	uri     string
	host    string
	timeout timeFlag
	connect string // hidden: see connectAs
}

func doctorCommand(c *ctl) *cobra.Command {
	f := doctorFlags{timeout: timeFlag{10 * time.Second}}
	cmd := &cobra.Command{
		Use:   "doctor [NAME]",
		Short: "Check a pool from its configuration to an answered request",
		Long: `Check, in this order: the configuration and what it names; each listening
socket, its mode and the directories on the way to it, by connecting as the web
server's user; the kernel's backlog; the master's descriptor limit; whether
workers start; whether a request is answered; the control socket; whether nginx
sends requests here; what the sandbox forbade; and the units of systemd. Each gives a line, and what to do
where something is wrong. The request is sent first: it starts a pool that waits
for one.

Run it as root: nobody else can connect as the web server. The exit status is 1
if a check failed.`,
		Example: "  scgictl doctor wiki\n  scgictl doctor wiki --web-user caddy --uri /health",
		Args:    arguments(cobra.MaximumNArgs(1)),

		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.connect != "" {
				return c.connectOnly(f.connect)
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return c.doctor(cmd.Context(), name, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.webUser, "web-user", "", "`USER` of the web server (default: the first of www-data, nginx, http, apache that exists)")
	flags.StringVar(&f.file, "config", "", "the pool's configuration is this `FILE`")
	flags.StringVar(&f.uri, "uri", "/", "`URI` of the request to try")
	flags.StringVar(&f.host, "host", "", "`NAME` of the site, which the request asks for (default: localhost)")
	flags.Var(&f.timeout, "timeout", "how long that request, and each connection, may take")
	flags.StringVar(&f.connect, "connect-only", "", "")
	_ = flags.MarkHidden("connect-only")
	return cmd
}

// completeName completes a command's first argument with the names of pools.
func (c *ctl) completeName(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeNames(), cobra.ShellCompDirectiveDefault
}

// A doctor examines one pool. It changes nothing.
type doctor struct {
	*ctl
	doctorFlags
	name   string
	checks []check

	conf    *config.Config // nil: there is none, or it is wrong
	confErr error
	own     bool // it is a pool of systemctl --user

	target    *target
	status    *control.Status // nil: nobody told
	statusErr error

	units    []unitState // of systemd; nil where it does not run
	broken   *fault      // why the service does not start; nil if it does
	web      *account    // nil: there is no such user
	where    []string    // addresses of the listeners
	tried    trial
	nginx    *nginxConf // nil: there is none, or it cannot be read
	symptoms []symptom
	site     string // the name under which nginx serves the pool, if it has one
}

// doctor examines in the order of a request's way, so that the first failure is
// the cause of those after it as a rule.
func (c *ctl) doctor(ctx context.Context, name string, f doctorFlags) error {
	d := &doctor{ctl: c, doctorFlags: f, name: name}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, look := range []func(context.Context){
		d.checkConfig, d.checkSockets, d.checkBacklogs, d.checkDescriptors,
		d.checkWorkers, d.checkRequest, d.checkControl, d.checkNginx, d.checkSandbox, d.checkUnits,
	} {
		look(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return d.printFindings()
}

// prepare finds out what there is to look at. The request comes before all that
// is looked at, but for where it has to be sent to.
func (d *doctor) prepare(ctx context.Context) error {
	if d.timeout.d <= 0 {
		return usage("--timeout must be more than 0", "")
	}
	if d.file != "" {
		d.name = orElse(d.name, strings.TrimSuffix(filepath.Base(d.file), ".conf"))
	}
	err := d.find()
	if err != nil {
		return err
	}
	if d.web, err = findWebUser(d.webUser); err != nil {
		return err
	}
	d.ask(ctx)
	d.where = d.addresses()
	d.tried = d.try(ctx)
	if d.target == nil { // it was to be started
		d.target, d.statusErr = d.ctl.target("doctor", d.name)
	}
	d.ask(ctx)
	d.name = orElse(d.name, "NAME") // in hints
	d.where = d.addresses()
	d.readNginx(ctx)
	d.readSymptoms(ctx)
	if u := d.service(); u != nil && u.failing() {
		f := d.faultOf(ctx, journal{pool: d.name, own: d.own}, *u)
		d.broken = &f
	}
	return ctx.Err()
}

// ask asks the master, if there is one, and systemd.
func (d *doctor) ask(ctx context.Context) {
	if d.target != nil {
		d.ctl.verify(ctx, d.target, false)
		short, cancel := context.WithTimeout(ctx, d.timeout.d)
		defer cancel()
		st, err := d.target.Status(short)
		if d.status, d.statusErr = nil, err; err == nil {
			d.status = &st
			d.learnName(st.Name)
		}
	}
	d.units = d.readUnits(ctx)
}

// find finds the configuration and the control socket. That there is no pool
// is a finding; that none is meant is an error.
func (d *doctor) find() error {
	if d.file != "" {
		d.loadConfig()
	}
	if d.socket == "" && d.conf != nil && d.conf.Control.Socket != "" {
		d.target = d.ctl.targetAt(d.conf.Control.Socket)
		return nil
	}
	t, err := d.ctl.target("doctor", d.name)
	switch {
	case err != nil && (exitStatus(err) == exitUsage || d.name == ""):
		return err
	case err != nil:
		d.statusErr = err
	default:
		d.target, d.name = t, orElse(d.name, t.name)
	}
	if d.file == "" {
		d.loadConfig()
	}
	if d.target == nil && d.conf != nil && d.conf.Control.Socket != "" {
		d.target = d.ctl.targetAt(d.conf.Control.Socket)
	}
	return nil
}

// learnName takes the pool's own word for its name, where only its socket was
// given.
func (d *doctor) learnName(name string) {
	if d.name == "" && isName(name) {
		d.name = name
		d.loadConfig()
	}
}

// addresses are where the pool listens: by its own word, else by the socket
// unit's, else by the configuration's.
func (d *doctor) addresses() []string {
	if d.detailed() {
		var all []string
		for _, l := range d.status.Queue.Listeners {
			all = append(all, l.Address)
		}
		return all
	}
	for _, u := range d.units {
		if len(u.listens) > 0 {
			return u.listens
		}
	}
	switch {
	case d.conf == nil:
		return nil
	case d.own && len(d.conf.Pool.Listen) == 0 && ownSocket(d.name) != "":
		return []string{ownSocket(d.name)}
	}
	return d.conf.Pool.Listen
}

// toStart is a hint that starts the pool; empty where that would fail.
func (d *doctor) toStart(hint string) string {
	if d.unconfigured() {
		return ""
	}
	return hint
}

// systemctl begins a command for the pool's units.
func (d *doctor) systemctl() string {
	if d.own {
		return "systemctl --user "
	}
	return "systemctl "
}

// toStartSocket is a hint where nobody listens.
func (d *doctor) toStartSocket() string {
	hint := "start the pool: " + d.systemctl() + "start scgid@" + d.name + ".socket"
	if !d.own {
		hint += ", or scgid serve " + d.name
	}
	return d.toStart(hint)
}

// add notes a finding.
func (d *doctor) add(g grade, what, text, hint string) {
	d.checks = append(d.checks, check{Check: what, Grade: g, Text: text, Hint: hint})
}

// printFindings prints the findings, and fails if one of them did.
func (d *doctor) printFindings() error {
	failed := 0
	for _, k := range d.checks {
		if k.Grade == bad {
			failed++
		}
	}
	x := diagnosis{Name: d.name, OK: failed == 0, Checks: d.checks}
	if d.web != nil {
		x.WebUser = d.web.Name
	}
	err := d.show(x, func(s *screen) {
		for _, k := range d.checks {
			s.verdict(k.Grade, k.Check+": "+k.Text, k.Hint, k.Lines...)
		}
	})
	if err == nil && failed > 0 {
		err = control.Errorf(control.CodeFailed, "%s of %s failed", count(failed), plural(len(d.checks), "check"))
	}
	return err
}

// detailed says whether the status has more than name and state, which is all that
// some callers get.
func (d *doctor) detailed() bool { return d.status != nil && len(d.status.Queue.Listeners) > 0 }

// passed says whether nothing failed in the checks called what.
func (d *doctor) passed(what string) bool {
	return !slices.ContainsFunc(d.checks, func(k check) bool { return k.Check == what && k.Grade == bad })
}

// checkControl says whether the control socket can be asked.
func (d *doctor) checkControl(context.Context) {
	const what = "control socket"
	switch {
	case d.status != nil && !d.detailed():
		d.add(notable, what, d.target.Socket()+" answers, but tells you name and state only",
			"run as root, or as a member of the group that Control.Group= or Control.ReadGroup= names")
	case d.status != nil:
		d.add(good, what, fmt.Sprintf("%s answers: %s, process %d, for %s", d.target.Socket(),
			d.status.State, d.status.PID, ago(d.status.Since)), "")
	case d.conf != nil && d.conf.Control.SocketOff:
		d.add(notable, what, "the configuration turns it off", "remove [Control] Socket=off to have scgictl work")
	case d.service() != nil && d.service().failing():
		d.add(skipped, what, doesNotStart, "")
	case d.waits():
		d.add(good, what, "not started yet: the first request starts it", "")
	default:
		e := control.AsError(d.statusErr)
		hint := e.Hint
		if e.Code == control.CodeNotRunning { // which pools run instead is beside the point here
			hint = d.toStart(d.startHint(d.name))
		}
		d.add(bad, what, e.Text, hint)
	}
}
