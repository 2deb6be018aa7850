package load

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const edge = 1 << 31 // EPOLLET, which package unix has as a negative number

// raw makes a system call without telling the scheduler, which saves the
// hand-over of the P around each. Only calls that do not block may use it, and
// epoll_pwait2 for a few ms: meanwhile a garbage collection waits for us.
// Pointers among the arguments must be to the heap: a stack may move.
func raw(call, a, b, c uintptr) (uintptr, unix.Errno) {
	r, _, errno := unix.RawSyscall(call, a, b, c)
	return r, errno
}

func raw4(call, a, b, c, d uintptr) (uintptr, unix.Errno) {
	r, _, errno := unix.RawSyscall6(call, a, b, c, d, 0, 0)
	return r, errno
}

// wait returns what has happened, after maxWait or at the next pause's end
// at the latest. It keeps the P meanwhile, unless it would be the last one:
// then a server in the same process could not run.
func (e *engine) wait() []unix.EpollEvent {
	wait := int64(maxWait)
	if e.asleep.len() > 0 {
		_, at := e.asleep.first()
		wait = min(wait, max(0, at-e.now()))
	}
	e.ts = unix.NsecToTimespec(wait)
	wait6 := unix.RawSyscall6
	if e.polite {
		wait6 = unix.Syscall6
	}
	n, _, errno := wait6(unix.SYS_EPOLL_PWAIT2, uintptr(e.epoll), uintptr(unsafe.Pointer(&e.events[0])),
		uintptr(len(e.events)), uintptr(unsafe.Pointer(&e.ts)), 0, 0)
	if errno != 0 { // EINTR: the runtime's own signals
		return nil
	}
	return e.events[:n]
}

// A queue holds clients in the order in which they wake: all sleep equally
// long. It has room for every client.
type queue struct {
	ring []sleeper
	head int
	n    int
}

type sleeper struct {
	client int
	at     int64
}

func (q *queue) init(room int)       { q.ring = make([]sleeper, room) }
func (q *queue) len() int            { return q.n }
func (q *queue) first() (int, int64) { return q.ring[q.head].client, q.ring[q.head].at }

func (q *queue) drop() {
	q.head = (q.head + 1) % len(q.ring)
	q.n--
}

func (q *queue) push(client int, at int64) {
	q.ring[(q.head+q.n)%len(q.ring)] = sleeper{client, at}
	q.n++
}
