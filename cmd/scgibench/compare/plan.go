package compare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/compare/servers"
)

// A Plan says what to measure, and how long.
type Plan struct {
	Form        string // its name, for the report
	Experiments []Experiment
	Servers     []string      // names of kinds; nil for all
	Rounds      int           // of each load, in turns with all other servers
	Duration    time.Duration // of one round
	Patience    time.Duration // how long a server may take to its first good answer
	Calls       int64         // requests under strace; 0 for none
	Starts      int           // times each server is started for the first answer; 0 for none
	StartWith   []int         // workers for that
	GrowTo      int           // workers that one grows to under a burst; 0 for none
	GrowTime    time.Duration // how long to wait for that
	Limit       time.Duration // nothing new begins after that, but first rounds of a group that has; 0 for no limit
}

// An Experiment is one application at some numbers of workers under some loads.
type Experiment struct {
	App     string
	Workers []int
	Clients []Clients
}

// Clients are a number of them that send at the same time, each with a pause
// between two requests.
type Clients struct {
	N     int
	Pause time.Duration
}

func (c Clients) String() string {
	if c.Pause > 0 {
		return fmt.Sprintf("%d+%v", c.N, c.Pause)
	}
	return strconv.Itoa(c.N)
}

// ParseClients reads what String writes, such as 32 or 1+2ms.
func ParseClients(s string) (c Clients, err error) {
	number, pause, paused := strings.Cut(s, "+")
	c.N, err = strconv.Atoi(number)
	if err == nil && paused {
		c.Pause, err = time.ParseDuration(pause)
	}
	if err != nil || c.N < 1 || c.N > 1024 || c.Pause < 0 {
		return c, fmt.Errorf("%q is not a number of clients such as 32, or 1+2ms for one that pauses", s)
	}
	return c, nil
}

var (
	one    = Clients{N: 1}
	many   = Clients{N: 32}
	paused = Clients{N: 1, Pause: 2 * time.Millisecond}
)

// Full is the plan whose figures are worth quoting: some half an hour.
func Full() Plan {
	web := []Clients{one, {N: 16}, {N: 64}}
	sizes := []int{1, 4, 16, 64}
	return Plan{
		Form: "full",
		Experiments: []Experiment{
			{"hello", sizes, []Clients{one, {N: 2}, many, paused}},
			{"cpu", sizes, []Clients{one, {N: 2}, many, paused}},
			{"django", []int{1, 2, 4, 8, 16, 64}, web},
			{"rows", []int{1, 2, 4, 8, 16, 64}, web},
			{"cgi-c", []int{4}, []Clients{one, {N: 8}}},
			{"cgi-sh", []int{4}, []Clients{one, {N: 8}}},
			{"cgi-python", []int{4}, []Clients{one, {N: 8}}},
			{"php", []int{4}, web},
		},
		Rounds: 5, Duration: 600 * time.Millisecond, Calls: 500, Patience: time.Minute,
		Starts: 7, StartWith: []int{1, 16}, GrowTo: 16, GrowTime: 20 * time.Second,
	}
}

// Short is for a look after a change: under three minutes, so with few rounds,
// and fewer where the machine is slow. What matters most comes first: the last
// groups are those that a slow machine has no time for.
func Short() Plan {
	return Plan{
		Form: "short",
		Experiments: []Experiment{
			{"hello", []int{4}, []Clients{one, many, paused}},
			{"rows", []int{8}, []Clients{one, {N: 16}}},
			{"cgi-c", []int{4}, []Clients{one}},
			{"cpu", []int{4}, []Clients{many}},
			{"hello", []int{16}, []Clients{one, many, paused}},
			{"django", []int{8}, []Clients{one, {N: 16}}},
			{"php", []int{4}, []Clients{one}},
			{"cgi-sh", []int{4}, []Clients{one}},
			{"cgi-python", []int{4}, []Clients{one}},
		},
		Rounds: 3, Duration: 250 * time.Millisecond, Calls: 100, Patience: 40 * time.Second,
		Starts: 2, StartWith: []int{16}, GrowTo: 16, GrowTime: 3 * time.Second,
		Limit: 145 * time.Second,
	}
}

// Select leaves the applications and servers that are named, all for none, and
// puts numbers of workers and clients in place of the plan's own. The time to
// the first answer and the growth are the applications start and growth. A name
// that does not exist is an error.
func (p *Plan) Select(kinds []servers.Kind, apps, names []string, workers []int, clients []Clients) error {
	for _, name := range names {
		if !slices.ContainsFunc(kinds, func(k servers.Kind) bool { return k.Name == name }) {
			return fmt.Errorf("there is no server %q; there are %s", name, strings.Join(kindNames(kinds), ", "))
		}
	}
	p.Servers = names
	for _, n := range workers {
		if n < 1 || n > 1024 {
			return fmt.Errorf("%d workers: not between 1 and 1024", n)
		}
	}
	if len(apps) > 0 {
		if err := p.only(apps); err != nil {
			return err
		}
	}
	if len(workers) > 0 { // an application is there once for each of its own
		p.Experiments = slices.CompactFunc(slices.SortedStableFunc(slices.Values(p.Experiments), byApp), func(a, b Experiment) bool { return a.App == b.App })
	}
	for i := range p.Experiments {
		e := &p.Experiments[i]
		if len(workers) > 0 {
			e.Workers = workers
		}
		if len(clients) > 0 {
			e.Clients = clients
		}
	}
	return nil
}

// groups counts the applications with one number of workers each.
func (p *Plan) groups() (n int) {
	for _, e := range p.Experiments {
		n += len(e.Workers)
	}
	return n
}

// byApp sorts as Apps does.
func byApp(a, b Experiment) int {
	names := appNames()
	return slices.Index(names, a.App) - slices.Index(names, b.App)
}

// What can be measured of hello besides requests, as names of applications.
const (
	startApp  = "start"
	growthApp = "growth"
)

// only leaves the applications that are named.
func (p *Plan) only(apps []string) error {
	var selected []Experiment
	for _, app := range apps {
		found := false
		for _, e := range p.Experiments {
			if e.App == app {
				selected, found = append(selected, e), true
			}
		}
		switch {
		case found:
		case app != startApp && app != growthApp:
			return fmt.Errorf("there is no application %q; there are %s", app, strings.Join(appNames(), ", "))
		}
	}
	p.Experiments = selected
	if !slices.Contains(apps, startApp) {
		p.Starts = 0
	}
	if !slices.Contains(apps, growthApp) {
		p.GrowTo = 0
	}
	return nil
}

func kindNames(kinds []servers.Kind) (names []string) {
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return names
}

func appNames() (names []string) {
	for _, a := range servers.Apps() {
		names = append(names, a.Name)
	}
	return append(names, startApp, growthApp)
}
