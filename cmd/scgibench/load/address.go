package load

import (
	"fmt"
	"net"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An address is a socket address as connect(2) takes it.
type address struct {
	family int
	raw    unix.RawSockaddrAny
	size   uintptr
}

// resolve reads /path, unix:/path, @abstract, unix:@abstract or host:port. A
// host that has several addresses is reached at the first.
func resolve(s string) (address, error) {
	path := strings.TrimPrefix(s, "unix:")
	if path != s || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "@") {
		return unixAddress(path)
	}
	if _, _, err := net.SplitHostPort(s); err != nil {
		return address{}, fmt.Errorf("address %q is not /path, unix:/path, @abstract or host:port", s)
	}
	tcp, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		return address{}, fmt.Errorf("address %q: %v", s, err)
	}
	if tcp.Port == 0 {
		return address{}, fmt.Errorf("address %q: no port", s)
	}
	return tcpAddress(tcp)
}

func unixAddress(path string) (address, error) {
	a := address{family: unix.AF_UNIX}
	sa := (*unix.RawSockaddrUnix)(unsafe.Pointer(&a.raw))
	if path == "" || path == "@" || strings.ContainsRune(path, 0) {
		return a, fmt.Errorf("address %q: no path", path)
	}
	if len(path) >= len(sa.Path) {
		return a, fmt.Errorf("address %q: the path is longer than %d bytes", path, len(sa.Path)-1)
	}
	sa.Family = unix.AF_UNIX
	raw := (*[len(sa.Path)]byte)(unsafe.Pointer(&sa.Path)) // int8 on some machines
	copy(raw[:], path)
	a.size = unsafe.Offsetof(sa.Path) + uintptr(len(path)) + 1
	if path[0] == '@' {
		raw[0] = 0
		a.size-- // an abstract name has no NUL at its end
	}
	return a, nil
}

func tcpAddress(tcp *net.TCPAddr) (address, error) {
	if ip := tcp.IP.To4(); ip != nil || tcp.IP == nil {
		a := address{family: unix.AF_INET, size: unix.SizeofSockaddrInet4}
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		sa.Family = unix.AF_INET
		sa.Port = bigEndian(tcp.Port)
		copy(sa.Addr[:], ip)
		return a, nil
	}
	a := address{family: unix.AF_INET6, size: unix.SizeofSockaddrInet6}
	sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.raw))
	sa.Family = unix.AF_INET6
	sa.Port = bigEndian(tcp.Port)
	copy(sa.Addr[:], tcp.IP)
	if tcp.Zone != "" {
		link, err := net.InterfaceByName(tcp.Zone)
		if err != nil {
			return a, fmt.Errorf("address %v: %v", tcp, err)
		}
		sa.Scope_id = uint32(link.Index)
	}
	return a, nil
}

// bigEndian is a port as the kernel reads it from a 16-bit field.
func bigEndian(port int) uint16 {
	var v uint16
	b := (*[2]byte)(unsafe.Pointer(&v))
	b[0], b[1] = byte(port>>8), byte(port)
	return v
}
