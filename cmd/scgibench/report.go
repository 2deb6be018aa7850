package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/scgid/scgid/cmd/scgibench/cost"
	"github.com/scgid/scgid/cmd/scgibench/load"
)

// writeJSON prints the result as one object; the keys are those that --help
// lists.
func writeJSON(w io.Writer, res *load.Result, server *cost.PerRequest) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		*load.Result
		Server *cost.PerRequest `json:"server,omitempty"`
	}{res, server})
}

// writeText prints the result for people.
func writeText(w io.Writer, res *load.Result, server *cost.PerRequest) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }

	row("address", "%s", res.Address)
	row("requests", "%d in %.2f s by %d clients: %d good, %d failed", res.Requests, res.Seconds, res.Clients, res.OK, res.Failed)
	if res.Unfinished > 0 {
		row("unfinished", "%d", res.Unfinished)
	}
	row("rate", "%.0f requests/s", res.PerSecond)
	row("bytes", "%d sent, %d received", res.BytesSent, res.BytesReceived)
	row("statuses", "%s", codes(res.Statuses))
	if res.OK > 0 {
		l := res.Latency
		row("latency", "min\tp50\tp90\tp99\tp99.9\tmax")
		row("", "%s\t%s\t%s\t%s\t%s\t%s", ms(l.Min), ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max))
	}
	// Two tables: the long lines of errors would widen the columns above.
	if err := t.Flush(); err != nil {
		return err
	}
	for _, kind := range load.Kinds() {
		if n := res.Errors[kind]; n > 0 {
			row("error "+kind, "%d\tfirst: %s", n, res.Examples[kind])
		}
	}
	if len(res.BadStatuses) > 0 {
		row("bad statuses", "%s", codes(res.BadStatuses))
	}
	writeServer(row, server)
	row("generator", "%.1f µs CPU/request", res.OwnCPU)
	row("each client", "%s", strings.Trim(fmt.Sprint(res.PerClient), "[]"))
	return t.Flush()
}

// writeServer adds what the server has used. Work of the kernel on its behalf
// (softirq threads) belongs to no process: it is shown apart, for the whole
// machine.
func writeServer(row func(name, format string, args ...any), server *cost.PerRequest) {
	if server == nil {
		return
	}
	part := func(name string, s cost.Share) {
		row(name, "%.1f µs CPU/request, %.2f ctx switches/request", s.CPU, s.Switches)
	}
	part("server: master", server.Master)
	part(fmt.Sprintf("server: all %d", server.Processes), server.Tree)
	row("kernel threads", "%.1f µs CPU/request (whole machine)", server.Kernel)
	if server.Syscalls == nil {
		return
	}
	total := 0.0
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(server.Syscalls)) {
		total += server.Syscalls[name]
		parts = append(parts, fmt.Sprintf("%s %.2f", name, server.Syscalls[name]))
	}
	row("system calls", "%.2f/request: %s", total, strings.Join(parts, ", "))
}

// codes writes statuses in order, as "200: 812, 503: 4".
func codes(m map[int]int64) string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d: %d", code, m[code]))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// ms writes a number of microseconds in the unit in which it has few digits.
func ms(us float64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	case us < 1e6:
		return fmt.Sprintf("%.2f ms", us/1000)
	}
	return fmt.Sprintf("%.2f s", us/1e6)
}
