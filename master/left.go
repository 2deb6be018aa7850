package master

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

// A left is what a record says.
type left struct {
	state  uint64
	pid    int
	limits control.Change
	paused bool
	resume time.Duration // of paused: when, in CLOCK_BOOTTIME; 0 is never
	stake  uint64
	active uint64 // at workers
	served uint64
}

// decode reads a record for a pool. An error says why nothing in it is to be
// believed.
func decode(p *page, pool uint64) (left, error) {
	l := left{state: p.get(wordState), stake: p.get(wordStake), active: p.get(wordWorkers), served: p.get(wordServed)}
	pid, pause := p.get(wordPID), p.get(wordPause)
	switch {
	case p.get(wordMagic) != recordMagic:
		return left{}, errors.New("it is something else")
	case p.get(wordVersion) != recordVersion:
		return left{}, fmt.Errorf("its layout has version %d, not %d", p.get(wordVersion), recordVersion)
	case p.get(wordPool) != pool:
		return left{}, errors.New("it belongs to another pool")
	case l.state >= recordStates, pid > maxPID, l.stake > maxHeld, l.active > maxHeld, pause > lastResume && pause != forever:
		return left{}, errors.New("it makes no sense")
	}
	var ok bool
	if l.limits, ok = unpackLimits(p.get(wordLimits)); !ok {
		return left{}, errors.New("its limits make no sense")
	}
	l.pid = int(pid)
	l.paused = pause != unpaused
	if l.paused && pause != forever {
		l.resume = time.Duration(pause)
	}
	return l, nil
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

// bootTime is the clock of moments in a record: unlike a master's own it means
// the same to the next one.
func bootTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0 // there since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}
