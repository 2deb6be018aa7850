// Package compare measures scgid beside its peers and its floor: the same
// applications, the same loads, in turns in one run.
//
// Run starts all servers of a group together, warms them up until every worker
// has served, and then loads one after the other, round by round, so that what
// slows the machine down for a while slows all of them. It owns the servers
// until it returns. It judges nothing: a figure is never an error, and a server
// that is not there is a line that says how to get it. It prints nothing;
// package report does.
package compare

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/compare/servers"
	"github.com/scgid/scgid/cmd/scgibench/cost"
)

// A comparison is one Run.
type comparison struct {
	kit    *servers.Kit
	plan   Plan
	say    func(string)
	report *Report
	missed map[Missing]bool
	due    time.Time // when the group that is being measured has had its part of the plan's limit
}

// Run carries the plan out and reports. say is told what is going on, a line at
// a time. The end of ctx ends it early, with what there is.
func Run(ctx context.Context, kit *servers.Kit, plan Plan, say func(string)) *Report {
	began := time.Now()
	c := &comparison{kit: kit, plan: plan, say: say, missed: map[Missing]bool{}, report: &Report{Form: plan.Form, Began: began}}
	c.report.Machine = machine()
	c.report.Machine.Rounds = kit.Rounds
	groups, n := plan.groups(), 0
	for _, e := range plan.Experiments {
		for _, workers := range e.Workers {
			n++
			c.due = began.Add(plan.Limit * time.Duration(n) / time.Duration(groups+1)) // one more for the rest
			c.group(ctx, e, workers)
		}
	}
	c.due = began.Add(plan.Limit)
	if plan.Starts > 0 && ctx.Err() == nil {
		c.say("time to the first answer")
		c.firstAnswers(ctx)
	}
	if plan.GrowTo > 0 && ctx.Err() == nil {
		c.say(fmt.Sprintf("growth to %d workers", plan.GrowTo))
		c.growths(ctx)
	}
	c.report.Interrupted = ctx.Err() != nil
	c.about()
	c.report.Versions = kit.Versions(context.WithoutCancel(ctx))
	c.report.Seconds = time.Since(began).Seconds()
	return c.report
}

// about says what the servers are that have a row.
func (c *comparison) about() {
	for _, k := range c.kit.Kinds {
		if slices.ContainsFunc(c.report.Rows, func(r Row) bool { return r.Server == k.Name }) {
			c.report.Servers = append(c.report.Servers, About{k.Name, k.About})
		}
	}
}

// late tells that the plan's time is over.
func (c *comparison) late() bool {
	return c.plan.Limit > 0 && time.Since(c.report.Began) > c.plan.Limit
}

// overdue tells that the group has had its part of the time, so that what comes
// later has its own.
func (c *comparison) overdue() bool { return c.plan.Limit > 0 && time.Now().After(c.due) }

// app is the application of that name, which exists.
func (c *comparison) app(name string) servers.App {
	apps := servers.Apps()
	return apps[slices.IndexFunc(apps, func(a servers.App) bool { return a.Name == name })]
}

// kinds are those that the plan wants, that have the application, and that lack
// nothing for it.
func (c *comparison) kinds(ctx context.Context, app string) (kinds []servers.Kind) {
	for _, k := range c.kit.Kinds {
		if !k.Serves(app) || c.plan.Servers != nil && !slices.Contains(c.plan.Servers, k.Name) {
			continue
		}
		if why := c.kit.Missing(ctx, k, c.app(app)); why != "" {
			c.missing(Missing{k.Name, app, why})
			continue
		}
		kinds = append(kinds, k)
	}
	return kinds
}

// missing notes what could not be measured, once.
func (c *comparison) missing(m Missing) {
	if !c.missed[m] {
		c.missed[m] = true
		c.report.Missing = append(c.report.Missing, m)
	}
}

func (c *comparison) miss(kind servers.Kind, app string, err error) {
	c.missing(Missing{kind.Name, app, err.Error()})
}

// group measures all servers with one application and number of workers.
func (c *comparison) group(ctx context.Context, e Experiment, workers int) {
	if ctx.Err() != nil || c.late() {
		c.skipped(ctx, e, workers)
		return
	}
	c.say(fmt.Sprintf("%s, workers: %d", e.App, workers))
	running := c.startAll(ctx, e, workers)
	defer func() {
		for _, s := range running {
			if err := s.Stop(); err != nil {
				c.miss(s.Kind, e.App, fmt.Errorf("did not stop cleanly: %w", err))
			}
		}
	}()
	for _, clients := range e.Clients {
		c.rounds(ctx, e, running, clients)
	}
	for _, s := range running {
		c.pool(ctx, e, s, workers == e.Workers[0] && !c.counted(e.App, s))
	}
}

