package config

import (
	"os"
	"time"

	"github.com/scgid/scgid/control"
)

// Key is one thing that can be configured. The table of keys drives parsing,
// checking, --set and the manual page.
type Key struct {
	Section string // without brackets
	Name    string
	Default string // as written in a file; empty: nothing
	Help    string // whole sentences, in plain text
	kind
}

// kind is the type of a value: how it is written, checked and stored.
type kind struct {
	Type    string // in a word or two, e.g. "time span"
	Allowed string // what errors and the manual say, e.g. "a number from 1 to 8"
	List    bool   // repeated keys append, an empty one resets
	Once    bool   // repeating it without an empty one between is an error
	Secret  bool   // errors do not repeat the value

	// set stores a trimmed value; an empty one stores nothing set. Its error
	// says what is allowed, as a *fault where the place is known.
	set func(*Config, string) error
	// put is set for a list, and returns the positions of what it stored.
	put func(*Config, string) ([]int, error)
	// text returns what is stored as a file would write it, one entry a line;
	// none when nothing is set. It hides what is secret.
	text func(*Config) []string
}

// String returns the name that --set takes: Section.Key.
func (k *Key) String() string { return k.Section + "." + k.Name }

// Keys returns the table of keys, in the order of the manual.
func Keys() []Key { return append([]Key(nil), keys...) }

const (
	millisecond = time.Millisecond
	hour        = time.Hour
	day         = 24 * time.Hour
)

