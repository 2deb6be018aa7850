package scgi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// DefaultMaxResponseHeader bounds the header of a reply, in bytes. (nginx
// takes one page unless scgi_buffer_size is raised.)
const DefaultMaxResponseHeader = 64 << 10

// ReadResponse reads a CGI reply from r; req is the request it answers, nil
// for a GET. Body reads from r until the end of file, or Content-Length bytes
// if the reply states it: a longer body is cut, a shorter one gives
// io.ErrUnexpectedEOF. Replies to HEAD, and those with status 204 and 304,
// have no body. Closing the body does not close what r reads from.
//
// The status is that of a first line HTTP/1.x, else of the Status field, else
// 302 where there is a Location, else 200. The Status field itself is not in
// Header. Lines end in CRLF or LF; they are not folded (RFC 3875, 6.3).
// Transfer-Encoding is not decoded: an application must not send it.
//
// It refuses a header that is empty, broken off or over 64 KiB, that has a
// line without colon, a NUL, or two Status fields (web servers do not agree
// which one counts), and a status below 200.
func ReadResponse(r *bufio.Reader, req *http.Request) (*http.Response, error) {
	return readResponse(r, req, DefaultMaxResponseHeader)
}

func readResponse(r *bufio.Reader, req *http.Request, maxHeader int) (*http.Response, error) {
	h, err := readReplyHeader(r, maxHeader)
	if err != nil {
		return nil, fmt.Errorf("cannot read SCGI reply: %w", err)
	}
	length, err := replyLength(h.fields)
	if err != nil {
		return nil, fmt.Errorf("cannot read SCGI reply: %w", err)
	}
	code, text := h.status()
	p := &http.Response{
		Status:     fmt.Sprintf("%d %s", code, text),
		StatusCode: code,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        h.fields,
		ContentLength: length,
		Close:         true,
		Request:       req,
	}
	switch {
	case req != nil && req.Method == http.MethodHead:
		p.Body = http.NoBody
	case code == http.StatusNoContent || code == http.StatusNotModified:
		p.Body = http.NoBody
		p.ContentLength = 0
	case length >= 0:
		p.Body = io.NopCloser(&body{r, length})
	default:
		p.Body = io.NopCloser(r)
	}
	return p, nil
}

// A replyHeader is a reply's header while it is read.
type replyHeader struct {
	code   int    // of the HTTP/1.x line, or of the Status field; 0 without
	text   string // what came with it
	line   bool   // there was a HTTP/1.x line
	field  bool   // there was a Status field
	fields http.Header
}

func readReplyHeader(r *bufio.Reader, maxHeader int) (*replyHeader, error) {
	h := &replyHeader{fields: make(http.Header)}
	for first := true; ; first = false {
		line, err := readLine(r, &maxHeader)
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		if first && strings.HasPrefix(line, "HTTP/") {
			err = h.addLine(line)
		} else {
			err = h.addField(line)
		}
		if err != nil {
			return nil, err
		}
	}
	if !h.line && !h.field && len(h.fields) == 0 {
		return nil, errors.New("its header is empty")
	}
	return h, nil
}

// addLine takes the status of a line such as "HTTP/1.1 404 Not Found".
func (h *replyHeader) addLine(line string) (err error) {
	version, status, _ := strings.Cut(line, " ")
	if minor, ok := strings.CutPrefix(version, "HTTP/1."); !ok || len(minor) != 1 || !isDigits(minor) {
		return fmt.Errorf("%s is no status line", show(line))
	}
	h.code, h.text, err = parseStatus(status)
	h.line = true
	return err
}

func (h *replyHeader) addField(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("header line %s has no colon", show(line))
	}
	if !isToken(name) {
		return fmt.Errorf("%s is no name of a header field", show(name))
	}
	value = strings.Trim(value, " \t")
	name = textproto.CanonicalMIMEHeaderKey(name)
	if name != "Status" {
		h.fields[name] = append(h.fields[name], value)
		return nil
	}
	if h.field {
		return errors.New("it has two Status fields")
	}
	h.field = true
	code, text, err := parseStatus(value)
	if !h.line {
		h.code, h.text = code, text
	}
	return err
}

// status decides what the reply's status is.
func (h *replyHeader) status() (code int, text string) {
	code, text = h.code, h.text
	if code == 0 {
		code = http.StatusOK
		if h.fields.Get("Location") != "" {
			code = http.StatusFound
		}
	}
	if text == "" {
		text = http.StatusText(code)
	}
	return code, text
}

// parseStatus reads "404 Not Found", "404 " or "404". A reply that begins with
// 1xx would be followed by another one, which CGI has not.
func parseStatus(s string) (code int, text string, err error) {
	digits, text, _ := strings.Cut(s, " ")
	if len(digits) == 3 && isDigits(digits) {
		code, _ = strconv.Atoi(digits)
	}
	if code < 200 {
		return 0, "", fmt.Errorf("%s is no status of a reply", show(s))
	}
	return code, strings.Trim(text, " \t"), nil
}

// replyLength returns the value of Content-Length, or -1.
func replyLength(h http.Header) (int64, error) {
	all := h["Content-Length"]
	if len(all) == 0 {
		return -1, nil
	}
	for _, s := range all {
		if s != all[0] {
			return 0, errors.New("it has two values of Content-Length")
		}
	}
	n, err := strconv.ParseInt(all[0], 10, 64)
	if err != nil || !isDigits(all[0]) {
		return 0, fmt.Errorf("%s is no Content-Length", show(all[0]))
	}
	return n, nil
}

// readLine returns a line without its end. It takes the line's size from left,
// and fails where that is not enough.
func readLine(r *bufio.Reader, left *int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if *left -= len(part); *left < 0 {
			return "", errors.New("its header is too large")
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if err != bufio.ErrBufferFull {
			return "", unexpected(err)
		}
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
	if strings.ContainsAny(s, "\x00\r") {
		return "", fmt.Errorf("header line %s holds a NUL or CR", show(s))
	}
	return s, nil
}

// show quotes what a peer sent for an error, within bounds.
func show(s string) string {
	if len(s) > 64 {
		return strconv.QuoteToASCII(s[:64]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
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
