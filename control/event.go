package control

import "time"

// Kinds of events.
const (
	EventState          = "state"           // the pool's state changed
	EventWorkerStarted  = "worker-started"  // a worker process was started
	EventWorkerReady    = "worker-ready"    // it takes connections
	EventWorkerRetired  = "worker-retired"  // it was told to finish and leave
	EventWorkerExited   = "worker-exited"   // it is gone
	EventStartFailing   = "start-failing"   // a start failed
	EventStartRecovered = "start-recovered" // the application starts again
	EventSaturated      = "pool-saturated"  // MaxWorkers are busy and requests wait
	EventRelieved       = "pool-relieved"   // that is over
	EventRefused        = "request-refused" // requests were answered with 503
	EventLost           = "request-lost"    // a worker died with a request it had read
	EventPaused         = "paused"          // the intake
	EventResumed        = "resumed"         // the intake
	EventLimits         = "limits"          // the limits were changed at run time
	EventBusyLimit      = "busy-limit"      // with MaxBusy=auto as many requests as Count may be at workers now; 0 is no limit
	EventOperation      = "operation"       // a reload, rollback or upgrade began, took a step or ended
	EventMissed         = "missed"          // the reader was too slow: Count events were dropped
)

// An Event is something that happened to a pool. Fields that do not belong to
// its kind are empty.
type Event struct {
	Seq    uint64    `json:"seq"` // counts up by one; a gap means missed events
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	State  string    `json:"state,omitempty"`  // of the pool, with EventState
	Worker uint64    `json:"worker,omitempty"` // id
	PID    int       `json:"pid,omitempty"`
	Reason string    `json:"reason,omitempty"` // printable
	Served uint64    `json:"served,omitempty"` // by the worker that exited
	Count  uint64    `json:"count,omitempty"`  // how many, with EventRefused, EventMissed
	Limits *Limits   `json:"limits,omitempty"`

	Operation *Operation `json:"operation,omitempty"`
}

// A Subscription is a stream of events. Its reader takes from C; one that is
// too slow loses events; EventMissed says how many.
type Subscription struct {
	C     <-chan Event
	Close func() // ends it; C is closed. It may be called more than once
}
