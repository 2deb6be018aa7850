package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// A Verb is one thing that can be asked of a pool. The table of verbs serves
// both front ends: what is written here is written nowhere else.
type Verb struct {
	Name  string // in a path of the control socket: lower case, with hyphens
	Bus   string // the D-Bus method; empty where properties or signals serve
	Level Level  // that a caller needs
	Reads bool   // without arguments it only reads, and LevelRead will do
	Doing string // what it does, to stand behind "cannot"
	Help  string
	Args  []Arg

	// Operation says that it runs an Operation, which takes its time and
	// bounds that itself: a front end sets no limit of its own.
	Operation bool

	// Call does it. args has been checked against Args. What it returns is
	// shown as JSON.
	Call func(ctx context.Context, p Pool, args Args) (any, error)
}

// An ArgType is how an argument is written.
type ArgType string

// Types of arguments.
const (
	Count   ArgType = "count"   // a number from 0 to WorkersMax
	ID      ArgType = "id"      // of a worker, from 1
	Flag    ArgType = "flag"    // true or false
	Seconds ArgType = "seconds" // a number, with fractions, from 0 to a day
	Text    ArgType = "text"    // up to 256 bytes
)

// An Arg is an argument of a verb.
type Arg struct {
	Name     string
	Type     ArgType
	Required bool
	Help     string
}

// Args are the arguments of a call by name, checked: int for Count, uint64
// for ID, bool for Flag, time.Duration for Seconds and string for Text.
type Args map[string]any

// Verbs returns the table.
func Verbs() []*Verb { return verbs }

// FindVerb returns the verb with this name, or nil.
func FindVerb(name string) *Verb {
	for _, v := range verbs {
		if v.Name == name {
			return v
		}
	}
	return nil
}

var worker = []Arg{{"worker", ID, true, "id of the worker, as workers shows it"}}

var verbs = []*Verb{
	{Name: "status", Level: LevelRead, Doing: "read the status", Help: "The pool in figures.",
		Call: func(ctx context.Context, p Pool, _ Args) (any, error) { return p.Status(ctx) }},
	{Name: "workers", Level: LevelRead, Doing: "list workers", Help: "The worker processes.",
		Call: func(ctx context.Context, p Pool, _ Args) (any, error) { return p.Workers(ctx) }},
	{Name: "requests", Level: LevelRead, Doing: "list requests", Help: "Requests in progress and waiting.",
		Call: func(ctx context.Context, p Pool, _ Args) (any, error) { return p.Requests(ctx) }},
	{Name: "config", Level: LevelRead, Doing: "read the configuration", Help: "The configuration in effect, with the origin of each value.",
		Call: func(ctx context.Context, p Pool, _ Args) (any, error) { return p.Config(ctx) }},
	{Name: "scale", Bus: "Scale", Level: LevelChange, Doing: "change the limits", Help: "Change limits of the pool; kept until the master ends.",
		Args: []Arg{
			{"min_workers", Count, false, "keep at least so many workers"},
			{"max_workers", Count, false, "have at most so many workers"},
			{"min_idle", Count, false, "keep so many idle workers ready"},
			{"max_idle", Count, false, "retire idle workers above this number in time"},
			{"reset", Flag, false, "go back to the configuration first"},
		}, Call: scale},
	{Name: "pause", Bus: "Pause", Level: LevelChange, Doing: "pause the intake", Help: "Stop accepting connections; they wait, nothing fails.",
		Args: []Arg{{"limit", Seconds, false, "resume by itself after so long; 0 is never"}},
		Call: func(ctx context.Context, p Pool, a Args) (any, error) {
			return nil, p.Pause(ctx, a.seconds("limit"))
		}},
	{Name: "resume", Bus: "Resume", Level: LevelChange, Doing: "resume the intake", Help: "End a pause.",
		Call: func(ctx context.Context, p Pool, _ Args) (any, error) { return nil, p.Resume(ctx) }},
	{Name: OpReload, Bus: "Reload", Level: LevelChange, Operation: true, Doing: "reload",
		Help: "Read the configuration anew and replace all workers; returns when that is done.",
		Call: operation(OpReload, Pool.Reload)},
	{Name: OpRollback, Bus: "Rollback", Level: LevelChange, Operation: true, Doing: "roll back",
		Help: "Go back to the generation before; returns when that is done.",
		Call: operation(OpRollback, Pool.Rollback)},
	{Name: OpUpgrade, Bus: "Upgrade", Level: LevelChange, Operation: true, Doing: "upgrade",
		Help: "Have the master execute its program anew; the connection ends without a reply when that is done.",
		Call: operation(OpUpgrade, Pool.Upgrade)},
	{Name: "stop", Bus: "Stop", Level: LevelChange, Doing: "stop the pool", Help: "Finish all accepted requests and end; returns when that is done.",
		Args: []Arg{
			{"now", Flag, false, "do not wait for requests at work"},
			{"limit", Seconds, false, "wait no longer than this for requests at work; 0 is StopTimeoutSec="},
		},
		Call: func(ctx context.Context, p Pool, a Args) (any, error) {
			now, _ := a["now"].(bool)
			return p.Stop(ctx, StopOrder{Now: now, Limit: a.seconds("limit")})
		}},
	{Name: "retire", Bus: "RetireWorker", Level: LevelChange, Doing: "retire a worker", Help: "Tell a worker to finish what it holds and leave.", Args: worker,
		Call: func(ctx context.Context, p Pool, a Args) (any, error) {
			return nil, p.Retire(ctx, a["worker"].(uint64))
		}},
	{Name: "kill", Bus: "KillWorker", Level: LevelChange, Doing: "kill a worker", Help: "End a worker at once, with all its children.", Args: worker,
		Call: func(ctx context.Context, p Pool, a Args) (any, error) { return nil, p.Kill(ctx, a["worker"].(uint64)) }},
	{Name: "dump", Bus: "DumpWorker", Level: LevelChange, Doing: "dump a worker", Help: "Have a worker write its stacks to its log.", Args: worker,
		Call: func(ctx context.Context, p Pool, a Args) (any, error) { return nil, p.Dump(ctx, a["worker"].(uint64)) }},
	{Name: "log-level", Level: LevelChange, Reads: true, Doing: "change the log level", Help: "Set what the master logs; without a level, say it.",
		Args: []Arg{{"level", Text, false, "debug, info, warning or err"}},
		Call: func(ctx context.Context, p Pool, a Args) (any, error) {
			if level, ok := a["level"].(string); ok {
				if err := p.SetLogLevel(ctx, level); err != nil {
					return nil, err
				}
			}
			level, err := p.LogLevel(ctx)
			return map[string]string{"level": level}, err
		}},
}

