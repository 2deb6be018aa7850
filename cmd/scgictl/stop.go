package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func stopCommand(c *ctl) *cobra.Command {
	var now bool
	var wait waitFlags
	var limit timeFlag
	cmd := c.poolCommand(poolVerb{
		verb:    "stop",
		changes: true,
		short:   "Finish all accepted requests and end the pool",
		long:    "stop has a pool finish all requests that it accepted, and end. It waits until that\nis done and says how many there were. It is not an error if the pool does not run.",
		example: "  scgictl stop wiki\n  scgictl stop wiki --limit 10s\n  scgictl stop wiki --now",
		check:   func([]string) error { return wait.check("stop") },
		run: func(ctx context.Context, t *target, _ []string) error {
			args := control.StopArgs{Now: now, Limit: control.Seconds(limit.d)}
			if wait.no {
				return c.beginStop(ctx, t, args)
			}
			return c.stop(ctx, t, args)
		},
	})
	cmd.Flags().BoolVar(&now, "now", false, "do not wait for requests at work: they are lost")
	cmd.Flags().Var(&limit, "limit", "wait at most this long for requests at work (default: StopTimeoutSec=)")
	wait.add(cmd, "return when the pool has ended; this is the default", "return when the stop has begun")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.alreadyStopped(run(cmd, args), args)
	}
	return cmd
}

// alreadyStopped makes a success of stopping a pool that does not run.
func (c *ctl) alreadyStopped(err error, args []string) error {
	if !isNotRunning(err) {
		return err
	}
	if u := (unreachable{}); errors.As(err, &u) {
		// A service whose ExecStop= fails has failed. Elsewhere nobody is to
		// believe that it was stopped.
		if os.Getenv("MAINPID") == "" { // see systemd.exec(5)
			return err
		}
		return c.show(nothing{}, func(s *screen) { s.line(u.Error(), "; it is left to the service manager to stop it") })
	}
	text := "nothing is running"
	if c.socket != "" {
		text = "nothing is running on " + c.socket
	} else if len(args) > 0 {
		text = args[0] + " is not running"
	}
	return c.show(nothing{}, func(s *screen) { s.line(text, ", there is nothing to stop") })
}

// stop waits as long as the stop takes: the master holds its time limit.
func (c *ctl) stop(ctx context.Context, t *target, args control.StopArgs) error {
	var report control.StopReport
	ended := make(chan error, 1)
	go func() { ended <- t.Call(ctx, "stop", args, &report) }()
	switch err := c.await(ended); {
	case errors.Is(err, context.Canceled):
		return control.Errorf(control.CodeFailed, "stopped waiting; the stop of %s continues", t)
	case err != nil:
		return err
	}
	return c.show(report, func(s *screen) { s.stopped(t, &report) })
}

// patience is how long somebody at a terminal waits without a word.
const patience = time.Second

// await waits for the end of a stop.
func (c *ctl) await(ended <-chan error) error {
	if c.err.terminal && !c.json {
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			c.err.line(span{dim, "waiting for the requests at work; Ctrl-C ends the waiting, not the stop"})
			c.err.Flush()
		}
	}
	return <-ended
}

// stopped says what became of the requests; lost ones are red.
func (s *screen) stopped(t *target, r *control.StopReport) {
	lost := span{plain, fmt.Sprintf("%s lost", count(r.Lost))}
	if r.Lost > 0 {
		lost.style = red
	}
	refused := ""
	if r.Refused > 0 {
		refused = ", " + count(r.Refused) + " refused"
	}
	s.line(span{bold, t.String()}, ": stopped: ", plural(r.Finished, "request"), " finished, ", lost, refused, ", ", duration(r.Took))
}

// lookAgain is how often beginStop looks whether the stop has begun.
const lookAgain = 20 * time.Millisecond

// beginStop asks for a stop and returns when the pool drains. The stop continues
// without us.
func (c *ctl) beginStop(ctx context.Context, t *target, args control.StopArgs) error {
	ctx, cancel := soon(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- t.Call(ctx, "stop", args, nil) }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
			return c.show(nothing{}, func(s *screen) { s.line(span{bold, t.String()}, ": stopped") })
		case <-time.After(lookAgain):
		}
		st, err := t.Status(ctx)
		if err == nil && st.State == control.Draining {
			return c.show(nothing{}, func(s *screen) { s.line(span{bold, t.String()}, ": stops") })
		}
		if err != nil && !isNotRunning(err) && control.AsError(err).Code != control.CodeOver {
			return err
		}
	}
}
