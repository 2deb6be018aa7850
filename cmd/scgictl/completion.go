package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

var shells = []string{"bash", "zsh", "fish"}

func completionCommand(c *ctl) *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that completes command lines",
		Long:  "completion prints a script that completes command lines of scgictl, with the\nnames of pools and the ids of workers, for bash, zsh or fish.",
		Example: "  source <(scgictl completion bash)\n" +
			"  scgictl completion zsh > \"${fpath[1]}/_scgictl\"\n" +
			"  scgictl completion fish > ~/.config/fish/completions/scgictl.fish",
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		Args: arguments(func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return fmt.Errorf("which shell: bash, zsh or fish?")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				err := cmd.Root().GenBashCompletionV2(c.out, true)
				c.out.WriteString(plainBash)
				return err
			case "zsh":
				return cmd.Root().GenZshCompletion(c.out)
			default:
				return cmd.Root().GenFishCompletion(c.out, true)
			}
		},
	}
}

// plainBash replaces a function of the library's script that needs functions of
// the package bash-completion.
const plainBash = `
# Without the package bash-completion, words are those that bash itself finds.
__scgictl_init_completion()
{
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
    else
        cur=${COMP_WORDS[COMP_CWORD]}
        prev=${COMP_WORDS[COMP_CWORD-1]}
        words=("${COMP_WORDS[@]}")
        cword=$COMP_CWORD
    fi
}
`

// completionTime is how long somebody who pressed a key may wait.
const completionTime = time.Second

// completeVerb gives the pools' names, then what the verb itself completes.
func (c *ctl) completeVerb(v poolVerb) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		var all []cobra.Completion
		if len(args) == 0 && c.socket == "" {
			all = c.completeNames()
		}
		name, ready := "", c.socket != "" && len(args) == 0
		if len(args) == 1 && c.socket == "" {
			name, ready = args[0], true
		}
		if v.complete != nil && (ready || len(args) == 0) {
			// Without a name this finds the only pool, or none.
			if t, err := c.target(v.verb, name); err == nil {
				all = append(all, v.complete(ctx, t)...)
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNames gives the pools that answer. A name that no pool can have may be
// anything: it is not put onto a command line.
func (c *ctl) completeNames() []cobra.Completion {
	found, err := c.sockets()
	if err != nil {
		return nil
	}
	var all []cobra.Completion
	for _, f := range running(found) {
		if isName(f.Name) {
			all = append(all, f.Name)
		}
	}
	return all
}

// completeWorkers gives the ids of a pool's workers, each with what it is.
func (c *ctl) completeWorkers(ctx context.Context, t *target) []cobra.Completion {
	workers, err := t.Workers(ctx)
	if err != nil {
		return nil
	}
	var all []cobra.Completion
	for _, w := range workers {
		what := fmt.Sprintf("pid %d, %s", w.PID, workerState(w))
		all = append(all, cobra.CompletionWithDesc(strconv.FormatUint(w.ID, 10), c.out.clean(what)))
	}
	return all
}
