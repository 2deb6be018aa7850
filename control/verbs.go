package control

import (
	"context"
	"time"
)

// verbs is the table of verbs, in the order in which it is shown.
var verbs = []*Verb{
	define(Verb{Name: "status", Level: LevelRead, Doing: "read the status", Help: "The pool in figures."},
		func(ctx context.Context, p Pool, _ NoArgs) (any, error) { return p.Status(ctx) }),
	define(Verb{Name: "workers", Level: LevelRead, Doing: "list workers", Help: "The worker processes."},
		func(ctx context.Context, p Pool, _ NoArgs) (any, error) { return p.Workers(ctx) }),
	define(Verb{Name: "requests", Level: LevelRead, Doing: "list requests", Help: "Requests in progress and waiting."},
		func(ctx context.Context, p Pool, _ NoArgs) (any, error) { return p.Requests(ctx) }),
	define(Verb{Name: "config", Level: LevelRead, Doing: "read the configuration", Help: "The configuration in effect, with the origin of each value."},
		func(ctx context.Context, p Pool, _ NoArgs) (any, error) { return p.Config(ctx) }),

	define(Verb{Name: "scale", Bus: "Scale", Level: LevelChange, Doing: "change the limits", Help: "Change limits of the pool; kept until the master ends."},
		func(ctx context.Context, p Pool, c Change) (any, error) {
			if c == (Change{}) {
				return nil, Errorf(CodeInvalid, "cannot change the limits: none is given").
					WithHint("give one of min_workers, max_workers, min_idle, max_idle, max_busy, or reset")
			}
			return p.Scale(ctx, c)
		}),
	define(Verb{Name: "pause", Bus: "Pause", Level: LevelChange, Doing: "pause the intake", Help: "Stop accepting connections; they wait, nothing fails."},
		func(ctx context.Context, p Pool, a PauseArgs) (any, error) {
			return nil, p.Pause(ctx, time.Duration(a.Limit))
		}),
	define(Verb{Name: "resume", Bus: "Resume", Level: LevelChange, Doing: "resume the intake", Help: "End a pause."},
		func(ctx context.Context, p Pool, _ NoArgs) (any, error) { return nil, p.Resume(ctx) }),

	define(Verb{Name: OpReload, Bus: "Reload", Level: LevelChange, Operation: true, Doing: "reload",
		Help: "Read the configuration again and replace all workers; returns when that is done."}, operation(Pool.Reload)),
	define(Verb{Name: OpRollback, Bus: "Rollback", Level: LevelChange, Operation: true, Doing: "roll back",
		Help: "Go back to the generation before; returns when that is done."}, operation(Pool.Rollback)),
	define(Verb{Name: OpUpgrade, Bus: "Upgrade", Level: LevelChange, Operation: true, Doing: "upgrade",
		Help: "Have the master execute its program again; the connection ends without a reply when that is done."}, operation(Pool.Upgrade)),
	define(Verb{Name: "stop", Bus: "Stop", Level: LevelChange, Doing: "stop the pool", Help: "Finish all accepted requests and end; returns when that is done."},
		func(ctx context.Context, p Pool, a StopArgs) (any, error) {
			return p.Stop(ctx, StopOrder{Now: a.Now, Limit: time.Duration(a.Limit)})
		}),

	define(Verb{Name: "retire", Bus: "RetireWorker", Level: LevelChange, Doing: "retire a worker", Help: "Tell a worker to finish what it holds and leave."},
		func(ctx context.Context, p Pool, a WorkerArgs) (any, error) { return nil, p.Retire(ctx, a.Worker) }),
	define(Verb{Name: "kill", Bus: "KillWorker", Level: LevelChange, Doing: "kill a worker", Help: "End a worker at once, with all its children."},
		func(ctx context.Context, p Pool, a WorkerArgs) (any, error) { return nil, p.Kill(ctx, a.Worker) }),
	define(Verb{Name: "dump", Bus: "DumpWorker", Level: LevelChange, Doing: "dump a worker", Help: "Have a worker write its stacks to its log."},
		func(ctx context.Context, p Pool, a WorkerArgs) (any, error) { return nil, p.Dump(ctx, a.Worker) }),

	define(Verb{Name: "log-level", Level: LevelChange, Reads: true, Doing: "change the log level", Help: "Set what the master logs; without a level, say it."}, logLevel),
}

func logLevel(ctx context.Context, p Pool, a LevelArgs) (any, error) {
	if a.Level != nil {
		if err := p.SetLogLevel(ctx, *a.Level); err != nil {
			return nil, err
		}
	}
	level, err := p.LogLevel(ctx)
	return map[string]string{"level": level}, err
}