func (c *comparison) skipped(ctx context.Context, e Experiment, workers int) {
	why := fmt.Sprintf("workers: %d: the time was over", workers)
	if ctx.Err() != nil {
		why = fmt.Sprintf("workers: %d: interrupted", workers)
	}
	c.missing(Missing{"all", e.App, why})
}

// startAll starts and warms up every server of the group, and makes its Pool.
func (c *comparison) startAll(ctx context.Context, e Experiment, workers int) (running []*servers.Server) {
	for _, kind := range c.kinds(ctx, e.App) {
		s, err := c.kit.Start(kind, c.app(e.App), workers)
		if err != nil {
			c.miss(kind, e.App, err)
			continue
		}
		served := 0
		if !kind.Spawns() {
			if _, err = c.ready(ctx, s); err == nil {
				served, err = warm(ctx, s)
			}
		}
		if err != nil {
			c.miss(kind, e.App, err)
			s.Stop()
			continue
		}
		running = append(running, s)
		c.report.Pools = append(c.report.Pools, Pool{App: e.App, Server: kind.Name, Workers: workers, Served: served})
	}
	return running
}

// ready waits for the server as long as the plan allows.
func (c *comparison) ready(ctx context.Context, s *servers.Server) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, c.plan.Patience)
	defer cancel()
	return ready(ctx, s)
}

// rounds measures one load: all servers in turns, round after round.
func (c *comparison) rounds(ctx context.Context, e Experiment, running []*servers.Server, clients Clients) {
	rows := make([]Row, len(running))
	for i, s := range running {
		rows[i] = Row{App: e.App, Server: s.Kind.Name, Workers: s.Workers, Clients: clients.String()}
	}
	dead := map[int]bool{}
	for n := range c.plan.Rounds {
		if ctx.Err() != nil || n > 0 && c.overdue() {
			break
		}
		for i, s := range running {
			if dead[i] {
				continue
			}
			sample, err := round(ctx, s, clients, c.plan.Duration)
			if err != nil {
				c.miss(s.Kind, e.App, err)
				dead[i] = true
				continue
			}
			rows[i].Rounds = append(rows[i].Rounds, sample)
		}
	}
	for _, row := range rows {
		if len(row.Rounds) > 0 {
			c.report.Rows = append(c.report.Rows, row)
		}
	}
}

// pool fills in what is seen of a server after its rounds. System calls are
// counted last, since that disturbs everything.
func (c *comparison) pool(ctx context.Context, e Experiment, s *servers.Server, calls bool) {
	p := c.report.FindPool(e.App, s.Kind.Name, s.Workers)
	if p == nil || s.Kind.Spawns() || ctx.Err() != nil {
		return
	}
	if snapshot, err := cost.Take(s.Pid); err == nil {
		p.Processes = snapshot.Since(snapshot).Processes
	}
	if master, tree, err := cost.PSS(s.Pid); err == nil {
		p.MasterPSS, p.PSS = float64(master)/(1<<20), float64(tree)/(1<<20)
	}
	// Of hello they are wanted most, and cost what no load on the machine changes.
	late := c.overdue()
	if s.App.Name == "hello" {
		late = c.late()
	}
	if calls && c.plan.Calls > 0 && s.App.Sleep && s.App.Name != "cpu" && !late {
		c.count(ctx, s, p)
	}
}

// counted tells that the system calls of the server are known already.
func (c *comparison) counted(app string, s *servers.Server) bool {
	return slices.ContainsFunc(c.report.Pools, func(p Pool) bool { return p.App == app && p.Server == s.Kind.Name && p.Calls != nil })
}

// count counts the system calls of requests by one client.
func (c *comparison) count(ctx context.Context, s *servers.Server, p *Pool) {
	l := s.Load()
	l.Requests = c.plan.Calls
	var failed error
	counts, err := cost.CountSyscalls(s.Pid, func() { _, failed = l.Run(ctx) })
	if err == nil {
		err = failed
	}
	if err != nil {
		c.missing(Missing{s.Kind.Name, s.App.Name, fmt.Sprintf("system calls: %v", err)})
		return
	}
	p.Calls = map[string]float64{}
	for name, n := range counts {
		p.Calls[name] = float64(n) / float64(l.Requests)
	}
}
