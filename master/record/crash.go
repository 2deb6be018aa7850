package record

import (
	"errors"
	"fmt"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// What the word for the pause says beside a moment.
const (
	unpaused = 0
	forever  = 1<<64 - 1
)

// Bounds of what is believed: as many processes and descriptors as the kernel
// can number, and a pause of a century.
const (
	maxPID     = 1 << 22
	maxHeld    = 1 << 30
	lastResume = 1 << 62
)

// A Crash is what the record of a master says that has not ended in order.
type Crash struct {
	PID    int
	Limits control.Change // set at run time
	Paused bool
	Resume time.Duration // of a pause: when it ends, in CLOCK_BOOTTIME; 0 is never

	AtRisk    uint64 // accepted connections that no worker had
	AtWorkers uint64 // connections at workers
	Served    uint64
}

// decode reads a page for a pool, with its state. An error says why nothing in
// the page is to be believed.
func decode(p *page, pool uint64) (c Crash, state uint64, err error) {
	c = Crash{AtRisk: p.get(wordAtRisk), AtWorkers: p.get(wordWorkers), Served: p.get(wordServed)}
	state = p.get(wordState)
	pid, pause := p.get(wordPID), p.get(wordPause)
	switch {
	case p.get(wordMagic) != magic:
		return Crash{}, 0, errors.New("it is something else")
	case p.get(wordVersion) != version:
		return Crash{}, 0, fmt.Errorf("its layout has version %d, not %d", p.get(wordVersion), version)
	case p.get(wordPool) != pool:
		return Crash{}, 0, errors.New("it belongs to another pool")
	case state >= states, pid > maxPID, c.AtRisk > maxHeld, c.AtWorkers > maxHeld, pause > lastResume && pause != forever:
		return Crash{}, 0, errors.New("it makes no sense")
	}
	var ok bool
	if c.Limits, ok = unpackLimits(p.get(wordLimits)); !ok {
		return Crash{}, 0, errors.New("its limits make no sense")
	}
	if c.Limits.MaxBusy, ok = unpackBusy(p.get(wordBusy)); !ok {
		return Crash{}, 0, errors.New("its limit of requests makes no sense")
	}
	c.PID = int(pid)
	c.Paused = pause != unpaused
	if c.Paused && pause != forever {
		c.Resume = time.Duration(pause)
	}
	return c, state, nil
}

// packLimits makes one word of the limits that differ from the configuration:
// 16 bits for each, MinWorkers lowest, then MaxWorkers, MinIdle and MaxIdle. A
// limit is there as one more than it is; 0 is none.
func packLimits(now, configured control.Limits) uint64 {
	pack := func(now, configured int) uint64 {
		if now == configured {
			return 0
		}
		return uint64(now) + 1
	}
	return pack(now.MinWorkers, configured.MinWorkers) | pack(now.MaxWorkers, configured.MaxWorkers)<<16 |
		pack(now.MinIdle, configured.MinIdle)<<32 | pack(now.MaxIdle, configured.MaxIdle)<<48
}

// unpackLimits makes a change of them.
func unpackLimits(word uint64) (c control.Change, ok bool) {
	for _, to := range [...]**int{&c.MinWorkers, &c.MaxWorkers, &c.MinIdle, &c.MaxIdle} {
		if v := int(word & 0xffff); v > control.WorkersMax+1 {
			return control.Change{}, false
		} else if v > 0 {
			v--
			*to = &v
		}
		word >>= 16
	}
	return c, true
}

// packBusy makes a word of MaxBusy: 0 where it is as configured, else 2 more than
// it is.
func packBusy(now, configured control.Limits) uint64 {
	if now.MaxBusy == configured.MaxBusy {
		return 0
	}
	return uint64(now.MaxBusy + 2)
}

// unpackBusy makes a change of it, nil for none.
func unpackBusy(word uint64) (*control.BusyLimit, bool) {
	if word == 0 {
		return nil, true
	}
	if word > control.WorkersMax+2 {
		return nil, false
	}
	limit := control.BusyLimit(word) - 2
	return &limit, true
}

// BootTime is the clock of moments in a record, CLOCK_BOOTTIME: unlike a
// master's own it means the same to the next one.
func BootTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0 // there since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}
