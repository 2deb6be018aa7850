package master

import (
	"log/slog"
	"os"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/master/record"
)

// A Host is what belongs to the process and not to a configuration. It does not
// change while the master lives.
type Host struct {
	Name    string // of the pool
	PID     int    // shown in Status
	Version string // shown in Status
	Build   string // shown in Status

	Listeners []Listener // their descriptors are borrowed, and have to stay open until Run returns
	Notify    Notifier

	// Log takes the master's lines. Its handler must not block. Flush waits until
	// what it was given is written, but no longer than limit; it may be nil.
	Log      *slog.Logger
	Flush    func(limit time.Duration)
	LogLevel *slog.LevelVar // what SetLogLevel sets; may be nil

	Journal  bool            // each worker's output is a stream of its own in the journal
	Watchdog time.Duration   // how often Notifier.Watchdog is called; 0 is never
	Record   *record.Record  // what is left to the next master in case of a crash; may be nil. It has to stay open until Run returns
	Groups   *process.Groups // where workers get control groups; may be nil

	// ShowFailure has the reply of 503 say why the application does not start: for
	// pools that only their developer sees.
	ShowFailure bool

	// Reread reads the configuration again, for a reload; the notes say what of
	// it has no effect while the master lives. It may block. nil: it cannot.
	Reread func() (set Settings, notes []string, err error)
}

// A Notifier is told what the service manager wants to know. Its methods must
// not block.
type Notifier interface {
	Ready(status string)
	Status(text string)
	Stopping()
	Watchdog()
	Extend(time.Duration) // so much more time, from now, for what is under way
}

// A host is the Host of a loop, and its clock.
type host struct {
	Host
	began  time.Time     // when the loop's clock was 0
	origin time.Duration // which is this moment of CLOCK_MONOTONIC
	since  time.Time     // when the pool began, by the wall clock of then

	stdout, stderr int // of workers that have no others
	cpus           int // that the pool may use
}

func newHost(h Host) *host {
	if h.Groups == nil {
		h.Groups = new(process.Groups)
	}
	now := time.Now()
	return &host{Host: h, began: now, origin: clock(), since: now, stdout: int(os.Stdout.Fd()), stderr: int(os.Stderr.Fd()), cpus: process.CPUs()}
}

// clock is the loop's time now.
func (h *host) clock() Time { return time.Since(h.began) }

// stdio gives a command our own output where it has no other.
func (h *host) stdio(c *process.Command) {
	if c.Stdout == 0 {
		c.Stdout = h.stdout
	}
	if c.Stderr == 0 {
		c.Stderr = h.stderr
	}
}

// flush waits until the log is written, but no longer than limit.
func (h *host) flush(limit time.Duration) {
	if h.Flush != nil {
		h.Flush(limit)
	}
}

// handedOver is the origin of addresses that a service manager listens on.
const handedOver = "handed over"

// listening returns the addresses that were handed over, as settings.
func (h *host) listening() (all []control.Setting) {
	for _, from := range h.Listeners {
		if from.Inherited {
			all = append(all, control.Setting{Section: "Pool", Key: "Listen", Value: from.Addr, Origin: handedOver})
		}
	}
	return all
}
