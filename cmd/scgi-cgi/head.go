package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// maxHead bounds the header of a program's reply, in bytes.
const maxHead = 64 << 10

// errLongHead: the program wrote 64 KiB and no end of a header.
var errLongHead = errors.New("the header of its reply is longer than 64 KiB")

// A head is the header of a reply as it goes to the web server.
type head struct {
	code   int
	length int64  // of the body, as stated; -1 is not stated, or not to be believed
	text   []byte // ends in an empty line
}

// headEnd returns where the body begins, or -1 when b holds no whole header.
// Lines end in LF or CRLF. from is where the search begins: what is before it
// was searched already.
func headEnd(b []byte, from int) int {
	for i := max(0, from-3); ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		i += n + 1
		if n == 0 && i == 1 || i == 2 && b[0] == '\r' { // nothing before the empty line
			return i
		}
		switch rest := b[i:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 2
		}
	}
}

// parseHead reads a program's header, its empty line included, and writes the
// web server's. The same words in the same order, but for:
//
// A first line "HTTP/1.x 200 OK" (an nph- program; taken from any) becomes
// Status, because Apache refuses the line.
//
// Status is always there. The one exception is a Location that begins with a
// slash and came without Status, RFC 3875's local redirect: to say 302 there
// would take from the web server the choice that is its own. With a site (see
// siteURL) that choice is taken: every Location becomes a whole URL.
//
// Connection, Keep-Alive and Transfer-Encoding are left out: they are between
// the web server and its client.
//
// An empty header, a line without colon, a folded line (RFC 3875, 6.3), a NUL
// or CR inside, two Status fields and a status below 200 are errors.
func parseHead(b []byte, site string) (head, error) {
	p := headParser{site: site, length: -1, out: make([]byte, 0, len(b)+32)}
	for first := true; ; first = false {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			return p.end()
		}
		if err := p.add(line, first); err != nil {
			return head{}, err
		}
	}
}

type headParser struct {
	site     string // "" leaves a Location as it is
	out      []byte // the fields that are passed on
	line     bool   // the status is that of a first line HTTP/1.x
	field    bool   // there was a Status
	code     int
	text     string // that comes with the code
	location string
	length   int64 // -1 for none
	lengths  int   // how many were stated
}

func (p *headParser) add(line []byte, first bool) (err error) {
	if bytes.ContainsAny(line, "\x00\r") {
		return fmt.Errorf("line %s of its header holds a NUL or CR", show(string(line)))
	}
	if first && bytes.HasPrefix(line, []byte("HTTP/1.")) {
		_, status, _ := strings.Cut(string(line), " ")
		p.line = true
		p.code, p.text, err = parseStatus(status)
		return err
	}
	name, value, ok := strings.Cut(string(line), ":")
	if !ok || !isToken(name) {
		return fmt.Errorf("%s is no header field", show(string(line)))
	}
	value = strings.Trim(value, " \t")
	switch strings.ToLower(name) {
	case "status":
		return p.addStatus(value)
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding":
		return nil
	case "content-length":
		p.addLength(value)
	case "location":
		value = whole(p.site, value)
		p.location = value
	}
	p.out = append(p.out, name...)
	p.out = append(p.out, ": "...)
	p.out = append(p.out, value...)
	p.out = append(p.out, "\r\n"...)
	return nil
}

func (p *headParser) addStatus(value string) error {
	if p.field {
		return errors.New("its header has two Status fields")
	}
	p.field = true
	code, text, err := parseStatus(value)
	if !p.line {
		p.code, p.text = code, text
	}
	return err
}

// addLength takes a Content-Length. One that is no number, and two, are the web
// server's affair.
func (p *headParser) addLength(value string) {
	p.lengths++
	n, err := strconv.ParseUint(value, 10, 62)
	if p.length = int64(n); err != nil || p.lengths > 1 {
		p.length = -1
	}
}

func (p *headParser) end() (head, error) {
	if p.code == 0 && len(p.out) == 0 {
		return head{}, errors.New("its reply has no header")
	}
	if p.code == 0 && strings.HasPrefix(p.location, "/") {
		return head{http.StatusFound, p.length, append(p.out, "\r\n"...)}, nil
	}
	if p.code == 0 {
		p.code = http.StatusOK
		if p.location != "" {
			p.code = http.StatusFound
		}
	}
	if p.text == "" {
		p.text = http.StatusText(p.code)
	}
	text := make([]byte, 0, len(p.out)+64)
	text = append(text, "Status: "...)
	text = strconv.AppendInt(text, int64(p.code), 10)
	if p.text != "" {
		text = append(append(text, ' '), p.text...)
	}
	text = append(append(text, "\r\n"...), p.out...)
	return head{p.code, p.length, append(text, "\r\n"...)}, nil
}

// parseStatus reads "404 Not Found", "404 " or "404". A reply that begins with
// 1xx would be followed by another one, which CGI has not.
func parseStatus(s string) (code int, text string, err error) {
	digits, text, _ := strings.Cut(s, " ")
	if len(digits) == 3 && strings.Trim(digits, "0123456789") == "" {
		code, _ = strconv.Atoi(digits)
	}
	if code < 200 {
		return 0, "", fmt.Errorf("%s is no status of a reply", show(s))
	}
	return code, strings.Trim(text, " \t"), nil
}

// neverBody tells whether a reply has none, whatever the program wrote.
func neverBody(code int) bool {
	return code == http.StatusNoContent || code == http.StatusNotModified
}

// plain is a reply of the worker's own.
func plain(code int, method string) []byte {
	text := fmt.Sprintf("%d %s\n", code, http.StatusText(code))
	b := fmt.Appendf(nil, "Status: %sContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n",
		strings.Replace(text, "\n", "\r\n", 1), len(text))
	if method == http.MethodHead {
		return b
	}
	return append(b, text...)
}

// isToken tells whether s is a token of RFC 9110, 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// show quotes untrusted text for the log, within bounds.
func show(s string) string {
	if len(s) > 128 {
		return strconv.QuoteToASCII(s[:128]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
