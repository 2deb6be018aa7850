package worker

import (
	"log"
	"time"
)

// An Option changes how Serve and Listen work.
type Option func(*options)

type options struct {
	slots     int
	maxHeader int
	log       *log.Logger
	waits
}

// waits bound the waits for a request's body.
type waits struct {
	patience   time.Duration // of one read
	gatherGap  time.Duration // how long a body may pause before a reply begins without the rest
	gatherTime time.Duration // how long a reply waits for its body in all
}

// newOptions starts from the defaults. The header bound is well above the
// master's, which is the one that an administrator sets.
func newOptions(opts []Option) options {
	o := options{
		slots: 1, maxHeader: 1 << 20, log: log.Default(),
		waits: waits{patience: time.Minute, gatherGap: 200 * time.Millisecond, gatherTime: drainTime},
	}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Slots is how many connections the worker takes at a time: 1 unless said
// otherwise, at most link.MaxSlots.
func Slots(n int) Option { return func(o *options) { o.slots = n } }

// ErrorLog takes panics of the handler and mistakes in its replies; without
// it they go to the standard logger.
func ErrorLog(l *log.Logger) Option { return func(o *options) { o.log = l } }

// MaxHeader bounds the bytes of a request's SCGI header; 1 MiB unless said
// otherwise. What is longer gets 431.
func MaxHeader(n int) Option { return func(o *options) { o.maxHeader = n } }

// ReadTimeout bounds how long one read of a request's body waits; a minute
// unless said otherwise. A handler that sets its own deadline by
// http.ResponseController lifts it.
func ReadTimeout(d time.Duration) Option { return func(o *options) { o.patience = d } }
