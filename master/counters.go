package master

import "github.com/scgid/scgid/control"

// Counters count since the master began. Each accepted connection ends in
// exactly one of Served, Lost, Refused, ClientGone, Empty, Malformed, TooLarge
// and Timeouts.
type Counters struct {
	Accepted   uint64
	Served     uint64 // its worker said DONE
	Cut        uint64 // of those: its worker said that the reply ended early
	Lost       uint64 // its worker died with it, after reading; the client got 500, or nothing more if a reply had begun
	Refused    uint64 // answered with 503, see Refusals
	ClientGone uint64 // left while it waited
	Empty      uint64 // closed with nothing sent
	Malformed  uint64 // answered with 400 or 411
	TooLarge   uint64 // answered with 431
	Timeouts   uint64 // answered with 408

	Retried   uint64 // passed on once more because a dead worker had not read it
	TakenBack uint64 // passed on once more because a living worker did not receive it
	Pauses    uint64 // of the intake, without descriptors

	Starts       uint64
	StartsFailed uint64
	Killed       uint64
	Violations   uint64 // of the protocol, by workers
	Orphans      uint64 // children of workers that we reaped

	Refusals [refusals]uint64 // by reason

	Codes [6]uint64 // replies by class, as told by workers; 0 is not told
}

// code counts the status of a reply.
func (c *Counters) code(status int) {
	if class := status / 100; class < len(c.Codes) {
		c.Codes[class]++
	}
}

// classes are the replies by the name of their class.
func (c *Counters) classes() map[string]uint64 {
	by := map[string]uint64{}
	for i, n := range c.Codes {
		if n > 0 {
			by[control.ClassNames[i]] = n
		}
	}
	return by
}

// cut counts a reply that ended early.
func (c *Counters) cut(early bool) {
	if early {
		c.Cut++
	}
}

// counts are all that are kept.
type counts struct {
	Counters
	Exits           map[string]uint64 // of workers, by reason
	Queued, Service control.Histogram
	Recent          recent
}

// exit counts the end of a worker by its reason.
func (c *counts) exit(reason string) { c.Exits[reason]++ }
