package main

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// topFastest is the shortest interval: asking more often tells people no
// more, and is work for the master.
const topFastest = 100 * time.Millisecond

func topCommand(c *ctl) *cobra.Command {
	interval, once := timeFlag{time.Second}, false
	cmd := c.poolCommand(poolVerb{
		verb:    "top",
		changes: true, // on a key
		short:   "Watch a pool live, and control its workers",
		long: "top without NAME shows all pools, and one alone at Enter. It shows a pool as it\ngoes: its state, the rate of requests, the time that they\nwait and are served, and its workers. Keys sort the workers, and retire, kill or\n" +
			"dump one; ? shows them all. Curves are of the last 60 seconds, percentiles of\nthe last 10.",
		example: "  scgictl top\n  scgictl top wiki\n  scgictl top wiki -n 5s\n  scgictl top wiki --once",
		check: func([]string) error {
			switch {
			case interval.d < topFastest:
				return usage("the interval must be at least "+duration(topFastest), "scgictl top -n 1s")
			case !once && !c.json && (!c.out.terminal || os.Getenv("TERM") == "dumb"):
				return usage("top needs a terminal that can move its cursor", "scgictl top --once prints one frame")
			}
			return nil
		},
		run: func(ctx context.Context, t *target, _ []string) error {
			if once || c.json {
				return c.topOnce(ctx, t, interval.d)
			}
			return c.topLive(ctx, t, interval.d)
		},
		all: func(ctx context.Context, _ []*target) error {
			return c.topAll(ctx, interval.d, once || c.json)
		},
		idle: c.showIdle,
	})
	cmd.Flags().VarP(&interval, "interval", "n", "time from one look to the next")
	cmd.Flags().BoolVar(&once, "once", false, "print one frame, of the interval from now, and end; --json does the same")
	return cmd
}

// topReader returns the client that looks. Where root has to make sure who
// answers, that starts a process: it is done once for each peer. What changes
// something goes to t itself, which makes sure each time.
func (c *ctl) topReader(ctx context.Context, t *target) *api.Client {
	if c.uid != 0 {
		return t.Client
	}
	r, known := api.NewClient(t.Socket()), new(atomic.Int64)
	r.Verify(func(p api.Peer) error {
		if int64(p.PID) == known.Load() {
			return nil
		}
		if _, err := t.Status(ctx); err != nil {
			return err
		}
		known.Store(int64(p.PID))
		return nil
	})
	return r
}

// onceWidth is the width of one frame where no terminal tells one.
const onceWidth = 100

// topOnce prints what happens within one interval.
func (c *ctl) topOnce(ctx context.Context, t *target, interval time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime+interval)
	defer cancel()
	reader := c.topReader(ctx, t)
	first, err := lookAt(ctx, reader)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Canceled
	case <-time.After(interval):
	}
	second, err := lookAt(ctx, reader)
	if err != nil {
		return err
	}
	m := newTop(t.String(), interval, topLook{c.out})
	m.take(topData{sample: first, asked: first.at})
	m.take(topData{sample: second, asked: second.at})
	return c.show(m.frame.report(), func(s *screen) {
		width := s.width
		if !s.terminal {
			width = onceWidth
		}
		s.WriteString(m.page(width))
	})
}

// topLive runs the view until the operator ends it.
func (c *ctl) topLive(ctx context.Context, t *target, interval time.Duration) error {
	reader := c.topReader(ctx, t)
	m := newTop(t.String(), interval, topLook{c.out})
	m.poll = func() tea.Msg {
		ctx, cancel := soon(ctx)
		defer cancel()
		asked := time.Now()
		s, err := lookAt(ctx, reader)
		return topData{sample: s, asked: asked, err: err}
	}
	m.act = func(verb string, id uint64) error {
		ctx, cancel := soon(ctx)
		defer cancel()
		return t.Call(ctx, verb, control.WorkerArgs{Worker: id}, nil)
	}
	// Signals end ctx, see run. A view changes a few times a second; more
	// frames would only be traffic.
	ctx, cancel := context.WithCancel(ctx)
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithInput(c.in), tea.WithOutput(os.Stdout),
		tea.WithAltScreen(), tea.WithFPS(20))
	go followTop(ctx, reader, p)
	_, err := p.Run()
	cancel()
	if errors.Is(err, context.Canceled) {
		return nil // as asked
	}
	return err
}

// followTop sends the events of a pool to its view until ctx ends, over masters
// that end.
func followTop(ctx context.Context, reader *api.Client, to *tea.Program) {
	for ctx.Err() == nil {
		_ = reader.EventsFrom(ctx, nil, func(e control.Event) error {
			to.Send(topEvent{e})
			return nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(followAgain):
		}
	}
}

// followAgain is the pause before events are asked for again. What fails, and why,
// the looks say.
const followAgain = 2 * time.Second
