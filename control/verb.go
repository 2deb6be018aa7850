package control

import (
	"context"
	"reflect"
	"strings"
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

	args reflect.Type // a struct, with Args as its fields
	call func(ctx context.Context, p Pool, args any) (any, error)
}

// define makes a verb whose arguments are the fields of an A.
func define[A any](v Verb, call func(context.Context, Pool, A) (any, error)) *Verb {
	v.args = reflect.TypeFor[A]()
	v.Args = argsOf(v.args)
	v.call = func(ctx context.Context, p Pool, args any) (any, error) { return call(ctx, p, args.(A)) }
	return &v
}

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

// Call asks the pool. args is what Parse returned or has passed Check: a Change
// for scale, else NoArgs, PauseArgs, StopArgs, WorkerArgs or LevelArgs; nil is
// no arguments. What Call returns is shown as JSON.
func (v *Verb) Call(ctx context.Context, p Pool, args any) (any, error) {
	result, err := v.call(ctx, p, v.orNone(args))
	return result, v.explain(err)
}

func (v *Verb) orNone(args any) any {
	if args == nil {
		return reflect.Zero(v.args).Interface()
	}
	return args
}

// explain makes a sentence of the reason for which an operation failed.
func (v *Verb) explain(err error) error {
	if err == nil || !v.Operation {
		return err
	}
	return OperationError(v.Name, err)
}

// Do is Call for a caller: where the verb changes something, log takes a line
// before, with the caller, and one more if it fails. front is where the call came
// from, such as "control".
func (v *Verb) Do(ctx context.Context, p Pool, args any, front string, who Caller, log func(format string, args ...any)) (any, error) {
	args = v.orNone(args)
	if v.Level != LevelChange || v.Reads && reflect.ValueOf(args).IsZero() {
		return v.Call(ctx, p, args)
	}
	// Before it is done: a stop may leave no time after.
	log("%s: uid %d (pid %d) asks to %s%s", front, who.UID, who.PID, v.Doing, v.describe(args))
	result, err := v.call(ctx, p, args)
	if err != nil {
		// The reason of an operation may have lines; a log has one for each event.
		text, _, _ := strings.Cut(err.Error(), "\n")
		log("%s: cannot %s for uid %d (pid %d): %s", front, v.Doing, who.UID, who.PID, text)
	}
	return result, v.explain(err)
}
