package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// listTime is how long a pool may take to answer list: one that hangs must not
// keep the others from being shown.
const listTime = 3 * time.Second

// A listed pool is one that runs, or that systemd listens for, as list shows it.
type listed struct {
	Name   string          `json:"name"`
	Socket string          `json:"socket"`           // control socket; "" where no master runs
	User   bool            `json:"user"`             // the user's own
	Status *control.Status `json:"status,omitempty"` // absent where Error or Idle says why
	Error  string          `json:"error,omitempty"`
	Idle   *idlePool       `json:"idle,omitempty"` // as systemd knows the pool, where no master runs
}

func listCommand(c *ctl) *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "List the pools of this machine and user",
		Long:              "list shows the pools that run on this machine, and those that wait for their\nfirst request: those of the system, and this user's own. The socket is the one\nthat the web server connects to.",
		ValidArgsFunction: cobra.NoFileCompletions,
		Args:              arguments(cobra.NoArgs),
		RunE:              func(cmd *cobra.Command, _ []string) error { return c.list(cmd.Context()) },
	}
}

// list shows those that answer, and those that should but do not.
func (c *ctl) list(ctx context.Context) error {
	if c.socket != "" {
		return usage("list takes no --socket", "scgictl status --socket "+c.socket)
	}
	found, err := c.sockets()
	if err != nil {
		return fmt.Errorf("cannot look for pools: %v", err)
	}
	pools := withIdle(askAll(ctx, found), c.idlePools(ctx))
	return c.show(pools, func(s *screen) {
		if len(pools) == 0 {
			s.line("no pool runs here")
			return
		}
		s.list(pools)
	})
}

// askAll asks all pools at the same time. It leaves out sockets that a master
// left behind.
func askAll(ctx context.Context, found []api.Found) []listed {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	asked, stale := make([]listed, len(found)), make([]bool, len(found))
	var all sync.WaitGroup
	for i, f := range found {
		all.Add(1)
		go func() {
			defer all.Done()
			asked[i] = listed{Name: f.Name, Socket: f.Socket, User: f.User}
			st, err := api.NewClient(f.Socket).Status(ctx)
			if err != nil {
				asked[i].Error = err.Error()
				stale[i] = isNotRunning(err)
				return
			}
			asked[i].Status = &st
		}()
	}
	all.Wait()
	pools := make([]listed, 0, len(asked))
	for i, p := range asked {
		if !stale[i] {
			pools = append(pools, p)
		}
	}
	return pools
}

func isNotRunning(err error) bool {
	var e *control.Error
	return errors.As(err, &e) && e.Code == control.CodeNotRunning
}

// withIdle adds the pools that only systemd knows; those of the system stay first.
func withIdle(pools []listed, idle []idlePool) []listed {
	for i := range idle {
		p := &idle[i]
		if slices.ContainsFunc(pools, func(q listed) bool { return q.Name == p.Name && q.User == p.user }) {
			continue
		}
		pools = append(pools, listed{Name: p.Name, User: p.user, Idle: p})
	}
	slices.SortStableFunc(pools, func(a, b listed) int {
		switch {
		case a.User == b.User:
			return strings.Compare(a.Name, b.Name)
		case a.User:
			return 1
		}
		return -1
	})
	return pools
}

// webSocket is where the web server finds a pool. A pool may listen at several
// places: the first is shown, and status shows them all.
func (p *listed) webSocket() string {
	var all []control.Listener
	switch {
	case p.Idle != nil:
		all = p.Idle.Listeners
	case p.Status != nil:
		all = p.Status.Queue.Listeners
	}
	if len(all) == 0 {
		return "-"
	}
	return all[0].Address
}

// listColumns are those of list. What is not needed to find a pool is left out
// where a socket would not fit whole.
var listColumns = []column{
	{head: "NAME"}, {head: "STATE"}, {head: "BUSY", right: true}, {head: "WAITING", right: true},
	{head: "SERVED", right: true}, {head: "UP", right: true}, {head: "SOCKET", wide: true},
}

// list prints a line for each pool. One that does not answer has its line, too: it
// is the one that somebody looks for.
func (s *screen) list(pools []listed) {
	t := &table{columns: slices.Clone(listColumns)}
	for i := range pools {
		p := &pools[i]
		name, socket := span{bold, p.Name}, p.webSocket()
		switch st := p.Status; {
		case p.Idle != nil:
			t.row(name, stateSpan(p.Idle.State), "-", "-", "-", "-", socket)
		case st == nil:
			t.row(name, span{red, "no answer"}, "-", "-", "-", "-", p.Socket)
		case nameOnly(st):
			t.row(name, stateSpan(st.State), "-", "-", "-", "-", socket)
		default:
			t.row(name, stateSpan(st.State), fmt.Sprintf("%d/%d", st.Workers.Busy, st.Limits.MaxWorkers),
				count(st.Queue.Waiting), count(st.Requests.Served), ago(st.Since), socket)
		}
	}
	for _, head := range []string{"UP", "WAITING", "SERVED", "BUSY"} {
		if s.fits(t) {
			break
		}
		t.drop(head)
	}
	s.table(t)
}
