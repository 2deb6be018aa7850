package activation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxName is what sun_path of unix(7) holds beside its NUL.
const maxName = 107

// resolveWait bounds the look-up of a host name.
const resolveWait = 10 * time.Second

// address is where to listen: a Unix name ("/path" or "@name") or an IP
// address with port.
type address struct {
	name string // "" for TCP
	ip   netip.AddrPort
}

func (a address) path() bool { return strings.HasPrefix(a.name, "/") }

// parseAddress reads an address as Open documents it.
func parseAddress(text string) (address, error) {
	if strings.ContainsRune(text, 0) {
		return address{}, errors.New("an address cannot hold a NUL byte")
	}
	if name, ok := strings.CutPrefix(text, "unix:"); ok {
		return unixAddress(name)
	}
	if hostport, ok := strings.CutPrefix(text, "tcp:"); ok {
		return tcpAddress(hostport)
	}
	if strings.HasPrefix(text, "@") || strings.Contains(text, "/") {
		return unixAddress(text)
	}
	return tcpAddress(text)
}

func unixAddress(name string) (address, error) {
	switch {
	case strings.HasPrefix(name, "@"):
		if len(name) == 1 {
			return address{}, errors.New("an abstract name wants at least one character after @")
		}
		if len(name)-1 > maxName {
			return address{}, fmt.Errorf("the abstract name has %d bytes, at most %d are possible", len(name)-1, maxName)
		}
	case !strings.HasPrefix(name, "/"):
		return address{}, errors.New("an absolute path is wanted")
	case strings.HasSuffix(name, "/"):
		return address{}, errors.New("the path of a socket is wanted, not of a directory")
	case len(name) > maxName:
		return address{}, fmt.Errorf("the path has %d bytes, at most %d are possible", len(name), maxName)
	}
	return address{name: name}, nil
}

func tcpAddress(text string) (address, error) {
	host, service, err := net.SplitHostPort(text)
	if err != nil {
		return address{}, errors.New("neither an absolute path, @name, host:port nor [IPv6]:port")
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("the port must be a number from 0 to 65535, not %q", service)
	}
	if host == "" || host == "*" {
		return address{}, fmt.Errorf("this would listen on every address of the machine; write 0.0.0.0:%d or [::]:%d if that is meant", port, port)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		if ip, err = resolve(host); err != nil {
			return address{}, err
		}
	}
	return address{ip: netip.AddrPortFrom(ip.Unmap(), uint16(port))}, nil
}

// resolve returns the first address of host.
func resolve(host string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveWait)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(ips) == 0 {
		return netip.Addr{}, fmt.Errorf("host %s has no address", host)
	}
	return ips[0], nil
}

// sockaddr returns a as bind(2) wants it, with its family.
func (a address) sockaddr() (unix.Sockaddr, int, error) {
	if a.name != "" {
		return &unix.SockaddrUnix{Name: a.name}, unix.AF_UNIX, nil
	}
	ip, port := a.ip.Addr(), int(a.ip.Port())
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: ip.As4()}, unix.AF_INET, nil
	}
	zone, err := zoneID(ip.Zone())
	return &unix.SockaddrInet6{Port: port, Addr: ip.As16(), ZoneId: zone}, unix.AF_INET6, err
}

// zoneID turns the part after % of a link-local address into an index.
func zoneID(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	itf, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("there is no network interface %q", zone)
	}
	return uint32(itf.Index), nil
}
