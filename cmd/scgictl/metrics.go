package main

import (
	"context"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

func metricsCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:    "metrics",
		short:   "Print the metrics for monitoring",
		long:    "metrics prints counts, gauges and histograms in OpenMetrics text, as monitoring\nreads them from the control socket: those of the pool NAME, or of all pools. Each\nhas the pool as a label. With --json each sample is an object.",
		example: "  scgictl metrics wiki\n  scgictl metrics > /var/lib/prometheus/node-exporter/scgid.prom",
		run: func(ctx context.Context, t *target, _ []string) error {
			ctx, cancel := soon(ctx)
			defer cancel()
			text, err := t.Metrics(ctx)
			if err != nil {
				return err
			}
			return c.showMetrics(string(text))
		},
		all: c.metricsOfAll,
	})
}

// metricsOfAll prints one text of all pools. One that gives none is scgid_up 0.
func (c *ctl) metricsOfAll(ctx context.Context, pools []*target) error {
	ctx, cancel := soon(ctx)
	defer cancel()
	texts, errs := make([]string, len(pools)), make([]error, len(pools))
	var all sync.WaitGroup
	for i, t := range pools {
		all.Add(1)
		go func() {
			defer all.Done()
			text, err := t.Metrics(ctx)
			texts[i], errs[i] = string(text), err
		}()
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			texts[i] = "# TYPE scgid_up gauge\nscgid_up{pool=\"" + quoted(pools[i].name) + "\"} 0.0\n"
			c.err.line(span{yellow, "scgictl: warning: "}, pools[i].name, ": ", err.Error())
		}
	}
	c.err.Flush()
	return c.showMetrics(mergeMetrics(texts))
}

// quoted is a label's value.
func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}

// showMetrics prints OpenMetrics text, or its samples as JSON.
func (c *ctl) showMetrics(text string) error {
	if c.json {
		samples, err := parseMetrics([]byte(text))
		if err != nil {
			return err
		}
		return c.show(samples, nil)
	}
	for line := range strings.Lines(text) {
		c.out.line(strings.TrimSuffix(line, "\n"))
	}
	return nil
}

// A family is the metrics of one name, in OpenMetrics text.
type family struct {
	about   []string // # HELP, # TYPE and # UNIT
	samples []string
}

// mergeMetrics makes one OpenMetrics text of several: a family has to be in one
// piece there, and to be described once.
func mergeMetrics(texts []string) string {
	families, order := map[string]*family{}, []*family{}
	for _, text := range texts {
		var now *family
		described := map[*family]bool{} // by this text
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			words := strings.SplitN(line, " ", 4)
			if line == "" || line == "# EOF" {
				continue
			}
			if line[0] != '#' || len(words) < 3 {
				if now != nil {
					now.samples = append(now.samples, line)
				}
				continue
			}
			if now = families[words[2]]; now == nil {
				now = &family{}
				families[words[2]], order, described[now] = now, append(order, now), true
			}
			if described[now] {
				now.about = append(now.about, line)
			}
		}
	}
	var b strings.Builder
	for _, f := range order {
		for _, line := range append(f.about, f.samples...) {
			b.WriteString(line + "\n")
		}
	}
	return b.String() + "# EOF\n"
}
