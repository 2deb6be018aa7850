package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/master"
	"github.com/scgid/scgid/master/config"
)

// A source is where a pool's configuration comes from, in the words of the
// command line. It is read again at each reload.
type source struct {
	Run     bool  // scgid run, not serve
	Names   texts // of serve: a pool
	File    texts // of serve: the value of --config, if any
	Name    texts // of run: the pool's
	Command texts // of run
	Set     texts
	Listen  texts // of run: where it listens
	Given   bool  // by --listen
}

// read returns the configuration as it is now.
func (s source) read() (*config.Config, error) {
	if s.Run {
		// The command's words are its user's own, not the file's syntax.
		conf, err := config.FromSettings(s.Name.first(), s.Set, s.Command)
		if err == nil && len(s.Listen) > 0 {
			conf.ListenOn(s.Listen, s.Given)
		}
		return conf, err
	}
	return load(s.Names, s.File.first(), s.Set)
}

// texts are words that need not be UTF-8, and come through JSON as they are.
type texts []string

// first returns the first text, "" without any.
func (t texts) first() string {
	if len(t) == 0 {
		return ""
	}
	return t[0]
}

// MarshalJSON writes bytes.
func (t texts) MarshalJSON() ([]byte, error) {
	var raw [][]byte
	for _, s := range t {
		raw = append(raw, []byte(s))
	}
	return json.Marshal(raw)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *texts) UnmarshalJSON(b []byte) error {
	var raw [][]byte
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*t = nil
	for _, s := range raw {
		*t = append(*t, string(s))
	}
	return nil
}

// reread makes what the master calls at a reload. began is the configuration
// that it was started with, which decides all that a reload cannot change.
func reread(from source, began *config.Config, sockets []*activation.Socket) func() (master.Settings, []string, error) {
	return func() (master.Settings, []string, error) {
		conf, err := from.read()
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

// listenNote says which process holds the sockets, and what to do there.
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
	return fmt.Sprintf("Listen= or ListenMode= has changed, but the pool continues to listen on %s: that takes a restart", strings.Join(at, ", "))
}
