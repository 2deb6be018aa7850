package activation

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// StateName is the name of the server's own entry in the service manager's
// descriptor store.
const StateName = "scgid-state"

// storeDefault is the name that the service manager gives to an entry without
// FDNAME=.
const storeDefault = "stored"

// A deposit is a descriptor on its way into the store, under a name.
type deposit struct {
	name string
	fd   int // our copy
}

// Store has the service manager keep fd, and hand it to the next server of the
// unit as the entry called name. Entries that have this name already are removed.
// The manager ignores, without a word, what has no room in the unit's
// FileDescriptorStoreMax=. Store borrows fd. Without a service manager it does
// nothing.
func (n *Notifier) Store(name string, fd int) (err error) {
	n.change(func() {
		own := -1
		if own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			err = fmt.Errorf("cannot store descriptor %q: %w", name, os.NewSyscallError("fcntl", err))
			return
		}
		n.due.store.drop()
		n.due.store = &deposit{name, own}
	})
	return err
}

// HasManager says whether there is a service manager to be told anything.
func (n *Notifier) HasManager() bool { return n.addr != "" }

// send gives d to the manager. One message may either remove or add; when only
// the first of the two has arrived, sending both again does no harm. (The manager
// drops an entry that hangs up, unless FDPOLL=0 is said; a file does not hang up.)
func (d *deposit) send(c *net.UnixConn) error {
	if _, err := c.Write([]byte("FDSTOREREMOVE=1\nFDNAME=" + d.name)); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	// Not by WriteMsgUnix, which refuses a connected datagram socket.
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), []byte("FDSTORE=1\nFDNAME="+d.name), unix.UnixRights(d.fd), nil, unix.MSG_NOSIGNAL)
		return sent != unix.EAGAIN
	})
	if err == nil {
		err = os.NewSyscallError("sendmsg", sent)
	}
	return err
}

// drop closes our copy; the manager has its own.
func (d *deposit) drop() {
	if d != nil {
		unix.Close(d.fd)
	}
}
