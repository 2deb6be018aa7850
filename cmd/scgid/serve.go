package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/master/config"
)

func serveCommand() *cobra.Command {
	var file string
	var set []string
	var verbose bool
	c := &cobra.Command{
		Use:   "serve NAME | serve --config FILE",
		Short: "Serve a configured pool",
		Long: `Serve the pool NAME, configured in /etc/scgid/NAME.conf, see scgid.conf(5).

The listening sockets are those that systemd hands over (scgid@NAME.socket);
without any, scgid opens the addresses of Listen=.`,
		Example: "  scgid serve wiki\n  scgid serve --config ./wiki.conf --set Pool.MaxWorkers=4",
		Args:    args(cobra.MaximumNArgs(1), "usage: scgid serve NAME"),
		RunE: func(_ *cobra.Command, names []string) error {
			from := source{Names: names, File: texts{file}, Set: set}
			conf, err := from.read()
			if err != nil {
				return err
			}
			log := newLog(conf.Name, verbose)
			defer log.Flush(flushWithin)
			sockets, stored, err := serveSockets(conf, log)
			if err != nil {
				return err
			}
			return serve(conf, sockets, log, runMode{from: from, stored: stored})
		},
	}
	c.Flags().StringVar(&file, "config", "", "read this `FILE` and no drop-ins")
	c.Flags().StringArrayVar(&set, "set", nil, "override one `Section.Key=VALUE` (can be repeated)")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log at level debug")
	return c
}

// load reads the configuration that the command line names: a pool, or a file.
func load(names []string, file string, set []string) (*config.Config, error) {
	switch {
	case file != "" && len(names) > 0:
		return nil, usageError{errors.New("NAME and --config exclude each other")}
	case file != "":
		conf, err := config.LoadFile(file, set)
		return conf, wrong(err)
	case len(names) == 0:
		return nil, hinted{usageError{errors.New("no pool named")}, "scgid serve NAME, or scgid serve --config FILE"}
	case strings.ContainsRune(names[0], '/'):
		return nil, hinted{usageError{errors.New(names[0] + " is a path, not the name of a pool")}, "scgid serve --config " + names[0]}
	}
	conf, err := config.Load(names[0], config.DefaultRoots, set)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hinted{usageError{err}, "write /etc/scgid/" + names[0] + ".conf, see scgid.conf(5)"}
	}
	return conf, wrong(err)
}

// wrong makes a usage error of an error about the configuration as a whole: it
// is missing, or not a file, or its name cannot be a pool's. Mistakes inside of
// it are told one by one.
func wrong(err error) error {
	if err == nil || errors.As(err, new(config.Errors)) {
		return err
	}
	return usageError{err}
}

// serveSockets returns the inherited sockets, or opens those of the
// configuration, and what the service manager has kept for us.
func serveSockets(conf *config.Config, log logger) ([]*activation.Socket, []*os.File, error) {
	sockets, stored, err := activation.Inherited()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(sockets) > 0 && len(conf.Pool.Listen) > 0:
		log.Warn("systemd holds the sockets, Listen= has no effect", "sockets", addresses(sockets))
		return sockets, stored, nil
	case len(sockets) > 0:
		return sockets, stored, nil
	case len(conf.Pool.Listen) == 0:
		return nil, nil, hinted{errors.New("nothing to listen on: no socket was handed over and Listen= is not set"),
			"start scgid@" + conf.Name + ".socket, or set [Pool] Listen=/run/scgid/" + conf.Name + ".sock"}
	}
	sockets, err = activation.OpenAll(conf.Pool.Listen, activation.Options{Mode: conf.Pool.ListenMode})
	return sockets, stored, err
}

func addresses(sockets []*activation.Socket) string {
	var all []string
	for _, s := range sockets {
		all = append(all, s.Addr())
	}
	return strings.Join(all, " ")
}

// environ returns the environment of workers: the master's without the service
// manager's variables, and over it what the configuration sets.
func environ(conf *config.Config) ([]string, error) {
	env := activation.CleanEnviron(os.Environ())
	own, err := conf.Environ()
	if err != nil {
		return nil, err
	}
	return append(without(env, own), own...), nil
}

// without returns env less the names that own sets.
func without(env, own []string) []string {
	names := map[string]bool{}
	for _, v := range own {
		name, _, _ := strings.Cut(v, "=")
		names[name] = true
	}
	var kept []string
	for _, v := range env {
		if name, _, _ := strings.Cut(v, "="); !names[name] && !strings.HasPrefix(name, "SCGID_") {
			kept = append(kept, v)
		}
	}
	return kept
}
