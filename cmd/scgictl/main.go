// Command scgictl inspects and controls running pools of scgid.
//
//	scgictl list                 the pools of this machine and user
//	scgictl status NAME          one of them in figures
//	scgictl scale NAME --max 16  and so on, one file for each verb
//
// It asks the pool's master over its control socket (package control/api) and
// owns only how that is printed: nothing that came from outside reaches a
// terminal as it is, see screen.go. Who may do what is decided by the master,
// not here. It never signals a master or touches its files; only create and
// remove write files, for systemd.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/cmd/scgictl/quiet"
)

// version is set by the build.
var version = "0.1.0-dev"

func init() { quiet.Over() }

func main() { os.Exit(run(newCtl(), os.Args[1:])) }

// run executes one command line and returns the exit status.
func run(c *ctl, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the first signal ends ctx, a second one this process
	root := rootCommand(c)
	root.SetArgs(args)
	root.SetOut(c.out)
	root.SetErr(c.err)
	err := root.ExecuteContext(ctx)
	if e := c.out.Flush(); e != nil && err == nil {
		err = fmt.Errorf("cannot write the output: %v", e)
	}
	return c.report(err)
}

// Commands in the order of the help text.
var (
	looking = []func(*ctl) *cobra.Command{
		listCommand,
		statusCommand,
		topCommand,
		workersCommand,
		requestsCommand,
		configCommand,
		eventsCommand,
		logCommand,
		metricsCommand,
		requestCommand,
		doctorCommand,
		explainCommand,
	}
	changing = []func(*ctl) *cobra.Command{
		scaleCommand,
		pauseCommand,
		resumeCommand,
		reloadCommand,
		rollbackCommand,
		upgradeCommand,
		stopCommand,
		retireCommand,
		killCommand,
		dumpCommand,
		logLevelCommand,
	}
	setting = []func(*ctl) *cobra.Command{
		createCommand,
		removeCommand,
	}
)

func rootCommand(c *ctl) *cobra.Command {
	root := &cobra.Command{
		Use:   "scgictl",
		Short: "Inspect and control pools of scgid",
		Long: "scgictl inspects and controls running pools of scgid.\n" +
			"NAME may be left out if only one pool runs.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("no command given", "scgictl list shows the pools, scgictl --help all commands")
			}
			return unknown(cmd, args[0])
		},
	}
	root.SuggestionsMinimumDistance = 2
	cobra.EnableCommandSorting = false
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().Var(pathFlag{&c.socket}, "socket", "control socket of the pool at `PATH`, instead of NAME")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err.Error(), "see "+cmd.CommandPath()+" --help")
	})
	addGroup(root, c, "See what a pool does:", looking)
	addGroup(root, c, "Change it:", changing)
	addGroup(root, c, "Set it up under systemd:", setting)
	root.AddCommand(completionCommand(c))
	return root
}

// addGroup adds commands below a title of the help text.
func addGroup(root *cobra.Command, c *ctl, title string, verbs []func(*ctl) *cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, verb := range verbs {
		cmd := verb(c)
		cmd.GroupID = title
		root.AddCommand(cmd)
	}
}

// unknown is the error for a command that does not exist.
func unknown(root *cobra.Command, word string) error {
	hint := "scgictl --help shows all commands"
	if near := root.SuggestionsFor(word); len(near) > 0 {
		hint = "scgictl " + near[0]
	}
	return usage(fmt.Sprintf("there is no command %q", word), hint)
}
