package activation

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Handed is a Socket on its way to the program that the process executes
// next. The path is bytes because a path need not be UTF-8.
type Handed struct {
	Name      []byte
	FD        int
	Inherited bool   // from the service manager
	Path      []byte // opened here: removed by Close; empty otherwise
	Dev, Ino  uint64 // of Path when it was bound
}

// HandOver describes s for TakeOver in the next program. The descriptor stays
// s's and close-on-exec: the caller clears that flag just before execve(2).
func (s *Socket) HandOver() Handed {
	return Handed{Name: []byte(s.name), FD: s.fd, Inherited: s.inherited, Path: []byte(s.path), Dev: s.file.dev, Ino: s.file.ino}
}

// TakeOver makes the Socket again. It takes h.FD, unless it fails: then the
// descriptor is open and as it was, but for O_NONBLOCK.
func TakeOver(h Handed) (*Socket, error) {
	s, err := takeOver(h)
	if err != nil {
		return nil, fmt.Errorf("cannot take over socket %q: fd %d %w", h.Name, h.FD, err)
	}
	return s, nil
}

func takeOver(h Handed) (*Socket, error) {
	s := &Socket{name: string(h.Name), fd: h.FD, inherited: h.Inherited, path: string(h.Path), file: inode{h.Dev, h.Ino}}
	err := checkListening(h.FD)
	if err == nil {
		err = os.NewSyscallError("fcntl", unix.SetNonblock(h.FD, true))
	}
	if err == nil {
		s.addr, s.unix, err = boundAddr(h.FD)
	}
	return s, err
}
