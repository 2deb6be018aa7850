package control

import (
	"context"
	"time"
)

// A Pool is a running pool, seen and steered. The master implements it; the
// front ends and their tests use nothing else. Methods may be called from any
// goroutine; errors are of type *Error where a caller could tell them apart.
type Pool interface {
	Status(context.Context) (Status, error)
	Workers(context.Context) ([]Worker, error)
	Requests(context.Context) ([]Request, error)
	Config(context.Context) ([]Setting, error)
	Metrics(context.Context) (Metrics, error)

	// Scale changes limits until the master ends, over reloads. It returns
	// those in effect.
	Scale(context.Context, Change) (Limits, error)
	// Pause stops the intake: connections wait in the kernel's backlog, and
	// requests already accepted are served. After limit, if that is not 0, it
	// resumes by itself.
	Pause(ctx context.Context, limit time.Duration) error
	Resume(context.Context) error
	// Stop begins the orderly exit and returns when it is complete, or when
	// the context ends; the exit continues then.
	Stop(context.Context, StopOrder) (StopReport, error)

	// Reload reads the configuration again and replaces all workers; Rollback
	// goes back to the generation before; Upgrade has the master execute its
	// program again, in the same process. Each runs the operation, or joins one
	// of the same kind that waits for its turn, and returns when it has ended;
	// an Upgrade that succeeds does not return. The error of one that failed
	// is its reason, which may have lines, with CodeFailed where no other code
	// says more. When the context ends first it has CodeTimeout, and the
	// operation continues.
	Reload(context.Context) (Operation, error)
	Rollback(context.Context) (Operation, error)
	Upgrade(context.Context) (Operation, error)

	// Retire tells a worker to finish what it holds and to leave; Kill ends it
	// at once; Dump has it write its stacks to its stderr.
	Retire(ctx context.Context, worker uint64) error
	Kill(ctx context.Context, worker uint64) error
	Dump(ctx context.Context, worker uint64) error

	LogLevel(context.Context) (string, error)            // debug, info, warning or err
	SetLogLevel(ctx context.Context, level string) error // one of these

	// Subscribe returns the events from now on. With keep the pool does not
	// leave when it is idle, until the subscription is closed: somebody
	// watches. A front end that watches all the time by itself does without.
	Subscribe(ctx context.Context, keep bool) (*Subscription, error)
}

// A Change of limits, the arguments of scale: nil keeps a value. Reset gives all
// back to the configuration first.
type Change struct {
	MinWorkers *int       `json:"min_workers,omitempty" help:"keep at least so many workers"`
	MaxWorkers *int       `json:"max_workers,omitempty" help:"have at most so many workers"`
	MinIdle    *int       `json:"min_idle,omitempty" help:"keep so many idle workers ready"`
	MaxIdle    *int       `json:"max_idle,omitempty" help:"retire idle workers above this number in time"`
	MaxBusy    *BusyLimit `json:"max_busy,omitempty" help:"requests at workers at the same time: auto, off or a number"`
	Reset      bool       `json:"reset,omitempty" help:"go back to the configuration first"`
}

// Apply returns l with the change made. What follows from a changed limit
// follows: a maximum lowered below values that the change does not name takes
// them down with it, and a minimum raised above takes its maximum up.
func (c Change) Apply(l Limits) Limits {
	set := func(to *int, from *int) {
		if from != nil {
			*to = *from
		}
	}
	set(&l.MinWorkers, c.MinWorkers)
	set(&l.MaxWorkers, c.MaxWorkers)
	set(&l.MinIdle, c.MinIdle)
	set(&l.MaxIdle, c.MaxIdle)
	if c.MaxBusy != nil {
		l.MaxBusy = *c.MaxBusy
	}
	if c.MaxWorkers == nil && c.MinWorkers != nil {
		l.MaxWorkers = max(l.MaxWorkers, l.MinWorkers)
	}
	if c.MinWorkers == nil {
		l.MinWorkers = min(l.MinWorkers, l.MaxWorkers)
	}
	if c.MaxIdle == nil {
		if c.MinIdle != nil {
			l.MaxIdle = max(l.MaxIdle, l.MinIdle)
		}
		l.MaxIdle = min(l.MaxIdle, l.MaxWorkers)
	}
	if c.MinIdle == nil {
		l.MinIdle = min(l.MinIdle, l.MaxIdle, l.MaxWorkers)
	}
	return l
}

// Over returns what two changes one after the other come to, of which the
// earlier is c.
func (c Change) Over(later Change) Change {
	for _, x := range []struct{ to, from **int }{
		{&c.MinWorkers, &later.MinWorkers}, {&c.MaxWorkers, &later.MaxWorkers}, {&c.MinIdle, &later.MinIdle}, {&c.MaxIdle, &later.MaxIdle},
	} {
		if *x.from != nil {
			*x.to = *x.from
		}
	}
	if later.MaxBusy != nil {
		c.MaxBusy = later.MaxBusy
	}
	c.Reset = false
	return c
}

// A StopOrder says how to stop.
type StopOrder struct {
	Now   bool          // do not wait for requests at work
	Limit time.Duration // then as Now; 0 is the configuration's StopTimeoutSec
}

// A StopReport says what a stop waited for.
type StopReport struct {
	Finished uint64        `json:"finished"` // requests that were accepted before and answered
	Lost     uint64        `json:"lost"`     // requests that were cut
	Refused  uint64        `json:"refused"`  // requests that were answered with 503
	Took     time.Duration `json:"took_nsec"`
}

// Metrics are counts for monitoring, since the master began.
type Metrics struct {
	Status   Status
	Accepted uint64
	// Outcomes of accepted connections by name: each ends in exactly one.
	Outcomes map[string]uint64
	Refusals map[string]uint64 // replies of 503 by reason: no worker in time, or none starts, or a stop
	Classes  [6]uint64         // replies by status class, as workers say; 0 is unknown
	Retried  uint64            // requests passed on once more
	Orphans  uint64
	Violate  uint64
	Busy     time.Duration // sum over requests of the time at a worker
	Queued   Histogram     // seconds from accept to pass
	Service  Histogram     // seconds from pass to done
	CPU      time.Duration // of the master and its living and ended workers
	Memory   uint64        // resident bytes of the master and its workers

	LogDropped uint64 // lines of the log that found no room, because writing took too long
}

// ClassNames are what the indexes of Metrics.Classes are called.
var ClassNames = [len(Metrics{}.Classes)]string{"unknown", "1xx", "2xx", "3xx", "4xx", "5xx"}

// A Histogram counts durations by their upper bounds.
type Histogram struct {
	Counts [len(HistogramBounds) + 1]uint64 // not cumulative; the last is beyond all bounds
	Sum    time.Duration
}

// HistogramBounds are the upper bounds of the first counts of a Histogram.
var HistogramBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, 60 * time.Second,
}

// Add counts d.
func (h *Histogram) Add(d time.Duration) {
	h.Sum += d
	for i, bound := range HistogramBounds {
		if d <= bound {
			h.Counts[i]++
			return
		}
	}
	h.Counts[len(HistogramBounds)]++
}
