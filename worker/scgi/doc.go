// Package scgi reads and writes the SCGI wire format: it judges the first
// bytes of a connection (Peek), reads a request (ReadRequest), encodes one
// (AppendHeader), reads a reply (ReadResponse) and is a client for all of it
// (Transport).
//
// A request is a netstring of NUL-terminated names and values, then a body of
// CONTENT_LENGTH bytes; a reply is a CGI reply (RFC 3875, section 6) that ends
// where the connection ends. The protocol is written down in
// https://python.ca/scgi/protocol.txt.
//
// The package is strict where that text is, and lenient only where web servers
// are known to differ: SCGI=1 may be absent or last, and HTTP_ names may come
// twice. Everything is bounded, and nothing is believed for framing but the
// netstring's length and CONTENT_LENGTH.
//
// Its functions keep no state and own no connection but the one that Transport
// dials. It does not know about workers, CGI programs or paths, and imports no
// other room.
package scgi
