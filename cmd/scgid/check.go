package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/master/config"
)

func checkCommand() *cobra.Command {
	var set []string
	c := &cobra.Command{
		Use:   "check NAME|FILE",
		Short: "Check a configuration",
		Long: `Check the configuration of the pool NAME, or FILE (a path with a slash, or
ending in .conf): its syntax, its values, and that the program and directory it
names are there. Exit status 2 means that something is wrong.`,
		Args: args(cobra.ExactArgs(1), "usage: scgid check NAME, or scgid check FILE"),
		RunE: func(c *cobra.Command, names []string) error {
			conf, err := loadEither(names[0], set)
			if err != nil {
				return err
			}
			if err := checkWorld(conf); err != nil {
				return usageError{fmt.Errorf("%s: %w", conf.Files[0], err)}
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: the configuration is good (%s)\n", conf.Name, strings.Join(conf.Files, ", "))
			return nil
		},
	}
	c.Flags().StringArrayVar(&set, "set", nil, "override one `Section.Key=VALUE` (can be repeated)")
	return c
}

func loadEither(what string, set []string) (*config.Config, error) {
	if strings.Contains(what, "/") || strings.HasSuffix(what, ".conf") {
		return load(nil, what, set)
	}
	return load([]string{what}, "", set)
}

// checkWorld looks at what the configuration names.
func checkWorld(conf *config.Config) error {
	env, err := environ(conf)
	if err != nil {
		return err
	}
	if _, err := resolve(conf.Worker.ExecStart, env); err != nil {
		return fmt.Errorf("ExecStart=: %w", err)
	}
	if dir := conf.Worker.WorkingDirectory; dir != "" {
		if info, err := os.Stat(dir); err != nil {
			return fmt.Errorf("WorkingDirectory=: %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf("WorkingDirectory=: %s is not a directory", dir)
		}
	}
	return nil
}
