// Package record is what a master leaves to the next one in case it crashes:
// limits and a pause set at run time, and how many connections only it had.
//
// A Record is a page of memory that the service manager keeps and the master
// writes without a system call. Nothing in a page is believed before it has
// been checked. The package knows no service manager and decides nothing.
package record

import (
	"fmt"
	"hash/fnv"
	"os"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/memfd"
	"golang.org/x/sys/unix"
)

// size is the size of a record's file, in bytes.
const size = 4096

// The words of a record, version 2. Each is written in one piece and makes
// sense beside any value of the others, so that a master can be killed between
// any two instructions.
const (
	wordMagic   = iota
	wordVersion // of this layout
	wordPool    // a hash of the pool's name
	wordMasters // how many masters have begun with it
	wordPID     // of the master
	wordBegan   // when it began: CLOCK_BOOTTIME in nanoseconds
	wordState
	wordLimits  // that differ from the configuration, see packLimits
	wordPause   // when a pause ends: CLOCK_BOOTTIME in nanoseconds, or unpaused, or forever
	wordAtRisk  // accepted connections that no worker has; one too many while one is on its way
	wordWorkers // connections at workers, at the end of the last turn of the loop
	wordServed  // likewise, since the master began
	wordBusy    // MaxBusy if it differs from the configuration, see packBusy
	words
)

const (
	magic   = 0x6365726469676373 // "scgidrec" as bytes
	version = 2
)

// What the word for the state says.
const (
	stateNew     = iota // no master has begun yet
	stateRunning        // one has, and has not ended in order
	stateEnded          // in order: nothing is left to be told
	states
)

// A Record is a page of shared memory that the service manager keeps (see
// activation.Notifier.Store) and the master writes without a system call, so
// that what it says is true whenever the master dies.
//
// A Record owns its descriptor and its mapping. Only the master it is given to
// writes it. The methods of a nil Record do nothing.
type Record struct {
	fd    int
	mem   []byte
	page  *page
	crash *Crash // of the master before; nil is none
}

// New makes an empty record for the pool of this name.
func New(pool string) (*Record, error) {
	var p page
	p.put(wordMagic, magic)
	p.put(wordVersion, version)
	p.put(wordPool, poolHash(pool))
	fd, err := memfd.New("scgid-state", p.bytes(), memfd.Fixed)
	if err != nil {
		return nil, err
	}
	return Open(fd, pool)
}

// Open opens a record of the pool of this name. Nothing about fd is
// believed before it is looked at. It takes fd, with an error too.
func Open(fd int, pool string) (*Record, error) {
	r := &Record{fd: fd}
	err := checkSealed(fd)
	if err == nil {
		err = r.mapFile()
	}
	var c Crash
	var state uint64
	if err == nil {
		c, state, err = decode(r.page, poolHash(pool))
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("cannot use the record of the previous master: %w", err)
	}
	if state == stateRunning {
		r.crash = &c
	}
	return r, nil
}

// checkSealed says why fd is not a file in memory that keeps our size forever.
func checkSealed(fd int) error {
	n, err := memfd.Check(fd, memfd.Fixed)
	if err == nil && n != size {
		err = fmt.Errorf("it has %d bytes instead of %d", n, size)
	}
	return err
}

func (r *Record) mapFile() (err error) {
	r.mem, err = unix.Mmap(r.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	r.page = pageOf(r.mem)
	return nil
}

// FD returns the record's descriptor, borrowed: it is close-on-exec.
func (r *Record) FD() int { return r.fd }

// Close closes the record. What it says stays with the other holders of its file.
func (r *Record) Close() {
	if r == nil {
		return
	}
	if r.mem != nil {
		unix.Munmap(r.mem)
	}
	unix.Close(r.fd)
	r.mem, r.page, r.fd = nil, nil, -1
}

// Newer says whether a master began with r after the last one that began with
// other.
func (r *Record) Newer(other *Record) bool {
	return other == nil || r.page.get(wordBegan) > other.page.get(wordBegan)
}

// Crashed returns what a master that crashed left behind, nil if none did.
func (r *Record) Crashed() *Crash {
	if r == nil {
		return nil
	}
	return r.crash
}

// Begin notes that a master begins, with nothing accepted.
func (r *Record) Begin(pid int) {
	if r == nil {
		return
	}
	p := r.page
	p.put(wordAtRisk, 0)
	p.put(wordWorkers, 0)
	p.put(wordServed, 0)
	p.put(wordPID, uint64(pid))
	p.put(wordBegan, uint64(BootTime()))
	p.put(wordMasters, p.get(wordMasters)+1)
	p.put(wordState, stateRunning)
	r.crash = nil
}

// End notes that the master ends in order.
func (r *Record) End() { r.set(wordState, stateEnded) }

// SetLimits notes which limits differ from the configuration.
func (r *Record) SetLimits(now, configured control.Limits) {
	r.set(wordLimits, packLimits(now, configured))
	r.set(wordBusy, packBusy(now, configured))
}

// SetPause notes a pause until a moment of CLOCK_BOOTTIME; 0 is without end.
func (r *Record) SetPause(until time.Duration) {
	if until == 0 {
		r.set(wordPause, forever)
		return
	}
	r.set(wordPause, uint64(min(until, lastResume)))
}

// SetUnpaused notes that there is no pause.
func (r *Record) SetUnpaused() { r.set(wordPause, unpaused) }

// SetAtRisk notes how many accepted connections a crash would lose: those that
// no worker has.
func (r *Record) SetAtRisk(n int) { r.set(wordAtRisk, uint64(n)) }

// SetAtWorkers notes how many connections are at workers.
func (r *Record) SetAtWorkers(n int) { r.set(wordWorkers, uint64(n)) }

// SetServed notes how many requests have been served.
func (r *Record) SetServed(n uint64) { r.set(wordServed, n) }

func (r *Record) set(word int, v uint64) {
	if r != nil {
		r.page.put(word, v)
	}
}

func poolHash(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}
