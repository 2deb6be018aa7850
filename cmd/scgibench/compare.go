package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/compare"
	"github.com/scgid/scgid/cmd/scgibench/compare/report"
	"github.com/scgid/scgid/cmd/scgibench/compare/servers"
	"github.com/spf13/cobra"
)

const compareHelp = `Measure scgid beside uWSGI, gunicorn, the scgi package, fcgiwrap and php-fpm,
and beside the least that passing connections can cost (a small C dispatcher):
requests a second, CPU of the whole process tree, of the master and of the
workers, context switches, system calls, latencies, memory, the time to the
first answer, and growth under a burst. All servers of a group run at the same
time and are loaded in turns, round by round, after a warm-up in which every
worker has served. Figures are medians with the least and the most; ratios are
taken round by round. Ratios are what counts: load the machine with nothing else.

Our own programs are taken from the directory of scgibench: make bench builds
them and runs this. What is not there is a line that says how to get it. No
figure is a failure.

--json prints one object with the keys form, began, seconds, interrupted,
machine, versions, servers, missing, rows (app, server, workers, clients, rounds,
figures), pools (system calls and memory), starts and growths.

Exit status: 0 when it has reported, 1 when it could not, 2 for a wrong command
line.`

// A comparing is one command line of compare.
type comparing struct {
	bench   *bench
	short   bool
	install bool
	json    bool
	svg     string
	opts    servers.Options
	apps    []string
	names   []string
	workers []int
	clients []string
	rounds  int
	time    time.Duration
}

func (b *bench) compareCommand() *cobra.Command {
	c := &comparing{bench: b}
	cmd := &cobra.Command{
		Use:   "compare [flags]",
		Short: "measure scgid beside its peers",
		Long:  compareHelp,
		Args:  cobra.NoArgs,
		RunE:  c.run,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&c.short, "short", false, "the short form, under three minutes, instead of the full one")
	f.StringSliceVar(&c.names, "servers", nil, "only these `NAMES`, such as scgid-python,uwsgi")
	f.StringSliceVar(&c.apps, "apps", nil, "only these `NAMES`: hello, cpu, django, rows, cgi-c, cgi-sh, cgi-python, php, start, growth")
	f.IntSliceVar(&c.workers, "workers", nil, "these `NUMBERS` of workers instead of the form's")
	f.StringSliceVar(&c.clients, "clients", nil, "these `NUMBERS` of clients, such as 1,32,1+2ms for one that pauses as well")
	f.IntVar(&c.rounds, "rounds", 0, "`N` rounds instead of the form's")
	f.DurationVar(&c.time, "round", 0, "`TIME` of each round instead of the form's")
	f.StringArrayVar(&c.opts.Variants, "variant", nil, "also measure scgi-wsgi with other keys: `NAME:Section.Key=VALUE,...` (can be repeated)")
	f.StringVar(&c.opts.Scgi, "scgi-package", os.Getenv("SCGI_PACKAGE"), "`DIR`ectory of a checkout of the scgi package, $SCGI_PACKAGE without")
	f.StringVar(&c.opts.Bin, "bin", ownDirectory(), "`DIR`ectory of scgid, scgi-wsgi, scgi-cgi and goworker")
	f.BoolVar(&c.install, "install", false, "install the Debian packages that are missing, as root, first")
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.StringVar(&c.svg, "svg", "", "also draw an SVG for each question into `DIR`")
	f.Lookup("bin").DefValue = ""
	f.Lookup("scgi-package").DefValue = ""
	return cmd
}

// ownDirectory is where this program lies.
func ownDirectory() string {
	self, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(self)
}

// plan is the form with what the flags say.
func (c *comparing) plan(kinds []servers.Kind) (compare.Plan, error) {
	plan := compare.Full()
	if c.short {
		plan = compare.Short()
	}
	clients, err := clientsOf(c.clients)
	if err != nil {
		return plan, err
	}
	if c.rounds < 0 || c.rounds > 1000 || c.time < 0 || c.time > time.Hour {
		return plan, fmt.Errorf("--rounds must be at most 1000, --round at most 1h, and neither negative")
	}
	if c.rounds > 0 {
		plan.Rounds = c.rounds
	}
	if c.time > 0 {
		plan.Duration = c.time
	}
	if c.apps != nil || c.names != nil || c.workers != nil || clients != nil || c.rounds > 0 || c.time > 0 {
		plan.Form += ", with changes,"
	}
	return plan, plan.Select(kinds, c.apps, c.names, c.workers, clients)
}

// clientsOf reads --clients; nil is none.
func clientsOf(texts []string) (all []compare.Clients, err error) {
	for _, s := range texts {
		one, err := compare.ParseClients(s)
		if err != nil {
			return nil, fmt.Errorf("--clients: %v", err)
		}
		all = append(all, one)
	}
	return all, nil
}

func (c *comparing) run(cmd *cobra.Command, _ []string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	kinds, err := servers.Kinds(c.opts)
	if err != nil {
		return err
	}
	plan, err := c.plan(kinds)
	if err != nil {
		return err
	}
	c.bench.running = true
	if c.install {
		c.say("installing packages")
		if err := servers.Install(ctx); err != nil {
			return err
		}
	}
	kit, err := servers.NewKit(ctx, c.opts)
	if err != nil {
		return err
	}
	defer kit.Close()
	r := compare.Run(ctx, kit, plan, c.say)
	return c.write(cmd.OutOrStdout(), r)
}

// say tells on standard error what is being measured: it takes minutes.
func (c *comparing) say(line string) { fmt.Fprintf(os.Stderr, "scgibench: %s\n", line) }

func (c *comparing) write(w io.Writer, r *compare.Report) error {
	if c.svg != "" {
		if err := report.Draw(c.svg, r); err != nil {
			return err
		}
	}
	if c.json {
		return report.JSON(w, r)
	}
	return report.Text(w, r)
}
