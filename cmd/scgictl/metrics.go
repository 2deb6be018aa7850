package main

import (
	"bytes"
	"context"

	"github.com/spf13/cobra"
)

func metricsCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:  "metrics",
		short: "Print the metrics for monitoring",
		long:  "metrics prints counts, gauges and histograms in OpenMetrics text, as monitoring\nreads them from the control socket. With --json each sample is an object.",
		run: func(ctx context.Context, t *target, _ []string) error {
			ctx, cancel := soon(ctx)
			defer cancel()
			text, err := t.Metrics(ctx)
			if err != nil {
				return err
			}
			if c.json {
				samples, err := parseMetrics(text)
				if err != nil {
					return err
				}
				return c.show(samples, nil)
			}
			for line := range bytes.Lines(text) {
				c.out.line(string(bytes.TrimSuffix(line, []byte("\n"))))
			}
			return nil
		},
	})
}
