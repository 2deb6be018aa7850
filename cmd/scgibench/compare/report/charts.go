package report

import (
	"fmt"
	"slices"

	"github.com/scgid/scgid/cmd/scgibench/compare"
)

// charts are the questions that the report has figures for.
func charts(r *compare.Report) (all []chart) {
	many, paused := onlyClients("32"), onlyClients("1+2ms")
	for _, c := range []chart{
		rowChart(r, "hello-cpu", "Hello, 32 clients: CPU of a request", "µs", []string{"hello"}, compare.CPU, many),
		rowChart(r, "hello-rate", "Hello, 32 clients: requests a second", "requests/s", []string{"hello"}, compare.Rate, many),
		rowChart(r, "hello-paused", "Hello, one client with pauses of 2 ms: CPU of a request", "µs", []string{"hello"}, compare.CPU, paused),
		rowChart(r, "hello-switches", "Hello, 32 clients: context switches of a request", "switches", []string{"hello"}, compare.Switches, many),
		rowChart(r, "cpu-rate", "2 ms of Python, 32 clients: requests a second", "requests/s", []string{"cpu"}, compare.Rate, many),
		rowChart(r, "cpu-p99", "2 ms of Python, 32 clients: p99", "µs", []string{"cpu"}, compare.P99, many),
		rowChart(r, "django-rate", "Django's hello behind nginx: requests a second", "requests/s", []string{"django"}, compare.Rate, nil),
		rowChart(r, "rows-rate", "A Django page of 50 rows behind nginx: requests a second", "requests/s", []string{"rows"}, compare.Rate, nil),
		rowChart(r, "rows-p99", "A Django page of 50 rows behind nginx: p99", "µs", []string{"rows"}, compare.P99, nil),
		rowChart(r, "cgi-cpu", "CGI programs, one client: CPU of a request", "µs", []string{"cgi-c", "cgi-sh", "cgi-python"}, compare.CPU, onlyClients("1")),
		memoryChart(r), startChart(r), growthChart(r),
	} {
		if len(c.series) > 0 {
			all = append(all, c)
		}
	}
	return all
}

func onlyClients(n string) func(*compare.Row) bool {
	return func(r *compare.Row) bool { return r.Clients == n }
}

// A point is one bar.
type point struct {
	group, name string
	value       float64
}

// collect makes groups and series of points, in their order.
func (c chart) collect(points []point) chart {
	for _, p := range points {
		if !slices.Contains(c.groups, p.group) {
			c.groups = append(c.groups, p.group)
		}
	}
	for _, p := range points {
		at := slices.IndexFunc(c.series, func(s series) bool { return s.name == p.name })
		if at < 0 {
			at = len(c.series)
			c.series = append(c.series, series{p.name, make([]float64, len(c.groups))})
		}
		c.series[at].values[slices.Index(c.groups, p.group)] = p.value
	}
	return c
}

// rowChart has a bar for each row of these applications that wanted accepts, all
// for nil.
func rowChart(r *compare.Report, file, title, unit string, apps []string, m compare.Metric, wanted func(*compare.Row) bool) chart {
	var points []point
	for i := range r.Rows {
		row := &r.Rows[i]
		if !slices.Contains(apps, row.App) || wanted != nil && !wanted(row) {
			continue
		}
		group := plural(row.Workers)
		if len(apps) > 1 {
			group = row.App
		} else if wanted == nil {
			group = fmt.Sprintf("%s, clients: %s", group, row.Clients)
		}
		points = append(points, point{group, row.Server, row.Figure(m).Median})
	}
	return chart{file: file, title: title, unit: unit}.collect(points)
}

func plural(workers int) string {
	if workers == 1 {
		return "1 worker"
	}
	return fmt.Sprintf("%d workers", workers)
}

func memoryChart(r *compare.Report) chart {
	var points []point
	for _, p := range r.Pools {
		if p.PSS > 0 && (p.App == "hello" || p.App == "django") {
			points = append(points, point{p.App + ", " + plural(p.Workers), p.Server, p.PSS})
		}
	}
	return chart{file: "memory", title: "Memory of master and workers together, PSS", unit: "MiB"}.collect(points)
}

func startChart(r *compare.Report) chart {
	var points []point
	for _, s := range r.Starts {
		points = append(points, point{plural(s.Workers), s.Server, s.MS.Median})
	}
	return chart{file: "start", title: "From the start to the first good answer", unit: "ms"}.collect(points)
}

func growthChart(r *compare.Report) chart {
	var points []point
	for _, g := range r.Growths {
		if g.Reached == g.To {
			points = append(points, point{"1 to " + plural(g.To), g.Server, g.MS})
		}
	}
	return chart{file: "growth", title: "Growth in a burst, of those that came so far", unit: "ms"}.collect(points)
}
