package main

import (
	"fmt"
	"strings"

	"github.com/scgid/scgid/control"
)

// operationStyle paints an operation; o may be nil.
func operationStyle(o *control.Operation) style {
	switch {
	case o == nil:
		return plain
	case o.State == control.OpFailed:
		return red
	case o.State == control.OpDone:
		return green
	}
	return yellow
}

// operationText says what an operation does or came to, for an event.
func operationText(o *control.Operation) string {
	switch o.State {
	case control.OpFailed:
		var lines []string
		for line := range strings.Lines(o.Error) {
			lines = append(lines, strings.TrimSpace(line))
		}
		return o.Kind + " failed: " + strings.Join(lines, "; ")
	case control.OpDone:
		return o.Kind + " done, " + outcome(o)
	}
	if text := o.Progress(); text != o.Kind {
		return text
	}
	return o.Kind + " begins"
}

// lastOperation is what status and top say of the pool's last operation:
// nothing, if that was a success. o may be nil.
func lastOperation(o *control.Operation) string {
	switch {
	case o == nil:
	case o.State == control.OpRunning:
		step := strings.TrimPrefix(strings.TrimPrefix(o.Progress(), o.Kind), ": ")
		if step != "" {
			step = ": " + step
		}
		return fmt.Sprintf("%s in progress for %s%s", o.Kind, ago(o.Began), step)
	case o.State == control.OpFailed:
		first, more, _ := strings.Cut(strings.TrimSpace(o.Error), "\n")
		text := fmt.Sprintf("last %s failed %s ago: %s", o.Kind, ago(o.Ended), first)
		if n := len(strings.Split(more, "\n")); more != "" {
			text += fmt.Sprintf(" (and %s, see --json)", plural(n, "more line"))
		}
		return text
	}
	return ""
}
