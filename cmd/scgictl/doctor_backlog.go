package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// smallBacklog is a limit below which a short burst is enough to have
// connections refused.
const smallBacklog = 128

// checkBacklogs asks the kernel how much waits in front of each listener.
func (d *doctor) checkBacklogs(context.Context) {
	const what = "backlog"
	for _, text := range d.where {
		to, err := parseEndpoint(text)
		if err != nil {
			continue // told already
		}
		n, limit, err := d.backlog(to)
		if err != nil {
			d.add(skipped, what, fmt.Sprintf("%s: %v", to, err), "")
			continue
		}
		g, hint := judgeBacklog(n, limit, somaxconn(), d.name)
		d.add(g, what, fmt.Sprintf("%s: %s", to, fill(n, limit)), hint)
	}
}

// backlog asks the kernel, and where that does not tell, the master.
func (d *doctor) backlog(to endpoint) (n, limit int, err error) {
	if n, limit, err = kernelBacklog(to); err == nil {
		return n, limit, nil
	}
	if d.status != nil {
		for _, l := range d.status.Queue.Listeners {
			if l.Address == to.address && l.Backlog >= 0 && l.BacklogLimit > 0 {
				return l.Backlog, l.BacklogLimit, nil
			}
		}
	}
	return 0, 0, err
}

func judgeBacklog(n, limit, most int, pool string) (g grade, hint string) {
	raise := "raise Backlog= in scgid@" + pool + ".socket"
	switch {
	case n >= limit:
		return bad, "it is full, and web servers cannot connect: scgictl explain " + pool + " says why; " + raise
	case n >= limit-limit/5:
		return bad, "it is nearly full: scgictl explain " + pool + " says why; " + raise
	case limit < smallBacklog && limit == most:
		return notable, fmt.Sprintf("the kernel allows no more than %d: sysctl -w net.core.somaxconn=4096, then start the pool anew", most)
	case limit < smallBacklog:
		return notable, "that is few: " + raise
	}
	return good, ""
}

// somaxconn is the kernel's bound on every backlog, see listen(2); 0 if it is
// not known.
func somaxconn() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// errNoListener: the kernel does not know a listener with this address. It may
// be in another network namespace.
var errNoListener = errors.New("there is no listener with this address in this network namespace")

// kernelBacklog reads how many connections wait to be accepted, and how many
// may, by sock_diag(7). It needs no privileges and no descriptor of the
// listener.
func kernelBacklog(to endpoint) (n, limit int, err error) {
	if to.network == "unix" {
		return unixBacklog(to.address)
	}
	addr, err := net.ResolveTCPAddr("tcp", to.address)
	if err != nil {
		return 0, 0, err
	}
	return tcpBacklog(addr.AddrPort())
}

// From linux/unix_diag.h and linux/inet_diag.h.
const (
	stateListen = 10 // TCP_LISTEN, for Unix sockets too

	unixShowName, unixShowVFS, unixShowQueue = 0x01, 0x02, 0x10
	unixAttrName, unixAttrVFS, unixAttrQueue = 0, 1, 4

	unixMsgSize = 16
	inetReqSize = 56
	inetMsgSize = 72
)

func unixBacklog(name string) (n, limit int, err error) {
	req := make([]byte, 24) // struct unix_diag_req
	req[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(req[4:], 1<<stateListen)
	binary.NativeEndian.PutUint32(req[12:], unixShowName|unixShowVFS|unixShowQueue)
	match := unixMatch(name)
	err = sockDiag(req, func(msg []byte) bool {
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

func tcpBacklog(addr netip.AddrPort) (n, limit int, err error) {
	ip := addr.Addr().Unmap()
	family := byte(unix.AF_INET)
	if ip.Is6() {
		family = unix.AF_INET6
	}
	req := make([]byte, inetReqSize) // struct inet_diag_req_v2
	req[0], req[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], 1<<stateListen)
	binary.BigEndian.PutUint16(req[8:], addr.Port())
	err = sockDiag(req, func(msg []byte) bool {
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
