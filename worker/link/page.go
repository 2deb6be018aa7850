package link

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// EnvPage names the descriptor of a worker's page, a file in memory.
const EnvPage = "SCGID_PAGE_FD"

// PageSlots is for how many connections at a time a page has room.
const PageSlots = 126

// The layout of a page, version 1, in bytes. All words have 64 bits in the byte
// order of the machine, and each is read and written in one piece.
//
//	 0   "SCGIDPG1"
//	 8   the flag: not 0 while the master wants to be told by DONE. Only the
//	     master writes it, and what was set by it does not matter to itself
//	16   48 bytes of zeros: what the master writes has a cache line of its own
//	64   slot 0, and so on up to slot 125, each of 32 bytes:
//	     +0   the state, below
//	     +8   length of the reply's body in bytes, 0 if that is not said
//	     +16  when it was finished, in nanoseconds of CLOCK_MONOTONIC, 0 if
//	          that is not said
//	     +24  8 bytes of zeros
//
// The state says all in one word, so that it can be published by one store:
//
//	bits  0-47  the lower 48 bits of the connection's id
//	     48-57  status of the reply, 0 if that is not said
//	        60  the reply has begun
//	        61  the connection is finished
//	        62  the reply was cut
//	58, 59, 63  zero
//
// # Order
//
// Worker and master each write a word and then read the other's:
//
//	worker: finished -> state; shutdown(2), close(2); read the flag; DONE if it is set
//	master: exchange the flag; read the states of all its connections; wait
//
// A wake-up is lost only if both read what was there before the other's write.
// Where both sides are written in Go that cannot be: a store of sync/atomic is
// sequentially consistent with the loads that follow it (on amd64 it is XCHG,
// on arm64 STLR, which no later LDAR overtakes). A worker in another language
// may have only plain stores, which a processor may hold back in its store
// buffer while the load that follows is executed. Between the two are the
// system calls that end the connection. Each takes and releases locks of the
// kernel, atomic read-modify-write operations, which empty the buffer on x86
// and order the store before the load on arm64 (a release is not overtaken by a
// later acquire). Against whatever is left of it, a master for which somebody waits
// looks again, 2 ms after it set the flag: no store is held back for so long, and a
// worker that reads the flag later sees it.
//
// Length and time are stored before the state, and read after it. Where that
// order is not kept, a line of the log is wrong and nothing else. "Begun" is
// stored before the system call that writes the first byte, and read only when
// the worker is dead and its last system call over.
//
// # Trust
//
// The master trusts nothing in a page. It copies each word once and checks the
// copy; an index is never read from it. A state with another id is about another
// connection, and says nothing. The page has seals against becoming shorter, so
// that no worker can make the master's reading fail.
const (
	pageSize  = 4096
	pageMagic = "SCGIDPG1"

	flagWord   = 1
	firstSlot  = 8 // word
	slotWords  = 4
	bytesAfter = 1 // words behind the state
	endedAfter = 2

	idMask    = 1<<48 - 1
	codeShift = 48
	codeMask  = 1<<10 - 1
	isBegun   = 1 << 60
	isEnded   = 1 << 61
	isCut     = 1 << 62
	noBits    = 1<<63 | 1<<59 | 1<<58
)

// PageContent is what the file of a new page contains. It has to be sealed
// against shrinking before a worker gets it.
func PageContent() []byte {
	content := make([]byte, pageSize)
	copy(content, pageMagic)
	return content
}

// A Page is the memory that a worker shares with its master, as either of them
// has it. Worker and master use different methods.
type Page struct {
	words *pageWords
	mem   []byte
}

// MapPage maps the page in fd, which it borrows: the mapping needs no descriptor.
// The caller unmaps it with Close, or not at all.
func MapPage(fd int) (*Page, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is not a page: %w", fd, os.NewSyscallError("fcntl", err))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if seals&unix.F_SEAL_SHRINK == 0 || st.Size < pageSize {
		return nil, fmt.Errorf("descriptor %d is not a page: %d bytes with seals %#x", fd, st.Size, seals)
	}
	mem, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Page{wordsOf(mem), mem}, nil
}

