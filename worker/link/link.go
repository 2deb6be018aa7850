// Package link is the socket between the master and one worker: protocol 1 of
// scgid-worker(7), text messages and passed connections over an AF_UNIX
// SOCK_SEQPACKET pair.
//
//	worker -> master   READY=1 [SLOTS=n] [PAGE=1] [DUMPSIGNAL=name]
//	                   DONE=<id> [CODE=n] [BYTES=n]
//	                   STATUS=text | FAILED=text | EXTEND=<id> <usec>
//	master -> worker   CONN=<id> WAITED=<usec> [SLOT=n], with exactly one descriptor
//	                   end of file: finish what you hold, then exit 0
//
// A message is one packet of KEY=VALUE lines; unknown keys are passed over, as
// in sd_notify(3). Beside the link a worker may share a page of memory with its
// master, see Page. Every descriptor in an argument is borrowed unless its
// function says otherwise.
//
// The package keeps no state about workers or connections and never waits on
// the master's side. It does not know what a request is.
package link

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Protocol is the version that SCGID_PROTOCOL names.
const Protocol = 1

// MaxMessage is the longest packet in bytes, either way. A longer one is a
// violation.
const MaxMessage = 2048

// The environment of a worker.
const (
	EnvFD         = "SCGID_WORKER_FD"
	EnvWorker     = "SCGID_WORKER"
	EnvGeneration = "SCGID_GENERATION"
	EnvProtocol   = "SCGID_PROTOCOL"
	EnvPool       = "SCGID_POOL"
)

var (
	// ErrFull means that the link's buffer is full: its reader does not
	// receive.
	ErrFull = errors.New("the link is full")

	// ErrLeaving means that the other end takes no more: it has closed, or
	// has shut down its reading side.
	ErrLeaving = errors.New("the other end of the link takes no more")

	// ErrBusy means that the kernel had no room for one more descriptor in
	// flight or for the message. Nobody on the link is to blame; try again.
	ErrBusy = errors.New("the kernel has no room for a passed descriptor")

	// ErrEmpty means that no packet is waiting.
	ErrEmpty = errors.New("no packet is waiting")
)

// Pair makes a link. Both descriptors are close-on-exec and belong to the
// caller. The master's end does not block; the worker's does, because a worker
// in a plain language wants to wait in recvmsg.
func Pair() (master, worker int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return -1, -1, os.NewSyscallError("fcntl", err)
	}
	return fds[0], fds[1], nil
}

// Retire says to the worker: finish what is queued and what you hold, then
// exit. The worker sees the packets sent before, then end of file. fd is the
// master's end.
func Retire(fd int) error {
	return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR))
}

// sendError sorts the errno of a sendmsg(2) that carried a descriptor.
func sendError(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN:
		// unix(7): on a full queue sendmsg fails with EAGAIN. We must not
		// wait: the master has other workers to feed.
		return ErrFull
	case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
		// ECONNRESET instead of EPIPE when the peer closed with packets
		// unread.
		return ErrLeaving
	case unix.ETOOMANYREFS, unix.ENOBUFS, unix.ENOMEM:
		return ErrBusy
	}
	return os.NewSyscallError("sendmsg", errno)
}
