package activation

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoListener says that the kernel does not know a listening socket with
// this address. It may be in another network namespace.
var ErrNoListener = errors.New("there is no listener with this address in this network namespace")

// Backlog returns how many connections wait in the kernel to be accepted from
// the socket, and how many may. For TCP it asks the socket (TCP_INFO of
// tcp(7): on a listener tcpi_unacked and tcpi_sacked), for a Unix socket
// sock_diag(7), as ss -xl does. It may be called from any goroutine.
func (s *Socket) Backlog() (n, limit int, err error) {
	if s.unix {
		return unixBacklogOf(s.fd)
	}
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockopt", err)
	}
	return int(info.Unacked), int(info.Sacked), nil
}

// BacklogAt is Backlog for a socket of another process that listens on address:
// a path or an abstract name with an @ in front for the network "unix", HOST:PORT
// for "tcp". It needs no privileges. The error is ErrNoListener if there is no
// such socket.
func BacklogAt(network, address string) (n, limit int, err error) {
	if network == "unix" {
		return unixBacklogAt(address)
	}
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return 0, 0, err
	}
	return tcpBacklogAt(addr.AddrPort())
}

// From linux/unix_diag.h and linux/inet_diag.h, which x/sys/unix lacks.
const (
	stateListen = 10 // TCP_LISTEN, for Unix sockets too

	unixShowName, unixShowVFS, unixShowQueue = 0x01, 0x02, 0x10
	unixAttrName, unixAttrVFS, unixAttrQueue = 0, 1, 4

	unixReqSize = 24
	unixMsgSize = 16
	inetReqSize = 56
	inetMsgSize = 72
)

// unixBacklogOf asks about the socket with fd's inode number, and for nothing
// else.
func unixBacklogOf(fd int) (n, limit int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, 0, os.NewSyscallError("fstat", err)
	}
	req := unixRequest(unixShowQueue)
	binary.NativeEndian.PutUint32(req[8:], uint32(st.Ino))
	for i := 16; i < unixReqSize; i++ {
		req[i] = 0xff // any cookie: numbers are not used again while fd is open
	}
	return unixQueue(req, 0, func(map[uint16][]byte) bool { return true })
}

func unixBacklogAt(name string) (n, limit int, err error) {
	return unixQueue(unixRequest(unixShowName|unixShowVFS|unixShowQueue), unix.NLM_F_DUMP, unixMatch(name))
}

// unixRequest is a struct unix_diag_req for listeners, and these attributes.
func unixRequest(show uint32) []byte {
	req := make([]byte, unixReqSize)
	req[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(req[4:], 1<<stateListen)
	binary.NativeEndian.PutUint32(req[12:], show)
	return req
}

// unixQueue returns the length and limit of the first queue that matches.
func unixQueue(req []byte, flags uint16, match func(map[uint16][]byte) bool) (n, limit int, err error) {
	err = sockDiag(req, flags, func(msg []byte) bool {
		if len(msg) < unixMsgSize {
			return false
		}
		attrs := netlinkAttrs(msg[unixMsgSize:])
		queue := attrs[unixAttrQueue]
		if len(queue) < 8 || !match(attrs) {
			return false
		}
		// On a listener the first is the number that waits, the second the limit.
		n = int(binary.NativeEndian.Uint32(queue))
		limit = int(binary.NativeEndian.Uint32(queue[4:]))
		return true
	})
	return n, limit, err
}

// kernelDev is a device number as the kernel has it inside: 12 bits and 20.
func kernelDev(dev uint64) uint32 { return unix.Major(dev)<<20 | unix.Minor(dev) }

// unixMatch tells whether a socket is the one that is reached by name: by its
// file, since there are links and bind mounts, else by the name it was bound to.
func unixMatch(name string) func(map[uint16][]byte) bool {
	bound := strings.TrimRight(name, "\x00")
	if strings.HasPrefix(bound, "@") {
		bound = "\x00" + bound[1:]
	}
	var st unix.Stat_t
	isFile := strings.HasPrefix(name, "/") && unix.Stat(name, &st) == nil
	return func(attrs map[uint16][]byte) bool {
		own := string(attrs[unixAttrName])
		if !strings.HasPrefix(own, "\x00") {
			own = strings.TrimRight(own, "\x00")
		}
		if !isFile {
			return own == bound
		}
		// A dead socket may have had the same name, and another file system
		// the same number.
		vfs := attrs[unixAttrVFS]
		return len(vfs) >= 8 && binary.NativeEndian.Uint32(vfs) == uint32(st.Ino) &&
			(own == bound || binary.NativeEndian.Uint32(vfs[4:]) == kernelDev(uint64(st.Dev)))
	}
}

func tcpBacklogAt(addr netip.AddrPort) (n, limit int, err error) {
	ip := addr.Addr().Unmap()
	family := byte(unix.AF_INET)
	if ip.Is6() {
		family = unix.AF_INET6
	}
	req := make([]byte, inetReqSize) // struct inet_diag_req_v2
	req[0], req[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], 1<<stateListen)
	binary.BigEndian.PutUint16(req[8:], addr.Port())
	err = sockDiag(req, unix.NLM_F_DUMP, func(msg []byte) bool {
		if len(msg) < inetMsgSize || binary.BigEndian.Uint16(msg[4:]) != addr.Port() {
			return false
		}
		own, _ := netip.AddrFromSlice(msg[8 : 8+ip.BitLen()/8])
		if own != ip.WithZone("") && !own.IsUnspecified() {
			return false
		}
		n = int(binary.NativeEndian.Uint32(msg[56:]))
		limit = int(binary.NativeEndian.Uint32(msg[60:]))
		return true
	})
	return n, limit, err
}
