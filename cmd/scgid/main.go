// Command scgid is the master: it takes a listening socket from systemd, or
// opens one, and serves SCGI requests with a pool of worker processes.
//
//	scgid serve NAME          a configured pool, as scgid@NAME.service does
//	scgid run -- COMMAND      a pool without a file
//	scgid check NAME|FILE     what is wrong with a configuration
//
// When the master executes itself again there is no command line to read: see
// takeOver.
//
// The command joins rooms: it reads the configuration, gets the sockets, and
// hands both to package master, which does the work and owns all that happens
// from then on. It decides nothing about connections or workers itself.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/master/config"
	"github.com/scgid/scgid/master/process"
)

// version is set by the build.
var version = "0.1.0-dev"

// Exit statuses, for scripts and service managers.
const (
	exitFailed = 1
	exitUsage  = 2 // the command line or the configuration is wrong
)

// A hinted error says also what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// A usageError is one of the command line.
type usageError struct{ error }

// The name of the first thread is that of the process: so main keeps it until
// it has set that.
func init() { runtime.LockOSThread() }

func main() {
	process.Trampoline()
	_ = keepOthersOut() // the sooner the better; pool.run says if it cannot be done
	keepName()
	runtime.UnlockOSThread()
	os.Exit(run())
}

func run() int {
	var err error
	if takesOver() {
		err = takeOver()
	} else {
		err = rootCommand().Execute()
	}
	if err == nil {
		return 0
	}
	var many config.Errors
	var text strings.Builder
	if errors.As(err, &many) {
		for _, e := range many {
			fmt.Fprintln(&text, "scgid:", e)
		}
	} else {
		fmt.Fprintln(&text, "scgid:", err)
	}
	var h hinted
	if errors.As(err, &h) {
		fmt.Fprintln(&text, "scgid: hint:", h.hint)
	}
	say(text.String())
	var usage usageError
	if many != nil || errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "scgid",
		Short:         "An application server for SCGI",
		Long:          "scgid gives each accepted SCGI connection to one process of a pool of workers:\na Python WSGI application, a Go program, or CGI programs.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
	}
	root.RunE = func(c *cobra.Command, words []string) error {
		if len(words) == 0 {
			return c.Help()
		}
		hint := "see scgid --help"
		if near := c.SuggestionsFor(words[0]); len(near) > 0 {
			hint = "did you mean scgid " + near[0] + "?"
		}
		return hinted{usageError{fmt.Errorf("unknown command %q", words[0])}, hint}
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return hinted{usageError{err}, "see " + c.CommandPath() + " --help"}
	})
	root.AddCommand(serveCommand(), runCommand(), checkCommand(), checkStateCommand())
	return root
}

// args wraps a check of positional arguments, whose errors are usage errors.
func args(check cobra.PositionalArgs, hint string) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error {
		if err := check(c, a); err != nil {
			return hinted{usageError{err}, hint}
		}
		return nil
	}
}
