package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Order calls v for who and, where that changes something, has log take a line
// before, with who it was, and one more if it fails. front is where the order
// came from, such as "control".
func (v *Verb) Order(ctx context.Context, p Pool, args Args, front string, who Caller, log func(format string, args ...any)) (any, error) {
	if v.Level != LevelChange || v.Reads && len(args) == 0 {
		return v.Call(ctx, p, args)
	}
	// Before it is done: a stop may leave no time after.
	log("%s: uid %d (pid %d) asks to %s%s", front, who.UID, who.PID, v.Doing, args)
	result, err := v.Call(ctx, p, args)
	if err != nil {
		// The reason of an operation may have lines; a log has one for each event.
		text, _, _ := strings.Cut(Reason(v.Name, err.Error()), "\n")
		log("%s: cannot %s for uid %d (pid %d): %s", front, v.Doing, who.UID, who.PID, text)
	}
	return result, err
}

// String is the arguments in order, to stand behind a verb in a log line.
func (a Args) String() string {
	var all []string
	for name, value := range a {
		if text, ok := value.(string); ok {
			value = fmt.Sprintf("%q", text)
		}
		all = append(all, fmt.Sprintf("%s=%v", name, value))
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return ": " + strings.Join(all, " ")
}
