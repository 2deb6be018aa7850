package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/master"
	"github.com/scgid/scgid/master/config"
)

// checkStateName is the command with which a new program is tried. The master
// calls it, not people.
const checkStateName = "check-state"

// flushBefore is how long lines of the log may take before another program is
// executed because this one cannot continue.
const flushBefore = 200 * time.Millisecond

// A handoverState is what the program that takes over gets of a pool, beside the
// master's own state.
type handoverState struct {
	Name    string
	Adhoc   bool
	Hangup  bool // with its terminal it ends
	Program []byte
	From    source
	Control config.Control // as configured, like the next two

	Listen     texts
	ListenMode os.FileMode

	Access  control.Access // what Control means, with the numbers of groups
	Sockets []activation.Handed
	Socket  *api.Handed // the control socket
	Record  int         // descriptor of the record for the case of a crash; 0 is none
	Log     lostLog     // what the log of this program has lost
}

// handover tells the master how to execute its successor.
func (p *pool) handover() master.Handover {
	h := master.Handover{
		Program: p.program, Args: os.Args,
		Carry:    p.carry,
		Fence:    func() { fenceSignals(p.signals) },
		Unfence:  func() { unfenceSignals(p.signals) },
		Check:    []string{checkStateName},
		CheckEnv: activation.CleanEnviron(os.Environ()),
	}
	if p.how.http != "" {
		h.Refuse = "it serves HTTP itself (--http), and these connections would be cut; restart it instead"
	}
	return h
}

// carry lends the descriptors.
func (p *pool) carry() (json.RawMessage, []int, error) {
	c := handoverState{
		Name: p.conf.Name, Adhoc: p.how.adhoc, Hangup: p.how.hangup, Program: []byte(p.program), From: p.how.from,
		Control: p.conf.Control, Listen: p.conf.Pool.Listen, ListenMode: p.conf.Pool.ListenMode, Access: p.access,
		Log: p.log.leave(),
	}
	var fds []int
	for _, s := range p.sockets {
		h := s.HandOver()
		c.Sockets = append(c.Sockets, h)
		fds = append(fds, h.FD)
	}
	if p.control != nil {
		h, err := api.HandOver(p.control)
		if err != nil {
			return nil, nil, err
		}
		c.Socket = &h
		fds = append(fds, h.FD, h.File)
	}
	if p.record != nil {
		c.Record = p.record.FD()
		fds = append(fds, c.Record)
	}
	text, err := json.Marshal(c)
	return text, fds, err
}

// readHandoverState reads what carry wrote, and nothing else.
func readHandoverState(st *master.State) (*handoverState, error) {
	c := &handoverState{}
	d := json.NewDecoder(strings.NewReader(string(st.App)))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, err
	}
	if err := config.CheckName(c.Name); err != nil {
		return nil, err
	}
	if len(c.Sockets) == 0 || !filepath.IsAbs(string(c.Program)) {
		return nil, fmt.Errorf("it has %d listening sockets, and the program %q", len(c.Sockets), c.Program)
	}
	return c, nil
}

func checkStateCommand() *cobra.Command {
	return &cobra.Command{
		Use:    checkStateName,
		Short:  "Say whether this program could take over a master's state",
		Hidden: true,
		Args:   args(cobra.NoArgs, "scgid itself calls it"),
		RunE: func(c *cobra.Command, _ []string) error {
			return master.Answer(c.OutOrStdout(), func(st *master.State) error {
				_, err := readHandoverState(st)
				return err
			})
		},
	}
}

// ownProgram is the path under which a newer program will be found. Where the
// service manager or the shell named a path, that: it may be a link that an
// upgrade changes. The kernel's name of the running file follows links, and
// says what became of the file later.
func ownProgram() (string, error) {
	running, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	if name := os.Args[0]; filepath.IsAbs(name) {
		if info, err := os.Stat(name); err == nil && os.SameFile(info, running) {
			return filepath.Clean(name), nil
		}
	}
	path, err := os.Executable()
	return strings.TrimSuffix(path, " (deleted)"), err
}
