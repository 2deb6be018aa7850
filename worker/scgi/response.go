package scgi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
)

// ReadResponse reads a CGI reply from r; req is the request it answers, nil
// for a GET. Body reads from r until the end of file, or Content-Length bytes
// if the reply states it: a longer body is cut, a shorter body gives
// io.ErrUnexpectedEOF. Replies to HEAD, and those with status 204 and 304,
// have no body. Closing the body does not close what r reads from.
//
// The status is as in ReplyHead.Status; the Status field itself is not in
// Header. Transfer-Encoding is not decoded: an application must not send it.
//
// ReadResponse refuses what ReadReplyHead refuses, and all that this calls Odd,
// because web servers do not agree about that.
func ReadResponse(r *bufio.Reader, req *http.Request) (*http.Response, error) {
	return readResponse(r, req, DefaultMaxResponseHeader)
}

func readResponse(r *bufio.Reader, req *http.Request, maxHeader int) (*http.Response, error) {
	h, err := ReadReplyHead(r, maxHeader)
	if err != nil {
		return nil, fmt.Errorf("cannot read SCGI reply: %w", unexpected(err))
	}
	length, err := h.ContentLength()
	if len(h.Odd) > 0 {
		err = errors.New(h.Odd[0])
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read SCGI reply: %w", err)
	}
	code, text := h.Status()
	p := &http.Response{
		Status:     fmt.Sprintf("%d %s", code, text),
		StatusCode: code,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        make(http.Header),
		ContentLength: length,
		Close:         true,
		Request:       req,
	}
	for _, f := range h.Fields {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		p.Header[name] = append(p.Header[name], f.Value)
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
