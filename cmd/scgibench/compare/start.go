package compare

import (
	"context"
	"sync"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/compare/servers"
)

// firstAnswers starts every server some times, in turns, and measures the time
// to its first good answer.
func (c *comparison) firstAnswers(ctx context.Context) {
	for _, workers := range c.plan.StartWith {
		tries := map[string][]time.Duration{}
		for range c.plan.Starts {
			for _, kind := range c.kinds(ctx, "hello") {
				if ctx.Err() != nil || c.late() {
					break
				}
				if d, ok := c.firstAnswer(ctx, kind, workers); ok {
					tries[kind.Name] = append(tries[kind.Name], d)
				}
			}
		}
		for _, kind := range c.kinds(ctx, "hello") {
			if t := tries[kind.Name]; len(t) > 0 {
				c.report.Starts = append(c.report.Starts, startOf(kind.Name, workers, t))
			}
		}
	}
}

func startOf(name string, workers int, tries []time.Duration) Start {
	s := Start{Server: name, Workers: workers}
	var ms []float64
	for _, d := range tries {
		ms = append(ms, d.Seconds()*1e3)
		s.Tries = append(s.Tries, d.Microseconds())
	}
	s.MS = FigureOf(ms)
	return s
}

func (c *comparison) firstAnswer(ctx context.Context, kind servers.Kind, workers int) (time.Duration, bool) {
	s, err := c.kit.Start(kind, c.app("hello"), workers)
	if err != nil {
		c.miss(kind, "hello", err)
		return 0, false
	}
	defer s.Stop()
	d, err := c.ready(ctx, s)
	if err != nil {
		c.miss(kind, "hello", err)
	}
	return d, err == nil
}

// growths has every server that can grow from one worker under a burst.
func (c *comparison) growths(ctx context.Context) {
	for _, kind := range c.kinds(ctx, "hello") {
		if !kind.Grows || ctx.Err() != nil || c.late() {
			continue
		}
		s, err := c.kit.StartSmall(kind, c.app("hello"), c.plan.GrowTo)
		if err != nil {
			c.miss(kind, "hello", err)
			continue
		}
		// A server that starts none before the first request has none then.
		if _, err := c.ready(ctx, s); err != nil {
			c.miss(kind, "hello", err)
		} else {
			c.report.Growths = append(c.report.Growths, grow(ctx, s, c.plan.GrowTo, c.plan.GrowTime))
		}
		s.Stop()
	}
}

// grow sends a burst of requests that sleep until to workers have begun to
// answer one, or the time is over.
func grow(ctx context.Context, s *servers.Server, to int, limit time.Duration) Growth {
	const clients = 32
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var mu sync.Mutex
	first := map[int]time.Time{} // by pid
	begin := time.Now()
	var all sync.WaitGroup
	for range clients {
		all.Add(1)
		go func() {
			defer all.Done()
			for ctx.Err() == nil {
				conn, err := open(ctx, s, "/sleep", 0)
				if err != nil {
					continue
				}
				a, ok := readAnswer(conn)
				if !ok {
					continue
				}
				mu.Lock()
				if t, known := first[a.pid]; !known || a.begun.Before(t) {
					first[a.pid] = a.begun
				}
				if len(first) >= to {
					cancel()
				}
				mu.Unlock()
			}
		}()
	}
	all.Wait()
	g := Growth{Server: s.Kind.Name, To: to, Reached: len(first)}
	for _, t := range first {
		g.MS = max(g.MS, t.Sub(begin).Seconds()*1e3)
	}
	return g
}
