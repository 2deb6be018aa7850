package main

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A watcher tells of events on descriptors that no goroutine waits for: a client
// that leaves, a program that exits or writes to its standard error. One
// goroutine waits for all of them; it has an epoll set of its own because
// net.Conn and os.File can wait only for what they read or write.
type watcher struct {
	set  int // the epoll descriptor
	file *os.File
	raw  syscall.RawConn

	mu    sync.Mutex
	next  uint64
	calls map[uint64]func() // guarded by mu
}

func newWatcher() (*watcher, error) {
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(set, true); err != nil {
		unix.Close(set)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(set), "watcher")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	w := &watcher{set: set, file: file, raw: raw, calls: make(map[uint64]func())}
	go raw.Read(w.dispatch)
	return w, nil
}

// close ends the watcher. Nothing is called after that.
func (w *watcher) close() { w.file.Close() }

// add makes call be called once, when one of events or EPOLLHUP or EPOLLERR
// shows on fd. It borrows fd until remove. The call must not wait: it holds up
// those for the others.
func (w *watcher) add(fd int, events uint32, call func()) (token uint64, err error) {
	return w.register(unix.EPOLL_CTL_ADD, fd, events, call)
}

// again is add for a fd of which the call was made.
func (w *watcher) again(fd int, events uint32, call func()) (token uint64, err error) {
	return w.register(unix.EPOLL_CTL_MOD, fd, events, call)
}

func (w *watcher) register(how, fd int, events uint32, call func()) (token uint64, err error) {
	w.mu.Lock()
	w.next++
	token = w.next
	w.calls[token] = call
	w.mu.Unlock()
	ev := unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: int32(token), Pad: int32(token >> 32)}
	if err := unix.EpollCtl(w.set, how, fd, &ev); err != nil {
		w.take(token)
		return 0, os.NewSyscallError("epoll_ctl", err)
	}
	return token, nil
}

// remove gives fd back. It returns false when the call was made or has begun,
// and then it may still be running.
//
// remove is called although fd is closed afterwards: the master holds a
// duplicate of each connection, and so the connection would stay in the set.
func (w *watcher) remove(fd int, token uint64) bool {
	unix.EpollCtl(w.set, unix.EPOLL_CTL_DEL, fd, nil)
	return w.take(token) != nil
}

// take returns a call that nobody has taken before, else nil.
func (w *watcher) take(token uint64) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	call := w.calls[token]
	delete(w.calls, token)
	return call
}

// dispatch makes the calls that are due. The runtime's poller reports edges, so
// it continues until there is nothing more.
func (w *watcher) dispatch(set uintptr) (done bool) {
	var events [32]unix.EpollEvent
	for {
		n, err := unix.EpollWait(int(set), events[:], 0)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return false
		}
		for _, ev := range events[:n] {
			call := w.take(uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32)
			if call != nil {
				call()
			}
		}
	}
}
