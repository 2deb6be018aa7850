package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Expect is what every reply must be. The zero value expects a whole reply
// with a status from 200 to 399.
type Expect struct {
	Status int     // exactly this one
	Length *int64  // bytes of the body
	Body   *string // the body itself, or sha256:<hex> of it
}

// maxHead bounds the header of a reply.
const maxHead = 64 << 10

// A checker is an Expect ready for use.
type checker struct {
	status int
	length int64 // -1: any
	text   []byte
	sum    []byte // nil: text, if that is not nil
	head   bool   // a reply to HEAD: Content-Length speaks of a body that stays away
}

func (x Expect) checker() (*checker, error) {
	c := &checker{status: x.Status, length: -1}
	if x.Status != 0 && (x.Status < 100 || x.Status > 999) {
		return nil, fmt.Errorf("expected status: %d is not between 100 and 999", x.Status)
	}
	if x.Length != nil {
		if *x.Length < 0 {
			return nil, fmt.Errorf("expected length: %d is negative", *x.Length)
		}
		c.length = *x.Length
	}
	if x.Body == nil {
		return c, nil
	}
	sum, isSum := strings.CutPrefix(*x.Body, "sha256:")
	if !isSum {
		c.text = append([]byte{}, *x.Body...)
		return c, nil
	}
	var err error
	c.sum, err = hex.DecodeString(sum)
	if err != nil || len(c.sum) != sha256.Size {
		return nil, fmt.Errorf("expected body: %q is not 64 hexadecimal digits", sum)
	}
	return c, nil
}

// A reply is what one connection has received so far.
type reply struct {
	check  *checker
	head   []byte // kept when the header came in pieces
	line   int    // where its first line begins that is not parsed yet
	inBody bool
	status int
	length int64 // Content-Length, -1 without
	got    int64 // bytes of the body
	bad    bool  // the header is not one
	differ bool  // from the expected text
	hash   hash.Hash
	digest []byte
}

func (r *reply) reset() {
	head, digest := r.head[:0], r.digest[:0]
	*r = reply{check: r.check, hash: r.hash, head: head, digest: digest, status: 200, length: -1}
}

// feed takes the next bytes; it keeps none of them but an unfinished header.
func (r *reply) feed(b []byte) {
	switch {
	case r.inBody:
		r.feedBody(b)
		return
	case r.bad:
		return
	case len(r.head) > 0:
		r.head = append(r.head, b...)
		b = r.head
	}
	n := r.parse(b)
	switch {
	case n > 0:
		r.inBody = true
		r.feedBody(b[n:])
	case len(b) > maxHead:
		r.bad = true
	case !r.bad && len(r.head) == 0:
		r.head = append(r.head, b...)
	}
}

// parse reads a header (RFC 3875 section 6.3, or with an HTTP status line as
// section 5 allows) and returns where the body begins, 0 when it is not whole.
func (r *reply) parse(b []byte) int {
	for {
		i := bytes.IndexByte(b[r.line:], '\n')
		if i < 0 {
			return 0
		}
		line := bytes.TrimSuffix(b[r.line:r.line+i], []byte("\r"))
		first := r.line == 0
		r.line += i + 1
		if len(line) == 0 {
			r.bad = r.bad || first
			return r.line
		}
		if !r.field(line, first) {
			r.bad = true
		}
	}
}

func (r *reply) field(line []byte, first bool) bool {
	if first && bytes.HasPrefix(line, []byte("HTTP/1.")) {
		_, after, _ := bytes.Cut(line, []byte(" "))
		return r.setStatus(after)
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return false
	}
	value = bytes.TrimSpace(value)
	switch {
	case len(name) == len("Status") && bytes.EqualFold(name, []byte("Status")):
		return r.setStatus(value)
	case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
		n, ok := decimal(value)
		r.length = n
		return ok
	}
	return true
}

func (r *reply) setStatus(value []byte) bool {
	if len(value) < 3 || len(value) > 3 && value[3] != ' ' {
		return false
	}
	n, ok := decimal(value[:3])
	r.status = int(n)
	return ok && n >= 100
}

// decimal reads 1 to 18 digits and nothing else.
func decimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return -1, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func (r *reply) feedBody(b []byte) {
	at := r.got
	r.got += int64(len(b))
	switch {
	case r.check.sum != nil:
		if r.hash == nil {
			r.hash = sha256.New()
		}
		if at == 0 {
			r.hash.Reset()
		}
		r.hash.Write(b)
	case r.check.text != nil:
		text := r.check.text
		r.differ = r.differ || r.got > int64(len(text)) || !bytes.Equal(b, text[at:r.got])
	}
}

// end judges the reply at end of file; any is false when no byte came.
func (r *reply) end(any bool) ending {
	c := r.check
	switch {
	case !any:
		return ending{kind: empty, what: "the server closed the connection without a byte"}
	case r.bad:
		return ending{kind: header, what: "the header of the reply is not one"}
	case !r.inBody:
		return ending{kind: short, what: "the reply ended within its header"}
	case r.length >= 0 && r.got < r.length && !r.bodiless():
		return ending{kind: short, what: "bytes of the body", got: r.got, want: r.length}
	case !c.accepts(r.status):
		return ending{kind: status, what: "status", got: int64(r.status), want: int64(max(c.status, 200))}
	case r.length >= 0 && r.got > r.length:
		return ending{kind: length, what: "bytes of the body, more than Content-Length", got: r.got, want: r.length}
	case c.length >= 0 && r.got != c.length:
		return ending{kind: length, what: "bytes of the body", got: r.got, want: c.length}
	case !r.sameBody():
		return ending{kind: body, what: "the body is not the expected one"}
	}
	return ending{}
}

// bodiless: RFC 9110 section 6.4.1, replies whose Content-Length is not sent.
func (r *reply) bodiless() bool {
	return r.got == 0 && (r.check.head || r.status == 304)
}

func (c *checker) accepts(status int) bool {
	if c.status != 0 {
		return status == c.status
	}
	return status >= 200 && status <= 399
}

func (r *reply) sameBody() bool {
	switch {
	case r.check.sum != nil:
		if r.hash == nil || r.got == 0 {
			r.hash = sha256.New()
		}
		r.digest = r.hash.Sum(r.digest[:0])
		return bytes.Equal(r.digest, r.check.sum)
	case r.check.text != nil:
		return !r.differ && r.got == int64(len(r.check.text))
	}
	return true
}
