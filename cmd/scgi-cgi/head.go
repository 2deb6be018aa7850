package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/scgid/scgid/worker/scgi"
)

// A head is the header of a reply as it goes to the web server.
type head struct {
	code    int
	length  int64    // of the body, as stated; -1 is not stated, or not to be believed
	chunked bool     // the program has chunked its body
	text    []byte   // ends in an empty line
	odd     []string // what was wrong and passed over
}

// makeHead writes the web server's header from the program's. The same words in
// the same order, but for:
//
// Status is always there. The one exception is a Location that begins with a
// slash and came without Status, RFC 3875's local redirect: to say 302 there
// would take from the web server the choice that is its own. With a site (see
// siteURL) that choice is taken: every Location becomes a whole URL.
//
// Fields about the connection between the web server and its client are left
// out. Web servers do not agree about Transfer-Encoding: a chunked body is
// decoded, anything else is an error.
//
// A Content-Length that is not a number, that comes twice with two values or
// with a chunked body, is left out. The end of the output is the end of the
// body then.
func makeHead(h *scgi.ReplyHead, site string) (head, error) {
	m := head{odd: h.Odd}
	coding, err := isChunked(h)
	if err != nil {
		return head{}, h.Refuse(err.Error())
	}
	m.chunked = coding
	if m.length, err = h.ContentLength(); err != nil {
		m.odd = append(m.odd, err.Error())
	}
	if m.chunked {
		m.length = -1
	}
	code, text := h.Status()
	m.code = code
	if code == http.StatusNoContent { // RFC 9110, 8.6
		m.length = -1
	}
	fields, location := m.fields(h, site)
	if h.Code == 0 && len(fields) == 0 && !m.chunked && h.Get("Content-Length") == "" {
		return head{}, h.Refuse("its reply has no header but " + h.Fields[0].Name)
	}
	if h.Code == 0 && strings.HasPrefix(location, "/") {
		m.text = append(fields, "\r\n"...)
		return m, nil
	}
	m.text = make([]byte, 0, len(fields)+64)
	m.text = append(m.text, "Status: "...)
	m.text = strconv.AppendInt(m.text, int64(code), 10)
	if text != "" {
		m.text = append(append(m.text, ' '), text...)
	}
	m.text = append(append(m.text, "\r\n"...), fields...)
	m.text = append(m.text, "\r\n"...)
	return m, nil
}

// fields returns the lines that are passed on, and the Location.
func (m *head) fields(h *scgi.ReplyHead, site string) (lines []byte, location string) {
	stated := false
	lines = make([]byte, 0, 512)
	for _, f := range h.Fields {
		value := f.Value
		switch strings.ToLower(f.Name) {
		case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
			continue
		case "content-length":
			if m.length < 0 || stated {
				continue
			}
			stated = true
		case "location":
			value = whole(site, value)
			location = value
		}
		lines = append(lines, f.Name...)
		lines = append(lines, ": "...)
		lines = append(lines, value...)
		lines = append(lines, "\r\n"...)
	}
	return lines, location
}

// isChunked reads Transfer-Encoding.
func isChunked(h *scgi.ReplyHead) (chunked bool, err error) {
	for _, f := range h.Fields {
		if !strings.EqualFold(f.Name, "Transfer-Encoding") {
			continue
		}
		for _, coding := range strings.Split(f.Value, ",") {
			switch coding = strings.ToLower(strings.Trim(coding, " \t")); {
			case coding == "" || coding == "identity":
			case coding == "chunked" && !chunked:
				chunked = true
			default:
				return false, fmt.Errorf("Transfer-Encoding: %s cannot be decoded", show(f.Value))
			}
		}
	}
	return chunked, nil
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

// show quotes untrusted text for the log, within bounds.
func show(s string) string {
	if len(s) > 128 {
		return strconv.QuoteToASCII(s[:128]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
