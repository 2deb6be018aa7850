package scgi

import "bytes"

// A Protocol is one that is not SCGI, as Foreign finds it.
type Protocol int

// The protocols that web servers and load balancers send by mistake.
const (
	NotForeign Protocol = iota // SCGI, or nothing that is known
	HTTP
	TLS
	FastCGI
	UWSGI
	Proxy // of HAProxy, in front of another protocol
	Protocols
)

var protocolNames = [Protocols]string{"", "http", "tls", "fastcgi", "uwsgi", "proxy"}

func (p Protocol) String() string { return protocolNames[p] }

// Foreign says which protocol a connection speaks that Peek refuses, by its
// first bytes. It allocates nothing.
func Foreign(b []byte) Protocol {
	switch {
	case len(b) == 0 || b[0] >= '0' && b[0] <= '9':
		return NotForeign
	case bytes.HasPrefix(b, []byte("PROXY ")), bytes.HasPrefix(b, []byte("\r\n\r\n\x00\r\nQUIT\n")):
		return Proxy
	case isHTTP(b):
		return HTTP
	case isTLS(b):
		return TLS
	case bytes.HasPrefix(b, []byte{1, 1, 0, 1}): // FastCGI 1.0, 3.3: version 1, FCGI_BEGIN_REQUEST, request 1
		return FastCGI
	case isUWSGI(b):
		return UWSGI
	}
	return NotForeign
}

// isTLS looks for a handshake record (RFC 8446, 5.1).
func isTLS(b []byte) bool { return len(b) >= 3 && b[0] == 22 && b[1] == 3 && b[2] <= 4 }

// isHTTP looks for a request line: a method in capitals, a blank, and a target.
func isHTTP(b []byte) bool {
	n := 0
	for n < len(b) && n < 20 && (b[n] >= 'A' && b[n] <= 'Z' || b[n] == '-') {
		n++
	}
	if n < 3 || n+1 >= len(b) || b[n] != ' ' {
		return false
	}
	target := b[n+1:]
	return target[0] == '/' || target[0] == '*' || bytes.HasPrefix(target, []byte("http")) || bytes.HasPrefix(b, []byte("CONNECT "))
}

// isUWSGI looks for the head of a packet with variables: modifier 0, the size of
// the variables, a second modifier, and a first variable that fits.
func isUWSGI(b []byte) bool {
	if len(b) < 6 || b[0] != 0 || b[3] != 0 {
		return false
	}
	size, name := int(b[1])|int(b[2])<<8, int(b[4])|int(b[5])<<8
	return name > 0 && name+4 <= size
}
