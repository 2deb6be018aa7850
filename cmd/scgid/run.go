package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/master/config"
)

func runCommand() *cobra.Command {
	var listen, set []string
	var name, http string
	var verbose bool
	c := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG...]",
		Short: "Serve a pool without a configuration file",
		Long: `Run COMMAND as the worker of a pool, without a configuration file.

Without --listen the pool listens on a Unix socket in the user's runtime
directory; the log says where. It is named after the current directory. On a
terminal, or with --http, each request has a line in the log. It ends when its
terminal does, unless nohup(1) runs it.`,
		Example: `  scgid run --http 127.0.0.1:8080 -- scgi-wsgi app:application
  scgid run --listen /run/wiki.sock --set Pool.MaxWorkers=16 -- scgi-wsgi wiki.wsgi
  scgid run --listen 127.0.0.1:4000 -- scgi-cgi --root /usr/lib/cgi-bin`,
		Args: args(cobra.MinimumNArgs(1), "usage: scgid run -- COMMAND [ARG...]"),
		RunE: func(_ *cobra.Command, command []string) error {
			if name == "" {
				name = runName(command[0])
			}
			if http != "" || term.IsTerminal(int(os.Stderr.Fd())) { // somebody watches
				set = append([]string{"Request.AccessLog=yes"}, set...)
			}
			from := source{Run: true, Name: texts{name}, Command: command, Set: set}
			conf, err := from.read()
			if err != nil {
				return err
			}
			log := newLog(conf.Name, verbose)
			defer log.Flush(flushWithin)
			sockets, stored, err := runSockets(conf, listen)
			if errors.Is(err, syscall.EADDRINUSE) && len(listen) == 0 {
				return hinted{err, "a pool called " + conf.Name + " runs already: give this one another name with --name, or an address with --listen"}
			}
			if err != nil {
				return err
			}
			from.Listen, from.Given = conf.Pool.Listen, len(listen) > 0
			return serve(conf, sockets, log, runMode{adhoc: true, hangup: hasTerminal(), http: http, from: from, stored: stored})
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringArrayVar(&listen, "listen", nil, "listen on `ADDRESS`: /path, @name or host:port (can be repeated)")
	c.Flags().StringVar(&http, "http", "", "also serve HTTP on `ADDRESS`, for trying things out")
	c.Flags().StringVar(&name, "name", "", "`NAME` of the pool (default: that of the current directory)")
	c.Flags().StringArrayVar(&set, "set", nil, "set one `Section.Key=VALUE` of scgid.conf(5) (can be repeated)")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log at level debug")
	return c
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// runName is the name of a pool that has none: that of the directory where it is
// started, so that those of two projects differ, or else that of its command.
func runName(command string) string {
	if dir, err := os.Getwd(); err == nil && dir != "/" {
		return poolName(dir)
	}
	return poolName(command)
}

// hasTerminal says whether we have a controlling terminal, and end with it: unlike
// under nohup(1).
func hasTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	tty.Close()
	return !signal.Ignored(syscall.SIGHUP)
}

// poolName makes the name of a pool from a path.
func poolName(path string) string {
	name := notInName.ReplaceAllString(filepath.Base(path), "_")
	name = strings.TrimLeft(name, ".-")
	name = name[:min(len(name), 32)]
	switch {
	case name == "":
		return "run"
	case config.CheckName(name) != nil: // it ends as a socket does, say
		return strings.ReplaceAll(name, ".", "_")
	}
	return name
}

// runSockets opens what --listen or Listen= names, or takes what was handed
// over, or opens the default. What was handed over besides is returned too.
func runSockets(conf *config.Config, listen []string) (sockets []*activation.Socket, stored []*os.File, err error) {
	given := len(listen) > 0
	if !given {
		sockets, stored, err = activation.Inherited()
		if err != nil || len(sockets) > 0 {
			return sockets, stored, err
		}
		listen = conf.Pool.Listen
	}
	if len(listen) == 0 {
		dir, err := runtimeDir()
		if err != nil {
			return nil, nil, err
		}
		listen = []string{filepath.Join(dir, conf.Name+".sock")}
	}
	for i, addr := range listen {
		// Here, unlike in a file, a relative path has a meaning.
		if strings.Contains(addr, "/") && !strings.HasPrefix(addr, "/") && !strings.Contains(addr, ":") && addr[0] != '@' {
			abs, err := filepath.Abs(addr)
			if err != nil {
				return nil, nil, err
			}
			listen[i] = abs
		}
	}
	conf.ListenOn(listen, given)
	sockets, err = activation.OpenAll(listen, activation.Options{Mode: conf.Pool.ListenMode})
	return sockets, stored, err
}

// runtimeDir returns the user's directory for sockets of pools without a
// file, made if need be.
func runtimeDir() (string, error) {
	base := os.Getenv("XDG_RUNTIME_DIR")
	switch {
	case base != "":
	case os.Geteuid() == 0:
		base = "/run"
	default:
		return "", hinted{errors.New("nothing to listen on: XDG_RUNTIME_DIR is not set"), "name an address with --listen"}
	}
	dir := filepath.Join(base, "scgid")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the directory for the socket: %w", err)
	}
	return dir, nil
}
