package scgi

import (
	"bufio"
	"bytes"
	"io"
)

// A Request is one that was read from a connection.
type Request struct {
	Header        Header
	ContentLength int64

	// Body gives ContentLength bytes, never more. When the peer closes before
	// that, the error is io.ErrUnexpectedEOF.
	Body io.Reader

	body body
}

// Unread returns how many bytes of the body have not been read yet.
func (r *Request) Unread() int64 { return r.body.left }

// ReadRequest reads a header from r and leaves r at the body, which
// Request.Body reads. maxHeader bounds the netstring's payload in bytes;
// 0 means DefaultMaxHeader.
//
// It judges as Peek does: ErrTooLarge or *SyntaxError for a bad request.
// io.EOF means that nothing was sent, io.ErrUnexpectedEOF that the header
// broke off; other errors are r's own.
func ReadRequest(r *bufio.Reader, maxHeader int) (*Request, error) {
	n, err := readPrefix(r)
	if err != nil {
		return nil, err
	}
	if n > orDefault(maxHeader, DefaultMaxHeader) {
		return nil, ErrTooLarge
	}
	b, err := readBlock(r, n)
	if err != nil {
		return nil, unexpected(err)
	}
	if b[n] != ',' {
		return nil, errNoComma
	}
	h, length, err := ParseBlock(b[:n])
	if err != nil {
		return nil, err
	}
	if n < r.Size() { // b was only peeked at
		r.Discard(n + 1)
	}
	q := &Request{Header: h, ContentLength: length, body: body{r, length}}
	q.Body = &q.body
	return q, nil
}

// readPrefix takes the netstring's length and the colon from r. It asks for
// one more byte at a time: waiting for two where one decides would hang.
func readPrefix(r *bufio.Reader) (int, error) {
	for i := 1; ; i++ {
		b, err := r.Peek(i) // at most 10, and bufio's least buffer is 16
		if len(b) < i {
			if i > 1 {
				err = unexpected(err)
			}
			return 0, err
		}
		n, at, err := prefix(b)
		if err == nil {
			_, err = r.Discard(at)
			return n, err
		}
		if err != ErrShort {
			return 0, err
		}
	}
}

// readBlock returns the n bytes of the payload and the comma. Where they fit
// into r's buffer they are not copied and not yet taken from r. A larger block
// takes memory only as it comes, not because its length says so.
func readBlock(r *bufio.Reader, n int) ([]byte, error) {
	if n < r.Size() {
		return r.Peek(n + 1)
	}
	var buf bytes.Buffer
	buf.Grow(min(n+1, DefaultMaxHeader) + bytes.MinRead)
	if _, err := io.CopyN(&buf, r, int64(n)+1); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// A body reads left bytes and insists on getting them.
type body struct {
	r    io.Reader
	left int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if b.left == 0 {
		return n, nil // the next call says io.EOF
	}
	return n, unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
