package scgi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// DefaultMaxResponseHeader bounds the header of a reply, in bytes. (nginx
// takes one page unless scgi_buffer_size is raised.)
const DefaultMaxResponseHeader = 64 << 10

// A ReplyHead is the header of a CGI reply (RFC 3875, section 6) as its program
// wrote it.
type ReplyHead struct {
	// Code and Text are those of a first line HTTP/1.x, else of the last Status
	// field; 0 and "" without.
	Code int
	Text string

	// Fields are the header fields in their order, but for Status.
	Fields []Var

	// Odd says in a sentence each what is wrong with the header and was passed
	// over: lines that are not header fields, a second Status.
	Odd []string

	begin []byte // for Refuse

	line bool // Code is that of the first line
	said bool // there was a Status field
}

// A HeadError says why what a program wrote does not begin with the header of a
// CGI reply.
type HeadError struct {
	Reason string
	Begin  []byte // the first bytes of what it wrote, at most 256
	Err    error  // io.ErrUnexpectedEOF where the header has no end, else nil
}

func (e *HeadError) Error() string {
	return e.Reason + "; the output begins " + strconv.QuoteToASCII(string(e.Begin))
}

// Unwrap returns Err.
func (e *HeadError) Unwrap() error { return e.Err }

// maxBegin bounds HeadError.Begin.
const maxBegin = 256

// ReadReplyHead reads a header up to and with its empty line, of at most
// maxHeader bytes; 0 means DefaultMaxResponseHeader. Lines end in CRLF or LF.
//
// A line that is not a header field is left out and told in Odd. Refused with a
// *HeadError are a header that is empty, broken off or too long, a NUL or CR in
// a line, a folded line (RFC 3875, 6.3: what it belongs to would change its
// meaning), and a status that is not one of 200 to 999. io.EOF means that
// nothing was written; other errors are r's own.
func ReadReplyHead(r *bufio.Reader, maxHeader int) (*ReplyHead, error) {
	maxHeader = orDefault(maxHeader, DefaultMaxResponseHeader)
	b, err := readHeadLines(r, maxHeader)
	if err == io.EOF && len(b) > 0 {
		return nil, headError(r, b, errors.New("the header of its reply has no end"), io.ErrUnexpectedEOF)
	}
	if err == errLongHead {
		return nil, headError(r, b, fmt.Errorf("the header of its reply is too large: more than %d bytes", maxHeader), nil)
	}
	if err != nil {
		return nil, err
	}
	h := &ReplyHead{begin: b[:min(len(b), maxBegin)]}
	if err := h.parse(string(b)); err != nil {
		return nil, headError(r, b, err, nil)
	}
	return h, nil
}

// Refuse makes an error of a header that was read and cannot be passed on.
func (h *ReplyHead) Refuse(reason string) *HeadError {
	return &HeadError{Reason: reason, Begin: h.begin}
}

// headError makes an error of a header b, behind which r has read more.
func headError(r *bufio.Reader, b []byte, reason, err error) *HeadError {
	if more, _ := r.Peek(min(r.Buffered(), maxBegin)); len(b) < maxBegin {
		b = append(b, more...)
	}
	return &HeadError{reason.Error(), b[:min(len(b), maxBegin)], err}
}

var errLongHead = errors.New("too long")

// readHeadLines returns all up to and with the first empty line.
func readHeadLines(r *bufio.Reader, maxHeader int) (b []byte, err error) {
	for line := 0; ; { // where the present line begins
		part, err := r.ReadSlice('\n')
		b = append(b, part...)
		switch {
		case len(b) > maxHeader:
			return b, errLongHead
		case err == bufio.ErrBufferFull:
			continue
		case err != nil:
			return b, err
		}
		if text := b[line:]; len(text) == 1 || len(text) == 2 && text[0] == '\r' {
			return b, nil
		}
		line = len(b)
	}
}

func (h *ReplyHead) parse(s string) error {
	for first := true; ; first = false {
		var line string
		line, s, _ = strings.Cut(s, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			break
		}
		if err := h.add(line, first); err != nil {
			return err
		}
	}
	switch {
	case h.Code != 0 || len(h.Fields) > 0:
		return nil
	case len(h.Odd) > 0:
		return errors.New(h.Odd[0])
	}
	return errors.New("its reply has no header")
}

