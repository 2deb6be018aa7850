// Package config turns configuration in systemd's syntax into a checked Config.
//
// Every error names the file, line and column (or the --set argument), the
// key, and what is allowed there; all errors are reported in one pass. The keys
// are written once, in keys.go: that table parses, checks and documents them.
//
// A Config belongs to the caller that loaded it and is not changed afterwards. Package
// config opens no sockets, starts nothing, and does not look at what the
// values name: addresses, programs and directories are resolved by the rooms
// that use them, at each generation.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

// Config is one pool's checked configuration.
type Config struct {
	Name    string   // the pool's name; CheckName accepts it
	Files   []string // what was read, in that order
	Pool    Pool
	Worker  Worker
	Request Request
	Queue   Queue
	Control Control

	// origins are where values were written: by Key.String, one for each
	// value; a key with its default has none.
	origins map[string][]string
}

// Pool is section [Pool]: where the pool listens and how large it is.
type Pool struct {
	Listen     []string    // addresses as written; empty: systemd hands the sockets over
	ListenMode os.FileMode // of Unix sockets opened here
	control.Limits
	IdleTimeout time.Duration // how long a worker above MaxIdle stays
	IdleExit    time.Duration // how long the whole pool is idle before the master leaves; 0: never

	ReloadSurge       int // workers beyond MaxWorkers during a reload
	ReloadUnavailable int // workers that may be missing during a reload
}

// Worker is section [Worker]: what a worker process runs, and in what.
type Worker struct {
	ExecStart        []string // program and arguments; the program is absolute or a bare name
	WorkingDirectory string   // absolute; empty: the master's own
	Environment      []string // KEY=VALUE, each key once; see Config.Environ
	EnvironmentFile  []EnvFile
	Preload          string // no, worker or application
	StartTimeout     time.Duration
	StopTimeout      time.Duration
	LimitNOFILE      uint64 // soft and hard; 0: leave
	Nice             int
	OOMScoreAdjust   int    // the worker's own value, not relative to the master's
	MemoryMax        uint64 // of a worker and its children, in bytes; 0: no limit
	TasksMax         uint64 // of a worker and its children, processes and threads; 0: no limit
}

// EnvFile is one EnvironmentFile=, read by Config.Environ.
type EnvFile struct {
	Path     string
	Optional bool // written with "-" in front: may be missing
}

// Request is section [Request]: the bounds of a request's header, the request
// that tries a new generation, and whether requests are logged.
type Request struct {
	HeaderTimeout  time.Duration // from accept until the header block is whole
	MaxHeaderBytes int
	ProbeURI       string // a path, or an http URL; empty: none
	AccessLog      bool
}

// Queue is section [Queue]: the connections that wait for a free worker.
type Queue struct {
	Max     int           // 0: as many as MaxWorkers
	Timeout time.Duration // then 503
}

// Control is section [Control]: where the pool is observed and steered, and by
// which users.
type Control struct {
	Socket    string // absolute, at most 107 bytes; empty: the default path, unless SocketOff
	SocketOff bool   // there is no control socket
	Group     string // name or number, not looked up; its members may change; empty: nobody
	ReadGroup string // likewise; its members may read
	OwnFull   bool   // the pool's own user may change, not only read
	Bus       string // "auto", "system", "session" or "off"
}

// Load reads the configuration of the pool called name: its main file from the
// first of roots that holds one, then its drop-ins from all of them, then set,
// each "Section.Key=VALUE". The error is an Errors when the contents are wrong.
func Load(name string, roots Roots, set []string) (*Config, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	files, err := roots.find(name)
	if err != nil {
		return nil, err
	}
	l := newLoader(name)
	for _, f := range files {
		if err := l.file(f); err != nil {
			return nil, err
		}
	}
	l.settings(set)
	return l.finish()
}

// LoadFile reads exactly one file, without drop-ins, then set. The pool is
// called like the file, without its ".conf".
func LoadFile(path string, set []string) (*Config, error) {
	name := strings.TrimSuffix(filepath.Base(path), ".conf")
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("cannot name the pool after %s: %w", path, err)
	}
	l := newLoader(name)
	if err := l.file(path); err != nil {
		return nil, err
	}
	l.settings(set)
	return l.finish()
}

// FromSettings makes a configuration without any file, from set and from the
// words of exec, which are taken as they are: quotes and specifiers mean nothing
// in them. With an empty exec, ExecStart= has to be in set.
func FromSettings(name string, set []string, exec []string) (*Config, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	l := newLoader(name)
	l.settings(set)
	if len(exec) > 0 {
		if err := checkArgs(exec); err != nil {
			return nil, err
		}
		l.c.Worker.ExecStart = append([]string(nil), exec...)
		l.c.origins["Worker.ExecStart"] = []string{originCommand}
	}
	return l.finish()
}

// checkArgs refuses what execve cannot pass on.
func checkArgs(exec []string) error {
	if exec[0] == "" {
		return errors.New("the command to run is empty")
	}
	for _, a := range exec {
		if strings.IndexByte(a, 0) >= 0 {
			return fmt.Errorf("the command to run holds a NUL byte in %s", show(a))
		}
	}
	return nil
}

// nameMax is the length of the longest pool name in bytes: it becomes part of
// socket paths, which hold 107.
const nameMax = 64

// ofOthers are the endings that names may not have, each with what of another
// pool is called so. Pool wiki.sock would have its runtime directory where pool
// wiki has its socket; wiki.conf could not be told from a file in scgid check,
// nor wiki.service from a unit of pool wiki in systemctl.
var ofOthers = []struct{ ending, is string }{
	{".sock", "the socket"},
	{".conf", "the configuration"},
	{".conf.d", "the directory of drop-ins"},
	{".service", "the service unit"},
	{".socket", "the socket unit"},
}

// CheckName returns nil if name can name a pool: letters, digits, ".", "_" and
// "-", not starting with "." or "-", at most 64 bytes, and not with the ending of
// a file or unit that another pool has.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the pool name is empty")
	case len(name) > nameMax:
		return fmt.Errorf("pool name %s is %d bytes long, at most %d are allowed", show(name), len(name), nameMax)
	case name[0] == '.' || name[0] == '-':
		return fmt.Errorf("pool name %s starts with %q; it must start with a letter, a digit or _", show(name), name[:1])
	}
	for _, r := range name {
		if !nameRune(r) {
			return fmt.Errorf("pool name %s holds %q; only letters A-Z a-z, digits, _ . and - are allowed, "+
				"because systemd would un-escape or refuse others in scgid@NAME.service", show(name), r)
		}
	}
	for _, o := range ofOthers {
		if pool, ok := strings.CutSuffix(name, o.ending); ok {
			return fmt.Errorf("pool name %s ends in %s, like %s of a pool %s; choose a name that does not", show(name), o.ending, o.is, show(pool))
		}
	}
	return nil
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r == '_' || r == '.' || r == '-'
}
