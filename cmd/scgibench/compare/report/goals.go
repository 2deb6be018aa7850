package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/scgid/scgid/cmd/scgibench/compare"
)

// A goal is one line of the table of goals: a figure of ours at several points,
// and what it should be at these.
type goal struct {
	what  string
	want  string
	found func(f *finder) []string
}

// A finder takes figures from a report for one pool of ours.
type finder struct {
	*compare.Report
	subject string // scgid-python, or a variant of it
}

// allGoals are ratios to what is measured in the same run, except where a unit
// is given.
var allGoals = []goal{
	{"Python hello, CPU beside the scgi package; workers 4 / 16 / 64", "<= 0.60", hello("scgi")},
	{"Python hello, CPU beside uWSGI --thunder-lock; workers 4 / 16 / 64", "<= 1.3 / 1.0 / 0.6", hello("uwsgi")},
	{"Python hello, CPU beside the C dispatcher and a bare loop; workers 4 / 16 / 64", "<= 1.0", hello("floor-python")},
	{"Python hello, CPU with 64 workers beside 1", "<= 1.25", (*finder).growthOfCPU},
	{"Python hello, one client with pauses, CPU beside the bare loop; workers 4 / 16 / 64", "<= 1.25", pausedBeside(compare.CPU)},
	{"Python hello, one client with pauses, p50 beside the bare loop; workers 4 / 16 / 64", "<= 1.15", pausedBeside(compare.P50)},
	{"master alone beside the C dispatcher's; clients 1 / 32 / 1+2ms", "<= 1.0", (*finder).masterAlone},
	{"Go hello, CPU beside the C dispatcher and C worker; workers 4 / 16 / 64", "<= 1.8", (*finder).goHello},
	{"Go hello, system calls", "<= 16", (*finder).goCalls},
	{"Python hello, system calls, master and worker", "<= 11", (*finder).calls},
	{"Python hello, PSS together, MiB; workers 16 / 64", "default <= 60 / 200, preloaded <= 25 / 60", (*finder).pss},
	{"Django hello, req/s beside the best of uWSGI and gunicorn; 8 workers, clients 1 / 16 / 64", ">= 1.6 / 1.15 / 1.15", django("django", compare.Rate)},
	{"Django, 50 rows, req/s beside the best of uWSGI and gunicorn; 8 workers, clients 1 / 16 / 64", ">= 1.2 / 1.15 / 1.15", django("rows", compare.Rate)},
	{"Django hello, p99 beside the best; clients 1 / 16 / 64", "<= 0.8", django("django", compare.P99)},
	{"Django, 50 rows, p99 beside the best; clients 1 / 16 / 64", "<= 0.8", django("rows", compare.P99)},
	{"Django hello, req/s with 8 workers beside gunicorn with one for each CPU; clients 1 / 16 / 64", ">= 1.1 / 1.05 / 1.0", besideFew("django")},
	{"Django, 50 rows, req/s with 8 workers beside gunicorn with one for each CPU; clients 1 / 16 / 64", ">= 1.1 / 1.05 / 1.0", besideFew("rows")},
	{"Django, PSS beside the least of uWSGI and gunicorn, 8 workers", "preloaded <= 1.0", (*finder).djangoPSS},
	{"2 ms of Python, req/s beside the best peer; workers 4 / 16 / 64", ">= 1.0", cpuBound(compare.Rate)},
	{"2 ms of Python, p99 beside the best peer; workers 4 / 16 / 64", "<= 1.0", cpuBound(compare.P99)},
	{"master's PSS, MiB", "<= 9", (*finder).masterPSS},
	{"growth from 1 to 16 workers in a burst, ms", "preloaded <= 120", (*finder).growth},
	{"CGI hello in C, CPU beside posix_spawn", "<= 1.3", cgi("spawn")},
	{"CGI hello in C, CPU beside fcgiwrap", "<= 0.7", cgi("fcgiwrap")},
	{"requests that failed", "0", (*finder).failed},
}

// goals writes the table for each pool of scgi-wsgi, with the lines that have a
// figure.
func goals(t *table, r *compare.Report) {
	for _, s := range r.Servers {
		if !strings.HasPrefix(s.Name, "scgid-python") {
			continue
		}
		t.line("\nGoals of %s", s.Name)
		t.row("", "goal", "figure")
		f := &finder{r, s.Name}
		for _, g := range allGoals {
			if found := g.found(f); len(found) > 0 {
				t.row("  "+g.what, g.want, strings.Join(found, " / "))
			}
		}
	}
}

var sizes = []int{4, 16, 64}

// beside is the ratio of two rows as text, a dash where one is missing.
func beside(a, b *compare.Row, m compare.Metric) string {
	if a == nil || b == nil {
		return "-"
	}
	return ratio(a.Ratio(b, m))
}

// known drops a list without any figure.
func known(points ...string) []string {
	if !slices.ContainsFunc(points, func(p string) bool { return p != "-" }) {
		return nil
	}
	return points
}

// each makes a point for each of the sizes.
func each(point func(workers int) string) []string {
	var points []string
	for _, n := range sizes {
		points = append(points, point(n))
	}
	return known(points...)
}

