package control

import "time"

// States of a worker.
const (
	WorkerStarting = "starting" // on its way, not ready
	WorkerReady    = "ready"    // takes connections; idle while Active is 0
	WorkerLeaving  = "leaving"  // takes no more, by its own will
	WorkerRetiring = "retiring" // told to finish what it holds
	WorkerKilled   = "killed"   // SIGKILL is sent
)

// A Worker is one worker process.
type Worker struct {
	ID         uint64    `json:"id"`
	PID        int       `json:"pid"` // 0 while it is being started
	State      string    `json:"state"`
	Generation int       `json:"generation"`
	Since      time.Time `json:"since"` // when its start began
	Slots      int       `json:"slots"` // connections it takes at a time; 0 before it is ready
	Active     int       `json:"active"`
	Served     uint64    `json:"served"`
	Status     string    `json:"status,omitempty"`  // what it said of itself; printable
	Request    *Request  `json:"request,omitempty"` // the oldest that it holds
	CanDump    bool      `json:"can_dump"`          // it writes a stack dump when told to

	CPUSeconds  float64 `json:"cpu_seconds"`  // user and system, of the process itself
	MemoryBytes uint64  `json:"memory_bytes"` // resident, of the process itself
}

// States of a request.
const (
	RequestWaiting = "waiting" // for a worker
	RequestActive  = "active"  // at a worker
)

// A Request is one in progress or waiting. Its texts come from outside and
// are printable and bounded.
type Request struct {
	ID         uint64  `json:"id"`
	State      string  `json:"state"`
	Method     string  `json:"method"`
	URI        string  `json:"uri"`
	Client     string  `json:"client"`           // REMOTE_ADDR, as the web server told
	AgeSeconds float64 `json:"age_seconds"`      // since it was accepted
	Waited     float64 `json:"waited_seconds"`   // for a worker
	Worker     uint64  `json:"worker,omitempty"` // id; 0 while it waits
}

// A Setting is one value of the configuration in effect.
type Setting struct {
	Section string `json:"section"`
	Key     string `json:"key"`
	Value   string `json:"value"`
	Origin  string `json:"origin"` // "default", FILE:LINE, "--set", "command line" or "set at run time"
}
