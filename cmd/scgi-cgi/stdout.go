package main

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// moveSize bounds one splice, in bytes; a pipe holds 64 KiB unless its program
// made it larger.
const moveSize = 1 << 20

// An output is the reading end of a program's standard output. It ends at the
// end of file, or when the program has exited and what was in the pipe at that
// time has been read: a background child that holds the other end delays
// nothing.
type output struct {
	file *os.File
	raw  syscall.RawConn
	left int64 // bytes to come after the exit was seen, before that -1
}

// newOutput takes fd. The program's end of the pipe is another file description
// and stays blocking.
func newOutput(fd int) *output {
	unix.SetNonblock(fd, true)
	file := os.NewFile(uintptr(fd), "stdout")
	raw, err := file.SyscallConn()
	if err != nil {
		panic("a new file has a SyscallConn: " + err.Error())
	}
	return &output{file: file, raw: raw, left: -1}
}

// writerExited wakes the reader. It may be called from any goroutine.
func (o *output) writerExited() { o.file.SetReadDeadline(time.Unix(1, 0)) }

func (o *output) close() { o.file.Close() }

// exitSeen tells whether err means that the program has exited. All it wrote
// is in the pipe now: an exit comes after the writes before it.
func (o *output) exitSeen(err error) bool {
	if o.left >= 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	o.file.SetReadDeadline(time.Time{})
	o.left = 0
	o.raw.Control(func(fd uintptr) { o.left = int64(waiting(fd)) })
	return true
}

// isFull tells whether the program cannot write more. A page of a pipe is used
// by half at least, because what fits in is put there; so a pipe that has no
// page left holds more than half of its size.
func (o *output) isFull() (full bool) {
	o.raw.Control(func(fd uintptr) {
		size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		full = err == nil && waiting(fd) >= size/2
	})
	return full
}

func (o *output) Read(b []byte) (int, error) {
	for {
		if o.left == 0 {
			return 0, io.EOF
		}
		if o.left > 0 && int64(len(b)) > o.left {
			b = b[:o.left]
		}
		n, err := o.file.Read(b)
		if o.left > 0 {
			o.left -= int64(n)
		}
		if n > 0 || !o.exitSeen(err) {
			return n, err
		}
	}
}

// moveTo moves the rest to a socket as it comes, or so many bytes of it; a
// negative limit is none. It calls last before it moves the last of these. The
// bytes stay in the kernel.
func (o *output) moveTo(socket syscall.RawConn, limit int64, last func()) (total int64, err error) {
	for o.left != 0 && total != limit {
		size := int64(moveSize)
		if o.left > 0 {
			size = min(o.left, size)
		}
		if limit >= 0 {
			size = min(limit-total, size)
		}
		n, err := o.move(socket, int(size), func(pipe uintptr) {
			if limit >= 0 && int64(waiting(pipe)) >= limit-total {
				last()
			}
		})
		total += n
		if o.left > 0 {
			o.left -= n
		}
		if err != nil && !o.exitSeen(err) {
			return total, err
		}
		if err == nil && n == 0 {
			break
		}
	}
	return total, nil
}

// move waits until there is something to move, and moves it. n is 0 at the end
// of file. Before each try it calls before.
func (o *output) move(socket syscall.RawConn, size int, before func(pipe uintptr)) (n int64, err error) {
	rerr := o.raw.Read(func(pipe uintptr) bool {
		werr := socket.Write(func(to uintptr) (done bool) {
			before(pipe)
			n, err = splice(pipe, to, size)
			if err == unix.EAGAIN && waiting(pipe) > 0 {
				// Now that there is something, EAGAIN is the socket's for sure.
				// Waiting for room in it on a mere guess would last forever:
				// the poller reports edges.
				before(pipe)
				n, err = splice(pipe, to, size)
				return err != unix.EAGAIN
			}
			return true
		})
		if werr != nil {
			err = werr
		}
		return err != unix.EAGAIN
	})
	if rerr != nil {
		return 0, rerr
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = os.NewSyscallError("splice", errno)
	}
	return max(n, 0), err
}

func splice(from, to uintptr, size int) (int64, error) {
	for {
		n, err := unix.Splice(int(from), nil, int(to), nil, size, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// waiting returns how many bytes are in a pipe (FIONREAD, which is the same).
func waiting(pipe uintptr) int {
	n, err := unix.IoctlGetInt(int(pipe), unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
