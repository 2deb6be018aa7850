package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

// refusalWatch is how long explain watches whether requests are still refused.
const refusalWatch = time.Second

// An explanation is what explain --json prints.
type explanation struct {
	Name    string   `json:"name"`
	State   string   `json:"state"`
	Waiting int      `json:"waiting"`
	Reasons []reason `json:"reasons"`
}

func explainCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:  "explain",
		short: "Say why requests wait or are refused right now",
		long: `Say why requests wait or are refused right now, and what to do about it.

If requests have been refused, it watches for a second whether that continues.`,
		example: "  scgictl explain wiki",
		idle:    c.explainIdle,
		run: func(ctx context.Context, t *target, _ []string) error {
			r, err := read(ctx, t)
			if err != nil {
				return err
			}
			r.log = c.logHint(t, r.status.Name)
			x := explanation{r.status.Name, r.status.State, r.status.Queue.Waiting, r.why()}
			return c.show(x, func(s *screen) { s.reasons(x.Reasons) })
		},
	})
}

// read looks at a pool for as long as it takes.
func read(ctx context.Context, t *target) (snapshot, error) {
	r := snapshot{as: t.name}
	if t.name == "" {
		r.as = "--socket " + t.Socket()
	}
	var err error
	if r.status, err = statusNow(ctx, t); err != nil {
		return r, err
	}
	short, cancel := soon(ctx)
	defer cancel()
	if r.requests, err = t.Requests(short); err != nil {
		return r, err
	}
	if r.status.Requests.Refused > 0 {
		err = r.watchRefusals(ctx, t)
	}
	return r, err
}

func statusNow(ctx context.Context, t *target) (control.Status, error) {
	ctx, cancel := soon(ctx)
	defer cancel()
	return t.Status(ctx)
}

// watchRefusals tells refusals of now from those of an hour ago: the count
// alone does not.
func (r *snapshot) watchRefusals(ctx context.Context, t *target) error {
	began := time.Now()
	select {
	case <-time.After(refusalWatch):
	case <-ctx.Done():
		return ctx.Err()
	}
	later, err := statusNow(ctx, t)
	if err != nil {
		return err
	}
	if before := r.status.Requests.Refused; later.Requests.Refused > before {
		r.refused = later.Requests.Refused - before
	}
	r.over = time.Since(began)
	return nil
}

// reasons prints each on a line, with what to do on the next.
func (s *screen) reasons(all []reason) {
	for _, r := range all {
		s.verdict(r.Grade, r.Text, r.Hint)
	}
}

// gradeStyles are how grades look.
var gradeStyles = map[grade]style{good: green, notable: yellow, bad: red, skipped: dim}

// verdict prints one finding, with lines of the log that it is about. FAIL alone is in capitals, to be found without
// colour.
func (s *screen) verdict(g grade, text, hint string, log ...string) {
	word := string(g)
	if g == bad {
		word = "FAIL"
	}
	s.line(span{gradeStyles[g], word}, "     "[len(word):], text)
	for _, line := range log {
		s.line("     ", span{dim, "| "}, line)
	}
	if hint != "" {
		s.line("     ", span{dim, "-> "}, hint)
	}
}
