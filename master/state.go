package master

import (
	"encoding/json"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/pool"
)

// stateFormat is the version of State. It changes with everything that a
// program of another version would misread; fields that a program does not
// know are an error, so an added one is refused by older programs by itself. It
// is a variable so that a test can build a program of another version.
var stateFormat = "1"

// A State is all that a master knows, as plain data: what the program that the
// process executes next needs to go on. It names descriptors by their numbers,
// which stay the same over execve(2). Texts from outside are bytes, because
// JSON would change what is not UTF-8.
type State struct {
	Format  string
	PID     int    // of the process; a State is of no use to another
	Build   string // of the program that wrote it
	Version string

	App json.RawMessage // of who runs the master; see Handover.Carry

	// The loop's moments count from its beginning. Clock is CLOCK_MONOTONIC at
	// the moment Now.
	Since time.Time
	Now   Time
	Clock time.Duration

	LogLevel       int
	Generations    []stateGeneration
	Current        int // a generation's number, as all below
	Previous       int // 0 without one
	LastGeneration int

	Grouping bool // workers are to have control groups

	Limits     control.Limits // in effect
	Configured control.Limits
	Scaled     control.Change

	Listeners  []int
	Conns      []stateConn
	Workers    []stateWorker
	Lists      stateLists
	LastConn   uint64
	LastWorker uint64
	HeadKey    []byte

	Starts  stateStarts
	Intake  stateIntake
	Manager stateManager
	Events  stateEvents
	Counts  stateCounts

	Operation     control.Operation
	LastOperation uint64
	Waiting       []string // kinds of operations that wait for their turn

	// Failure is why another program could not go on with this state; it is not
	// part of it.
	Failure string `json:"-"`
}

// A stateGeneration is a generation that serves, or may again, or has workers
// left. The words of its command need not be UTF-8.
type stateGeneration struct {
	Number   int
	Settings Settings // less what belongs to the program that runs

	Argv [][]byte
	Dir  []byte
	Env  [][]byte

	NOFILE, Nice, OOMScoreAdjust int
	MemoryMax, TasksMax          uint64

	Proven bool
	In     []byte // where its workers are started, once it is proven
}

// A stateConn is a connection that is open.
type stateConn struct {
	ID    uint64
	FD    int
	State string
	Unix  bool
	Probe bool
	Stake bool // a crash of the master would lose it
	Tries int

	Size, Seen, Drained int
	Hash                uint64

	Accepted, Whole, PassedAt Time

	Client, Method, URI []byte
}

// A stateWorker is a worker that has a process, or had one whose group is not
// known to be empty.
type stateWorker struct {
	ID    uint64
	State string
	Of    int // its generation
	Dir   []byte

	PID, PIDFD int
	Group      []byte // its control group's path; empty without one
	Link, End  int
	Heard      bool

	Slots  int
	Conns  []uint64 // ids
	Served uint64
	Slow   bool

	Began, GoneSince             Time
	Doomed, Failed, Status, Dump string
}

// A statePlace is one place in a list of connections or workers.
type statePlace struct {
	ID uint64
	At Time
}

// stateLists are the loop's lists, each in its order.
type stateLists struct {
	Parked, Waiting, Ending, Unconfirmed []statePlace // connections

	Idle, Partial, Starts, Stops, Terms, Burials []statePlace // workers
}

// stateStarts is how starts have gone.
type stateStarts struct {
	Failures, FailuresBefore int
	RetryAt, LastReady       Time
	LastFailure              string
	LookAt                   Time
	Tried                    []byte
	Ramp                     pool.Ramp
}

// stateIntake is whether connections are taken.
type stateIntake struct {
	Paused             bool
	ResumeAt           Time
	QuietSince         Time
	AcceptAgain        Time
	BusyUntil          Time
	Warned, WarnedBusy Time
	WarnedJournal      Time
	WarnedGroup        Time
	WarnedSaturated    Time
	SaturatedSince     Time
	RelievedAt         Time
	RefusedTold        uint64
	RefusedAt          Time
}

// stateManager is what the service manager was told.
type stateManager struct {
	ReadyAt Time // 0: READY=1 is said
}

// stateEvents is how far events have come.
type stateEvents struct {
	Last  uint64
	State string // of the pool, as last told
}

// stateCounts are all counts.
type stateCounts struct {
	Count           Counters
	Exits           map[string]uint64
	Queued, Service control.Histogram
}
