package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/scgid/scgid/activation"
)

// smallBacklog is a limit below which a short burst is enough to have
// connections refused.
const smallBacklog = 128

// checkBacklogs asks the kernel how much waits in front of each listener.
func (d *doctor) checkBacklogs(context.Context) {
	const what = "backlog"
	for _, text := range d.where {
		to, err := parseEndpoint(text)
		if err != nil {
			continue // told already
		}
		n, limit, err := d.backlog(to)
		if err != nil {
			d.add(skipped, what, fmt.Sprintf("%s: %v", to, err), "")
			continue
		}
		g, hint := gradeBacklog(n, limit, somaxconn(), d.name)
		d.add(g, what, fmt.Sprintf("%s: %s", to, fill(n, limit)), hint)
	}
}

// backlog asks the kernel, and where that does not tell, the master.
func (d *doctor) backlog(to endpoint) (n, limit int, err error) {
	if n, limit, err = activation.BacklogAt(to.network, to.address); err == nil {
		return n, limit, nil
	}
	if d.status != nil {
		for _, l := range d.status.Queue.Listeners {
			if l.Address == to.address && l.Backlog >= 0 && l.BacklogLimit > 0 {
				return l.Backlog, l.BacklogLimit, nil
			}
		}
	}
	return 0, 0, err
}

// gradeBacklog grades n waiting connections of at most limit; most is the kernel's
// bound on every limit, which no unit can raise.
func gradeBacklog(n, limit, most int, pool string) (g grade, hint string) {
	raise := "raise Backlog= in scgid@" + pool + ".socket"
	switch {
	case n >= limit:
		return bad, "it is full, and web servers cannot connect: scgictl explain " + pool + " says why; " + raise
	case n >= limit-limit/5:
		return bad, "it is nearly full: scgictl explain " + pool + " says why; " + raise
	case limit < smallBacklog && limit == most:
		return notable, fmt.Sprintf("the kernel allows no more than %d: sysctl -w net.core.somaxconn=4096, then restart the pool", most)
	case limit < smallBacklog:
		return notable, "a short burst fills it: " + raise
	}
	return good, ""
}

// somaxconn is the kernel's bound on every backlog, see listen(2); 0 if it is
// not known.
func somaxconn() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}
