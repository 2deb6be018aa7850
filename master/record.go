package master

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// recordSize is the size of a record's file, in bytes.
const recordSize = 4096

// The words of a record, version 1. Each is written in one piece and makes
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
	wordStake   // accepted connections that no worker has; one too many while one is on its way
	wordWorkers // connections at workers, at the end of the last turn of the loop
	wordServed  // likewise, since the master began
	words
)

const (
	recordMagic   = 0x6365726469676373 // "scgidrec" as bytes
	recordVersion = 1
)

// What the word for the state says.
const (
	recordNew     = iota // no master has begun yet
	recordRunning        // one has, and has not ended in order
	recordEnded          // in order: nothing is left to be told
	recordStates
)

// recordSeals keep a file from changing its size: what is cut off from a mapped
// file kills who touches it, by SIGBUS.
const recordSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// A Record is what a master leaves to the next one in case it ends without a
// goodbye: limits and a pause set at run time, and how many connections only it
// had. It is a page of shared memory that the service manager keeps (see
// activation.Notifier.Store) and the loop writes without a system call, so that
// it is true whenever the master dies.
//
// A Record owns its descriptor and its mapping. Only the master it is given to
// writes it. The methods of a nil Record do nothing.
type Record struct {
	fd   int
	mem  []byte
	page *page
	left *left // by a master that crashed; nil is none
}

// NewRecord makes an empty record for the pool of this name.
func NewRecord(pool string) (*Record, error) {
	fd, err := makeMemfd()
	if err != nil {
		return nil, err
	}
	var p page
	p.put(wordMagic, recordMagic)
	p.put(wordVersion, recordVersion)
	p.put(wordPool, poolHash(pool))
	if err := fill(fd, &p); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return OpenRecord(fd, pool)
}

// makeMemfd makes an empty file in memory that can be sealed.
func makeMemfd() (int, error) {
	const name, flags = "scgid-state", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	// Nobody is to execute it; Linux 6.1 cannot be told so yet.
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, flags)
	}
	return fd, os.NewSyscallError("memfd_create", err)
}

// fill writes the file, so that its memory is there and no later store can
// fail, and seals it.
func fill(fd int, p *page) error {
	n, err := unix.Pwrite(fd, p.bytes(), 0)
	if err != nil {
		return os.NewSyscallError("pwrite", err)
	}
	if n != recordSize {
		return fmt.Errorf("cannot write %d bytes of memory: only %d written", recordSize, n)
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, recordSeals)
	return os.NewSyscallError("fcntl", err)
}

// OpenRecord opens a record of the pool of this name. Nothing about fd is
// believed before it is looked at. It takes fd, with an error too.
func OpenRecord(fd int, pool string) (*Record, error) {
	r := &Record{fd: fd}
	err := checkSealed(fd)
	if err == nil {
		err = r.mapFile()
	}
	var l left
	if err == nil {
		l, err = decode(r.page, poolHash(pool))
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("cannot use the record of the master before: %w", err)
	}
	if l.state == recordRunning {
		r.left = &l
	}
	return r, nil
}

// checkSealed says why fd is no file in memory of our size for ever.
func checkSealed(fd int) error {
	// Only such files have seals, and only these are checked first: then the
	// size is final.
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err == unix.EINVAL {
		return errors.New("it is not a file in memory")
	}
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if seals&recordSeals != recordSeals {
		return fmt.Errorf("it is not sealed (seals %#x)", seals)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Size != recordSize {
		return fmt.Errorf("it has %d bytes instead of %d", st.Size, recordSize)
	}
	return nil
}

func (r *Record) mapFile() (err error) {
	r.mem, err = unix.Mmap(r.fd, 0, recordSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	r.page = pageOf(r.mem)
	return nil
}

// FD returns the record's descriptor, borrowed: it is close-on-exec.
func (r *Record) FD() int { return r.fd }

// Close closes the record. What it says stays with whoever else holds it.
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

// crashed returns what a master that crashed left behind, nil if none did.
func (r *Record) crashed() *left {
	if r == nil {
		return nil
	}
	return r.left
}

// begin notes that a master begins, with nothing accepted.
func (r *Record) begin(pid int) {
	if r == nil {
		return
	}
	p := r.page
	p.put(wordStake, 0)
	p.put(wordWorkers, 0)
	p.put(wordServed, 0)
	p.put(wordPID, uint64(pid))
	p.put(wordBegan, uint64(bootTime()))
	p.put(wordMasters, p.get(wordMasters)+1)
	p.put(wordState, recordRunning)
	r.left = nil
}

// end notes that the master ends in order.
func (r *Record) end() {
	if r != nil {
		r.page.put(wordState, recordEnded)
	}
}

// set writes a word.
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
