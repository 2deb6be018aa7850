package master

import (
	"slices"

	"github.com/scgid/scgid/control"
)

// handedOver is the origin of addresses that a service manager listens on.
const handedOver = "handed over"

// listening returns all with the addresses that were handed over in the place
// of Listen=, which has no effect then.
func (l *loop) listening(all []control.Setting) []control.Setting {
	isListen := func(s control.Setting) bool { return s.Section == "Pool" && s.Key == "Listen" }
	at := slices.IndexFunc(all, isListen)
	var real []control.Setting
	for _, from := range l.given {
		if from.Inherited {
			real = append(real, control.Setting{Section: "Pool", Key: "Listen", Value: from.Addr, Origin: handedOver})
		}
	}
	if at < 0 || len(real) == 0 {
		return all
	}
	return slices.Insert(slices.DeleteFunc(all, isListen), at, real...)
}