var keys = []Key{
	{"Pool", "Listen", "",
		"Where scgid itself listens, when systemd hands no socket over. One address a line: " +
			"/path or unix:/path, @name for an abstract socket, HOST:PORT such as 127.0.0.1:4000 or [::1]:4000.",
		addresses(func(c *Config) *[]string { return &c.Pool.Listen })},
	{"Pool", "ListenMode", "0660",
		"Access mode of the Unix sockets that Listen= opens.",
		mode(func(c *Config) *os.FileMode { return &c.Pool.ListenMode })},
	{"Pool", "MinWorkers", "1",
		"Workers that are kept even when there is nothing to do. With 0 the first request starts the first worker.",
		number(func(c *Config) *int { return &c.Pool.MinWorkers }, 0, control.WorkersMax)},
	{"Pool", "MaxWorkers", "8",
		"Workers that are never exceeded, except by the few more that a reload may need for a moment.",
		number(func(c *Config) *int { return &c.Pool.MaxWorkers }, 1, control.WorkersMax)},
	{"Pool", "MinIdle", "1",
		"Idle workers kept ready beyond the busy ones, within MaxWorkers=. " +
			"When not set it gives way to smaller values of MaxIdle= and MaxWorkers=, and it is 0 if MinWorkers= is 0.",
		number(func(c *Config) *int { return &c.Pool.MinIdle }, 0, control.WorkersMax)},
	{"Pool", "MaxIdle", "4",
		"Idle workers above this number are retired after IdleTimeoutSec=, but never below MinWorkers=. " +
			"When not set it gives way to a greater MinIdle= and to a smaller MaxWorkers=.",
		number(func(c *Config) *int { return &c.Pool.MaxIdle }, 0, control.WorkersMax)},
	{"Pool", "MaxBusy", "auto",
		"How many requests may be at workers at the same time, of workers that take one at a time. " +
			"With auto as many as keep the CPUs busy: those that wait for a database, a disk or another service do not count, and " +
			"those that have taken more than 100 ms neither. The others wait in the queue for a worker that " +
			"has just served a request and has its code and data in the CPU's caches, which makes all of them quicker. " +
			"off: as many as there are workers.",
		busyLimit(func(c *Config) *control.BusyLimit { return &c.Pool.MaxBusy })},
	{"Pool", "IdleTimeoutSec", "60s",
		"How long a worker above MaxIdle= is idle before it is retired.",
		timeout(func(c *Config) *time.Duration { return &c.Pool.IdleTimeout }, millisecond, 30*day)},
	{"Pool", "IdleExitSec", "0",
		"How long the whole pool is idle before the master exits; systemd keeps listening and starts it again " +
			"with the next request. 0 and infinity turn it off.",
		timeoutOrOff(func(c *Config) *time.Duration { return &c.Pool.IdleExit }, millisecond, 30*day)},
	{"Pool", "ReloadSurge", "1",
		"How many workers more than MaxWorkers= there may be while a reload replaces them, including those that are finishing " +
			"a request, for two seconds at most: longer requests do not hold up a reload. A higher number makes it faster.",
		number(func(c *Config) *int { return &c.Pool.ReloadSurge }, 1, control.WorkersMax)},
	{"Pool", "ReloadUnavailable", "0",
		"How many workers may be missing while a reload replaces them: old ones then leave before new ones are ready, " +
			"which saves memory and costs capacity.",
		number(func(c *Config) *int { return &c.Pool.ReloadUnavailable }, 0, control.WorkersMax)},

	{"Worker", "ExecStart", "",
		"The program that a worker runs, and its arguments: exactly one command, with quotes but without a shell. " +
			"The program is an absolute path or a bare name, which is looked for beside scgid's own programs and then in PATH. " +
			"Must be set.",
		command(func(c *Config) *[]string { return &c.Worker.ExecStart })},
	{"Worker", "WorkingDirectory", "",
		"The directory in which workers start, resolved again for each generation, so that it may be a link to the " +
			"current release. When not set they start where the master did.",
		directory(func(c *Config) *string { return &c.Worker.WorkingDirectory })},
	{"Worker", "Environment", "",
		"Variables for the workers, as KEY=VALUE words with quotes where needed. Of the same variable the last one counts.",
		environment(func(c *Config) *[]string { return &c.Worker.Environment })},
	{"Worker", "EnvironmentFile", "",
		"Files of KEY=VALUE lines, read for each generation; they override Environment=. " +
			"A file with \"-\" in front of its path may be missing.",
		envFiles(func(c *Config) *[]EnvFile { return &c.Worker.EnvironmentFile })},
	{"Worker", "Preload", "no",
		"What is loaded once for all workers of a generation, in a process that makes them by fork: worker, the program itself and " +
			"what it needs, but nothing of the application; application, that too; no, nothing. Memory that is not written to is " +
			"shared then. A program that cannot do it is started for each worker, as with no; scgi-wsgi can. See scgi-wsgi(1) " +
			"for what an application has to mind.",
		oneOf(func(c *Config) *string { return &c.Worker.Preload }, "no", "worker", "application")},
	{"Worker", "StartTimeoutSec", "60s",
		"How long a worker may take to become ready before it is killed and counted as a failed start.",
		timeout(func(c *Config) *time.Duration { return &c.Worker.StartTimeout }, millisecond, day)},
	{"Worker", "StopTimeoutSec", "30s",
		"How long a worker that was told to finish may take before it is killed.",
		timeout(func(c *Config) *time.Duration { return &c.Worker.StopTimeout }, millisecond, day)},
	{"Worker", "LimitNOFILE", "",
		"How many files a worker may have open (RLIMIT_NOFILE, soft and hard). When not set it is left as it is.",
		count(func(c *Config) *uint64 { return &c.Worker.LimitNOFILE }, 16, 1<<30)},
	{"Worker", "Nice", "0",
		"Scheduling priority of the workers. A value below the master's own needs privileges.",
		number(func(c *Config) *int { return &c.Worker.Nice }, -20, 19)},
	{"Worker", "OOMScoreAdjust", "100",
		"The workers' oom_score_adj: it is the value itself, not added to the master's. It has to be above the master's, " +
			"so that the kernel, when out of memory, ends a worker rather than the master; where it is not, the workers get 100 more than the master.",
		number(func(c *Config) *int { return &c.Worker.OOMScoreAdjust }, -1000, 1000)},
	{"Worker", "MemoryMax", "infinity",
		"How much memory a worker and its children may use together. Beyond it the kernel ends that worker, with its children, " +
			"and the log says so. It needs a control group for each worker, see scgid(8), and the memory controller; " +
			"without them it has no effect, and a warning is logged at the start.",
		orInfinity(func(c *Config) *uint64 { return &c.Worker.MemoryMax }, bytesIn, 1<<20, 1<<46)},
	{"Worker", "TasksMax", "infinity",
		"How many processes and threads a worker and its children may have together. Beyond it they cannot start more. " +
			"It needs a control group for each worker and the pids controller, as MemoryMax= does the memory controller.",
		// With fewer the child could not start its own threads before it executes
		// the worker: it is a Go program until then.
		orInfinity(func(c *Config) *uint64 { return &c.Worker.TasksMax }, tasksIn, 16, 1<<22)},

	{"Request", "HeaderTimeoutSec", "10s",
		"How long a client may take to send the whole header of its request; then it gets 408.",
		timeout(func(c *Config) *time.Duration { return &c.Request.HeaderTimeout }, millisecond, hour)},
	{"Request", "MaxHeaderBytes", "64K",
		"How large that header may be; a larger one gets 431. It cannot be set higher because the header waits unread in " +
			"the connection's receive buffer until it is whole, and a TCP socket's holds no larger one.",
		size(func(c *Config) *int { return &c.Request.MaxHeaderBytes }, 1<<10, 96<<10)},
	{"Request", "ProbeURI", "",
		"What the first worker of a new generation is asked for before a reload puts it among those that serve: a path " +
			"such as /health, or a URL with the host that the application wants. Any answer but 2xx or 3xx fails the reload. " +
			"When not set it is enough that the worker is ready.",
		probe(func(c *Config) *string { return &c.Request.ProbeURI })},
	{"Request", "AccessLog", "no",
		"Whether the log has a line for each finished request, at level info: see scgid(8). More than 10,000 lines in 30 s " +
			"are too many for the journal unless LogRateLimitBurst= of systemd.exec(5) is higher.",
		boolean(func(c *Config) *bool { return &c.Request.AccessLog })},

	{"Queue", "Max", "0",
		"How many connections are accepted before a worker is free for them; a crash of the master can lose these. " +
			"More wait in the kernel's backlog, which survives it. 0 means as many as MaxWorkers=.",
		number(func(c *Config) *int { return &c.Queue.Max }, 0, 1<<16)},
	{"Queue", "TimeoutSec", "30s",
		"How long an accepted connection waits for a worker; then it gets 503.",
		timeout(func(c *Config) *time.Duration { return &c.Queue.Timeout }, millisecond, hour)},

	{"Control", "Socket", "",
		"The Unix socket on which the pool is observed and steered, or off for none. When not set it is " +
			"/run/scgid/NAME/control.sock, or $XDG_RUNTIME_DIR/scgid/NAME/control.sock for a pool that a user runs. " +
			"In a path %i is the name of the pool.",
		socketPath(func(c *Config) *Control { return &c.Control })},
	{"Control", "Group", "",
		"The group whose members may do everything, as root may. " +
			"The user that the pool runs as must not be one of them. When not set it is nobody.",
		group(func(c *Config) *string { return &c.Control.Group })},
	{"Control", "ReadGroup", "",
		"The group whose members may see everything and change nothing. When not set it is nobody; " +
			"others see the name and the state of the pool.",
		group(func(c *Config) *string { return &c.Control.ReadGroup })},
	{"Control", "OwnUser", "read",
		"What the user that the pool runs as may do: see everything, or with full also change it. " +
			"The applications run as the same user, so with full an exploited one can steer its own server.",
		either(func(c *Config) *bool { return &c.Control.OwnFull }, "read", "full")},
	{"Control", "Bus", "auto",
		"Which D-Bus the pool also appears on. With auto it is the system bus for a system service and the " +
			"session bus for a pool that a user runs. A bus that is not there is not an error.",
		oneOf(func(c *Config) *string { return &c.Control.Bus }, "auto", "system", "session", "off")},
}