func hello(peer string) func(*finder) []string {
	return func(f *finder) []string {
		return each(func(n int) string {
			return beside(f.Find("hello", f.subject, n, "32"), f.Find("hello", peer, n, "32"), compare.CPU)
		})
	}
}

func (f *finder) growthOfCPU() []string {
	return known(beside(f.Find("hello", f.subject, 64, "32"), f.Find("hello", f.subject, 1, "32"), compare.CPU))
}

func pausedBeside(m compare.Metric) func(*finder) []string {
	return func(f *finder) []string {
		return each(func(n int) string {
			return beside(f.Find("hello", f.subject, n, "1+2ms"), f.Find("hello", "floor-python", n, "1+2ms"), m)
		})
	}
}

// masterAlone compares the masters with the same C worker behind both.
func (f *finder) masterAlone() []string {
	var points []string
	for _, clients := range []string{"1", "32", "1+2ms"} {
		points = append(points, beside(f.Find("hello", "scgid-c", 4, clients), f.Find("hello", "floor-c", 4, clients), compare.Master))
	}
	return known(points...)
}

func (f *finder) goHello() []string {
	return each(func(n int) string {
		return beside(f.Find("hello", "scgid-go", n, "32"), f.Find("hello", "floor-c", n, "32"), compare.CPU)
	})
}

// callsOf finds the one number of workers at which they were counted.
func (f *finder) callsOf(server string) []string {
	for i := range f.Pools {
		if p := &f.Pools[i]; p.App == "hello" && p.Server == server && p.Calls != nil {
			return []string{fmt.Sprintf("%.1f", p.CallsPerRequest())}
		}
	}
	return nil
}

func (f *finder) goCalls() []string { return f.callsOf("scgid-go") }
func (f *finder) calls() []string   { return f.callsOf(f.subject) }

func (f *finder) pss() []string {
	var points []string
	for _, n := range []int{16, 64} {
		points = append(points, mib(f.FindPool("hello", f.subject, n)))
	}
	return known(points...)
}

func mib(p *compare.Pool) string {
	if p == nil || p.PSS == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", p.PSS)
}

func (f *finder) masterPSS() []string {
	for i := range f.Pools {
		if p := &f.Pools[i]; p.App == "hello" && p.Server == f.subject && p.MasterPSS > 0 {
			return []string{fmt.Sprintf("%.1f", p.MasterPSS)}
		}
	}
	return nil
}

// best is the peer with the best median: the most requests, or the least of
// anything else.
func (f *finder) best(app string, peers []string, workers int, clients string, m compare.Metric) (best *compare.Row) {
	for _, name := range peers {
		row := f.Find(app, name, workers, clients)
		if row == nil {
			continue
		}
		if best == nil || (m.Name == compare.Rate.Name) == (row.Figure(m).Median > best.Figure(m).Median) {
			best = row
		}
	}
	return best
}

var webPeers = []string{"uwsgi", "gunicorn"}

func django(app string, m compare.Metric) func(*finder) []string {
	return func(f *finder) []string {
		var points []string
		for _, clients := range []string{"1", "16", "64"} {
			points = append(points, beside(f.Find(app, f.subject, 8, clients), f.best(app, webPeers, 8, clients, m), m))
		}
		return known(points...)
	}
}

func besideFew(app string) func(*finder) []string {
	return func(f *finder) []string {
		var points []string
		for _, clients := range []string{"1", "16", "64"} {
			points = append(points, beside(f.Find(app, f.subject, 8, clients), f.Find(app, "gunicorn", f.Machine.CPUs, clients), compare.Rate))
		}
		return known(points...)
	}
}

func (f *finder) djangoPSS() []string {
	ours := f.FindPool("django", f.subject, 8)
	least := 0.0
	for _, name := range webPeers {
		if p := f.FindPool("django", name, 8); p != nil && p.PSS > 0 && (least == 0 || p.PSS < least) {
			least = p.PSS
		}
	}
	if ours == nil || least == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%.2f", ours.PSS/least)}
}

func cpuBound(m compare.Metric) func(*finder) []string {
	return func(f *finder) []string {
		return each(func(n int) string {
			return beside(f.Find("cpu", f.subject, n, "32"), f.best("cpu", []string{"scgi", "uwsgi", "gunicorn"}, n, "32", m), m)
		})
	}
}

func (f *finder) growth() []string {
	for _, g := range f.Growths {
		if g.Server == f.subject && g.Reached == g.To {
			return []string{number(g.MS)}
		}
	}
	return nil
}

func cgi(peer string) func(*finder) []string {
	return func(f *finder) []string {
		return known(beside(f.Find("cgi-c", "scgi-cgi", 4, "1"), f.Find("cgi-c", peer, 4, "1"), compare.CPU))
	}
}

// failed counts our own servers' failed requests, of all rounds.
func (f *finder) failed() []string {
	n := int64(0)
	for i := range f.Rows {
		if strings.HasPrefix(f.Rows[i].Server, "scgid-") || f.Rows[i].Server == "scgi-cgi" {
			n += f.Rows[i].Failed()
		}
	}
	return []string{fmt.Sprint(n)}
}
