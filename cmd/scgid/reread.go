package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/master"
	"github.com/scgid/scgid/master/config"
)

// A source is where a pool's configuration comes from: asked again at each
// reload, it says what holds then.
type source func() (*config.Config, error)

// reread makes what the master calls at a reload. began is the configuration
// that it was started with, which decides all that a reload cannot change.
func reread(from source, began *config.Config, sockets []*activation.Socket) func() (master.Settings, []string, error) {
	return func() (master.Settings, []string, error) {
		conf, err := from()
		if err != nil {
			return master.Settings{}, nil, err
		}
		set, err := settings(conf)
		if err != nil {
			return master.Settings{}, nil, err
		}
		return set, unchangeable(began, conf, sockets), nil
	}
}

// unchangeable says what of a new configuration has no effect while the master
// lives, and what to do for it.
func unchangeable(began, conf *config.Config, sockets []*activation.Socket) []string {
	var notes []string
	if was, is := began.Pool.Listen, conf.Pool.Listen; !slices.Equal(was, is) || began.Pool.ListenMode != conf.Pool.ListenMode {
		notes = append(notes, listenNote(began.Name, sockets))
	}
	if began.Control != conf.Control {
		notes = append(notes, "[Control] has changed: that takes a restart")
	}
	return notes
}

// listenNote says who holds the sockets.
func listenNote(name string, sockets []*activation.Socket) string {
	var at []string
	held := false
	for _, s := range sockets {
		at = append(at, s.Addr())
		held = held || s.Inherited()
	}
	if held {
		return fmt.Sprintf("Listen= has changed, but systemd holds the sockets (%s): change ListenStream= of scgid@%s.socket "+
			"(systemctl edit), then systemctl restart scgid@%s.socket", strings.Join(at, ", "), name, name)
	}
	return fmt.Sprintf("Listen= or ListenMode= has changed, but the pool goes on listening on %s: that takes a restart", strings.Join(at, ", "))
}