func scale(ctx context.Context, p Pool, a Args) (any, error) {
	var c Change
	for name, to := range map[string]**int{
		"min_workers": &c.MinWorkers, "max_workers": &c.MaxWorkers, "min_idle": &c.MinIdle, "max_idle": &c.MaxIdle,
	} {
		if n, ok := a[name].(int); ok {
			*to = &n
		}
	}
	c.Reset, _ = a["reset"].(bool)
	if c == (Change{}) {
		return nil, Errorf(CodeInvalid, "cannot change the limits: none is given").
			WithHint("give one of min_workers, max_workers, min_idle, max_idle, or reset")
	}
	return p.Scale(ctx, c)
}

func (a Args) seconds(name string) time.Duration {
	d, _ := a[name].(time.Duration)
	return d
}

// Parse checks the members of a JSON object against the verb's arguments.
// Its errors have CodeInvalid.
func (v *Verb) Parse(raw map[string]json.RawMessage) (Args, error) {
	args := Args{}
	for _, name := range slices.Sorted(maps.Keys(raw)) { // so that of several errors it is always the same
		value := raw[name]
		arg := v.arg(name)
		if arg == nil {
			return nil, Errorf(CodeInvalid, "cannot %s: there is no argument %.40q", v.Doing, name)
		}
		x, err := arg.parse(value)
		if err != nil {
			return nil, Errorf(CodeInvalid, "cannot %s: %s: %v", v.Doing, name, err)
		}
		args[name] = x
	}
	for _, arg := range v.Args {
		if _, ok := args[arg.Name]; arg.Required && !ok {
			return nil, Errorf(CodeInvalid, "cannot %s: argument %s is missing", v.Doing, arg.Name)
		}
	}
	return args, nil
}

func (v *Verb) arg(name string) *Arg {
	for i := range v.Args {
		if v.Args[i].Name == name {
			return &v.Args[i]
		}
	}
	return nil
}

// parse reads one JSON value.
func (a *Arg) parse(value json.RawMessage) (any, error) {
	bad := func(want string) error { return fmt.Errorf("must be %s", want) }
	if string(value) == "null" { // Unmarshal takes it for anything
		return nil, bad("left out, not null")
	}
	switch a.Type {
	case Count:
		var n int
		if json.Unmarshal(value, &n) != nil || n < 0 || n > WorkersMax {
			return nil, bad(fmt.Sprintf("a number from 0 to %d", WorkersMax))
		}
		return n, nil
	case ID:
		var n uint64
		if json.Unmarshal(value, &n) != nil || n == 0 {
			return nil, bad("a number from 1")
		}
		return n, nil
	case Flag:
		var b bool
		if json.Unmarshal(value, &b) != nil {
			return nil, bad("true or false")
		}
		return b, nil
	case Seconds:
		var f float64
		if json.Unmarshal(value, &f) != nil || f < 0 || f > 86400 {
			return nil, bad("a number of seconds from 0 to 86400")
		}
		return time.Duration(math.Ceil(f * float64(time.Second))), nil // 0 means something else
	default:
		var s string
		if json.Unmarshal(value, &s) != nil || len(s) > 256 {
			return nil, bad("a text of up to 256 bytes")
		}
		return s, nil
	}
}
