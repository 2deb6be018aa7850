package api

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Handed is a control socket on its way to the program that the process
// executes next. The path is bytes because a path need not be UTF-8.
type Handed struct {
	Path []byte
	FD   int // the listening socket
	File int // the file at Path, for Close to know it again
}

// HandOver describes l, which Listen or TakeOver made, for TakeOver in the next
// program. Both descriptors stay l's and close-on-exec: the caller clears that
// flag just before execve(2).
func HandOver(l net.Listener) (Handed, error) {
	own, ok := l.(*listener)
	if !ok {
		return Handed{}, errors.New("not a control socket")
	}
	h := Handed{Path: []byte(own.path)}
	var err error
	if h.FD, err = number(own.UnixListener); err == nil {
		h.File, err = number(own.file)
	}
	return h, err
}

// number returns a descriptor's, without making it blocking, as its Fd method
// would.
func number(of syscall.Conn) (int, error) {
	raw, err := of.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	err = raw.Control(func(n uintptr) { fd = int(n) })
	return fd, err
}

// TakeOver makes the control socket again, with copies of the descriptors:
// those in h stay as they are, and the caller closes them.
func TakeOver(h Handed) (net.Listener, error) {
	l, err := takeOver(h)
	if err != nil {
		return nil, fmt.Errorf("cannot take over the control socket %s: %w", h.Path, err)
	}
	return l, nil
}

func takeOver(h Handed) (*listener, error) {
	// FileListener makes a copy itself, but closing the File would close h's.
	fd, err := unix.FcntlInt(uintptr(h.FD), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "control socket")
	made, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	ul, ok := made.(*net.UnixListener)
	if !ok {
		made.Close()
		return nil, errors.New("it is not a Unix socket")
	}
	ul.SetUnlinkOnClose(false)
	file, err := unix.FcntlInt(uintptr(h.File), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		ul.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &listener{UnixListener: ul, path: string(h.Path), file: os.NewFile(uintptr(file), string(h.Path))}, nil
}