// Close unmaps the page; nothing may use it any more. Without a page it does
// nothing.
func (p *Page) Close() {
	if p != nil {
		unix.Munmap(p.mem)
	}
}

// Ask has the worker say DONE for what it finishes from now on. Read all states
// after it: what was published before may not be told.
func (p *Page) Ask() { p.words.exchange(flagWord, 1) }

// Unask ends that.
func (p *Page) Unask() { p.words.store(flagWord, 0) }

// A Progress is how far a worker is with a connection, as it says.
type Progress struct {
	Begun    bool
	Finished bool // what follows is valid
	Cut      bool
	Code     int
	Bytes    int64
	Ended    time.Duration // of CLOCK_MONOTONIC; 0, or any other nonsense
}

// Read returns what the worker says of connection id in this slot. The error is
// a *ParseError.
func (p *Page) Read(slot int, id uint64) (Progress, error) {
	word := firstSlot + slot*slotWords
	state := p.words.load(word)
	if state&idMask != id&idMask || state == 0 {
		return Progress{}, nil
	}
	is := Progress{Begun: state&isBegun != 0, Finished: state&isEnded != 0, Cut: state&isCut != 0, Code: int(state >> codeShift & codeMask)}
	if state&noBits != 0 || is.Code > 999 {
		return Progress{}, &ParseError{fmt.Sprintf("its page has the state %#x", state)}
	}
	if !is.Finished {
		return is, nil
	}
	bytes := p.words.load(word + bytesAfter)
	if bytes > 1<<62 {
		return Progress{}, &ParseError{fmt.Sprintf("its page has a reply of %d bytes", bytes)}
	}
	is.Bytes = int64(bytes)
	is.Ended = time.Duration(p.words.load(word+endedAfter) & (1<<63 - 1))
	return is, nil
}

// A Mark is the place of one connection in the page of its worker. That of a
// worker without a page, the zero value, does nothing.
type Mark struct {
	page *Page
	word int
	id   uint64
}

// Begin says that a reply has begun. It comes before the system call that
// writes the first byte, and may come again before others.
func (m Mark) Begin() {
	if m.page == nil {
		return
	}
	for {
		was := m.page.words.load(m.word)
		if was&idMask == m.id && was&(isBegun|isEnded) != 0 {
			return
		}
		if m.page.words.swap(m.word, was, m.id|isBegun) {
			return
		}
	}
}

// Finish publishes that the connection is finished, with the status of the reply
// and the bytes of its body (0: not said). The connection is shut down after it.
// From here on the master may pass the next one, so nothing else may be left to do.
func (m Mark) Finish(code int, bytes int64, cut bool) {
	if m.page == nil {
		return
	}
	state := m.id | isBegun | isEnded
	if 0 < code && code <= 999 {
		state |= uint64(code) << codeShift
	}
	if cut {
		state |= isCut
	}
	m.page.words.store(m.word+bytesAfter, uint64(max(bytes, 0)))
	m.page.words.store(m.word+endedAfter, uint64(monotonic()))
	m.page.words.store(m.word, state)
}

// Asked says whether the master has to be told by DONE that the connection is
// finished. It is read after the connection was closed.
func (m Mark) Asked() bool { return m.page == nil || m.page.words.load(flagWord) != 0 }

// monotonic is CLOCK_MONOTONIC, without the system call that x/sys/unix makes
// of it: package time reads the same clock, from another origin.
func monotonic() time.Duration { return origin.at + time.Since(origin.of) }

var origin = func() (o struct {
	at time.Duration
	of time.Time
}) {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) == nil {
		o.at = time.Duration(ts.Nano())
	}
	o.of = time.Now()
	return o
}()
