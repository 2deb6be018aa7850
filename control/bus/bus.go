// Package bus shows a pool on D-Bus and takes changes for it there: the verbs of
// package control as methods, the status as properties, the events as signals,
// and org.freedesktop.LogControl1 for systemctl service-log-level.
//
// A Front owns its connection to the bus, the names on it, and the state of
// the pool that it last announced; the pool itself belongs to the master.
// Package bus is not a policy: the bus decides who may connect and own names
// (units/org.scgid1.conf), control.Access and polkit who may change something.
// It writes no log: what goes wrong is handed to Options.Report, and each change
// with its caller to Options.Log.
package bus

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/scgid/scgid/control"
)

// Options say what to show and where.
type Options struct {
	Pool   control.Pool
	Access control.Access // who may change something without asking polkit

	Name    string // of the instance
	Version string

	// Address is a D-Bus address of kind unix:path= or unix:abstract=. Empty
	// is the system bus, "session" the user's own.
	Address string
	// Session says that the bus at Address is a user's own: only that user
	// may change something, and polkit is not asked. "session" implies it.
	Session bool

	// Report takes each new reason why there is no bus, Log a line for each
	// change, with its caller. Neither may block: a log that nobody reads must
	// not keep the pool from being shown and changed. Both may be nil.
	Report func(error)
	Log    func(format string, args ...any)
}

// A Front is the pool on the bus.
type Front struct {
	o           Options
	clock       clock
	uid         int // as the bus sees us
	dial        dialer
	authTimeout time.Duration // how long a person may take to type a password

	public control.PublicReader

	lastEnd uint64 // id of the last operation whose end was announced; of Run's goroutine

	mu   sync.Mutex
	said map[string]bool // guarded by mu; errors reported since the bus was last there
}

// New makes a Front. It does nothing until Run.
func New(o Options) *Front {
	o.Session = o.Session || o.Address == sessionWord
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return &Front{o: o, clock: systemClock{}, uid: os.Geteuid(), dial: dial, authTimeout: polkitLimit, said: map[string]bool{}}
}

// Limits of the pause between attempts to reach the bus. It begins again when
// the bus was there for some time.
const (
	retryFirst = time.Second
	retryMax   = time.Minute
	steady     = 10 * time.Second
)

// Run keeps the pool on the bus until ctx ends. A bus that is not there or
// goes away is normal: it is reported once and looked for again. Run returns
// nil, and only when ctx has ended and its connection is closed.
func (f *Front) Run(ctx context.Context) error {
	pause := retryFirst
	for ctx.Err() == nil {
		s, began := newSession(f), f.clock.Now()
		err := s.run(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errEventsEnded) {
			err = nil // no news: a pool that ends is not on the bus for long
		}
		if s.up && f.clock.Now().Sub(began) >= steady {
			pause = retryFirst
		}
		f.report(err)
		expired, stop := f.clock.After(pause)
		select {
		case <-expired:
		case <-ctx.Done():
		}
		stop()
		pause = min(2*pause, retryMax)
	}
	return nil
}

// report hands on an error unless the same was handed on since the bus was
// last there.
func (f *Front) report(err error) {
	if f.isNews(err) && f.o.Report != nil {
		f.o.Report(err)
	}
}

func (f *Front) isNews(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil || f.said[err.Error()] || len(f.said) >= 64 {
		return false
	}
	f.said[err.Error()] = true
	return true
}

func (f *Front) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.said)
}

// A clock is the time. Tests have their own.
type clock interface {
	Now() time.Time
	// After returns a channel that is ready in d, and what gives it up.
	After(d time.Duration) (<-chan time.Time, func())
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}
