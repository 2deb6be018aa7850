package control

import "time"

// Kinds of operations.
const (
	OpReload   = "reload"   // new configuration, new workers
	OpRollback = "rollback" // back to the generation before
	OpUpgrade  = "upgrade"  // the master executes its program anew
)

// States of an operation.
const (
	OpRunning = "running"
	OpDone    = "done"
	OpFailed  = "failed"
)

// An Operation is a change of the whole pool that takes its time: a reload, a
// rollback or an upgrade. There is one at a time; when it has failed, all is
// as it was before.
type Operation struct {
	ID         uint64    `json:"id"` // counts up; of the same pool
	Kind       string    `json:"kind"`
	State      string    `json:"state"`
	Step       string    `json:"step,omitempty"`  // what it does right now, to stand behind the kind
	Done       int       `json:"done,omitempty"`  // of Total workers
	Total      int       `json:"total,omitempty"` // workers to be replaced; 0 is not known
	Generation int       `json:"generation"`      // that serves: the new one as soon as it does
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended,omitzero"`
	Error      string    `json:"error,omitempty"` // why it failed; printable, may have lines
	Notes      []string  `json:"notes,omitempty"` // what it could not change, and what to do for that
}

// Took is how long it took, 0 while it runs.
func (o Operation) Took() time.Duration {
	if o.Ended.IsZero() {
		return 0
	}
	return o.Ended.Sub(o.Began)
}
