package control

import "time"

// States of a pool.
const (
	Starting = "starting"
	Running  = "running"
	Paused   = "paused"
	Draining = "draining"
	Failing  = "failing" // its application does not start
)

// Status is a pool at one moment. All counts begin with the master.
type Status struct {
	Name       string            `json:"name"`
	State      string            `json:"state"`
	PID        int               `json:"pid"` // of the master
	Version    string            `json:"version"`
	Build      string            `json:"build"` // differs between two builds, also of the same version
	Since      time.Time         `json:"since"`
	Generation int               `json:"generation"`
	Limits     Limits            `json:"limits"`
	Scaled     bool              `json:"scaled"`                       // Limits were set at run time
	ResumesIn  float64           `json:"resumes_in_seconds,omitempty"` // of a pause with a limit
	Saturated  float64           `json:"saturated_seconds,omitempty"`  // how long all workers have been busy with requests waiting
	Busy       BusyCounts        `json:"busy"`
	Workers    WorkerCounts      `json:"workers"`
	Queue      Queue             `json:"queue"`
	Requests   RequestCounts     `json:"requests"`
	Starts     StartCounts       `json:"starts"`
	Exits      map[string]uint64 `json:"exits"`               // of workers, by reason
	Foreign    []Foreign         `json:"foreign,omitempty"`   // what came instead of requests
	Operation  *Operation        `json:"operation,omitempty"` // in progress, or else the last one
	Preload    *Preload          `json:"preload,omitempty"`   // nil when it is not configured
	Recent     *Recent           `json:"recent,omitempty"`
	LastError  *Failure          `json:"last_error,omitempty"` // the last that went wrong with a worker; also before an upgrade
}

// Preload says how workers come to be.
type Preload struct {
	Level string `json:"level"`         // worker or application; no: workers are executed
	PID   int    `json:"pid,omitempty"` // of the process that makes them; 0 without one at the moment
}

// Foreign is something that came to a listener and is no request: the web server
// is set up wrongly.
type Foreign struct {
	Kind       string  `json:"kind"` // http, tls, fastcgi, uwsgi, proxy or no-request
	Count      uint64  `json:"count"`
	AgeSeconds float64 `json:"age_seconds"` // of the last one
	Text       string  `json:"text"`        // what it is, and what to do
}

// WorkerCounts says how many worker processes there are.
type WorkerCounts struct {
	Total    int `json:"total"`
	Starting int `json:"starting"`
	Idle     int `json:"idle"`
	Busy     int `json:"busy"`
	Retiring int `json:"retiring"` // on their way out
}

// BusyCounts says how many requests may be at workers at the same time; see
// Limits.MaxBusy.
type BusyCounts struct {
	Limit int     `json:"limit"` // now; 0 is as many as there are workers
	Held  int     `json:"held"`  // requests that wait for it though a worker is free
	CPUs  int     `json:"cpus"`  // that the pool may use
	Share float64 `json:"share"` // with auto: the part of the requests at workers that wants a CPU, 0 to 1
}

// Queue says what waits where.
type Queue struct {
	Waiting   int        `json:"waiting"`        // whole requests without a worker
	OldestAge float64    `json:"oldest_seconds"` // of those, how long the first has waited
	Parked    int        `json:"parked"`         // connections whose header is not whole
	Limit     int        `json:"limit"`          // of Waiting
	Listeners []Listener `json:"listeners"`
}

// A Listener is a listening socket. Its backlog is the kernel's queue of
// connections that the master has not accepted; -1 where it cannot be read.
type Listener struct {
	Name         string `json:"name"`
	Address      string `json:"address"`
	Backlog      int    `json:"backlog"`
	BacklogLimit int    `json:"backlog_limit"`
}

// RequestCounts says what became of the connections.
type RequestCounts struct {
	Served     uint64 `json:"served"`
	Cut        uint64 `json:"cut"`         // of those served: the reply ended early
	Active     int    `json:"active"`      // at workers now
	Refused    uint64 `json:"refused"`     // answered with 503
	Bad        uint64 `json:"bad"`         // answered with 400, 408, 411 or 431
	Lost       uint64 `json:"lost"`        // their worker died after reading them
	ClientGone uint64 `json:"client_gone"` // left while they waited

	// Classes are the replies of those served by the class of their status, as
	// their workers told it: "2xx" and others, and "unknown". Absent is 0.
	Classes map[string]uint64 `json:"classes,omitempty"`
}

// StartCounts counts starts of workers.
type StartCounts struct {
	Total  uint64 `json:"total"`
	Failed uint64 `json:"failed"`

	FailuresInRow int     `json:"failures_in_row"`               // up to now; 0 when the last start was good
	LastFailure   string  `json:"last_failure,omitempty"`        // why a start failed; printable
	NextTryIn     float64 `json:"next_try_in_seconds,omitempty"` // until the next start is tried
}