func (h *ReplyHead) add(line string, first bool) error {
	switch {
	case strings.ContainsAny(line, "\x00\r"):
		return fmt.Errorf("header line %s holds a NUL or CR", show(line))
	case line[0] == ' ' || line[0] == '\t':
		return fmt.Errorf("%s is not a header field but a folded line", show(line))
	case first && strings.HasPrefix(line, "HTTP/"):
		return h.addLine(line)
	}
	name, value, ok := strings.Cut(line, ":")
	plain := strings.TrimRight(name, " \t")
	if !ok || !isToken(plain) {
		h.odd("%s is not a header field", line)
		return nil
	}
	if plain != name { // RFC 9112, 5.1: to be removed from a response
		h.odd("%s has a blank before its colon", line)
	}
	value = strings.Trim(value, " \t")
	if strings.EqualFold(plain, "Status") {
		return h.addStatus(value)
	}
	h.Fields = append(h.Fields, Var{plain, value})
	return nil
}

// maxOdd bounds the sentences of Odd.
const maxOdd = 8

func (h *ReplyHead) odd(format, line string) {
	if len(h.Odd) < maxOdd {
		h.Odd = append(h.Odd, fmt.Sprintf(format, show(line)))
	}
}

// addLine takes the status of a line such as "HTTP/1.1 404 Not Found".
func (h *ReplyHead) addLine(line string) (err error) {
	version, status, _ := strings.Cut(line, " ")
	if minor, ok := strings.CutPrefix(version, "HTTP/1."); !ok || len(minor) != 1 || !isDigits(minor) {
		h.odd("%s is not a status line of HTTP/1", line)
	}
	h.line = true
	h.Code, h.Text, err = h.status(status)
	return err
}

// addStatus takes a Status field. Of several the last counts, as for web
// servers.
func (h *ReplyHead) addStatus(value string) error {
	if h.said {
		h.odd("Status: %s is a second Status field", value)
	}
	h.said = true
	code, text, err := h.status(value)
	if !h.line {
		h.Code, h.Text = code, text
	}
	return err
}

// Get returns the value of the first field of that name, whatever its case.
func (h *ReplyHead) Get(name string) string {
	for _, f := range h.Fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Status decides what the reply's status is: Code, else 302 where there is a
// Location, else 200.
func (h *ReplyHead) Status() (code int, text string) {
	code, text = h.Code, h.Text
	if code == 0 {
		code = http.StatusOK
		if h.Get("Location") != "" {
			code = http.StatusFound
		}
	}
	if text == "" {
		text = http.StatusText(code)
	}
	return code, text
}

// ContentLength returns the length of the body that is stated, or -1. The error
// says that it is not a number, or that there are two.
func (h *ReplyHead) ContentLength() (int64, error) {
	stated := ""
	for _, f := range h.Fields {
		switch {
		case !strings.EqualFold(f.Name, "Content-Length"):
		case !isDigits(f.Value):
			return -1, fmt.Errorf("%s is not a Content-Length", show(f.Value))
		case stated != "" && stated != f.Value:
			return -1, errors.New("it has two values of Content-Length")
		default:
			stated = f.Value
		}
	}
	if stated == "" {
		return -1, nil
	}
	n, err := strconv.ParseInt(stated, 10, 64)
	if err != nil {
		return -1, fmt.Errorf("%s is not a Content-Length", show(stated))
	}
	return n, nil
}

// status is parseStatus that tells what is odd.
func (h *ReplyHead) status(s string) (code int, text string, err error) {
	code, text, err = parseStatus(s)
	if err == nil && len(s) > 3 && s[3] != ' ' && s[3] != '\t' {
		h.odd("Status: %s has no blank after its number", s)
	}
	return code, text, err
}

// parseStatus reads "404 Not Found", "404 ", "404" or, as web servers do, "404: Gone". A reply that begins with
// 1xx would be followed by another one, which CGI does not have.
func parseStatus(s string) (code int, text string, err error) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	if end == 3 {
		code, _ = strconv.Atoi(s[:end])
	}
	if code < 200 {
		return 0, "", fmt.Errorf("%s is not the status of a reply", show(s))
	}
	return code, strings.Trim(s[end:], " \t"), nil
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
