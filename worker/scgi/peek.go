package scgi

// DefaultMaxHeader bounds a header, in bytes of the netstring's payload.
const DefaultMaxHeader = 64 << 10

// A Head is what Peek found out about a request.
type Head struct {
	// Size is the number of bytes of the whole netstring on the wire: digits,
	// colon, block and comma. It is known as soon as the length is there, so
	// also with ErrShort and ErrTooLarge; before that it is 0.
	Size int

	// ContentLength is the number of bytes of the body.
	ContentLength int64

	// Method, URI and RemoteAddr are REQUEST_METHOD, REQUEST_URI and
	// REMOTE_ADDR; nil when absent. They are slices of the peeked buffer.
	Method, URI, RemoteAddr []byte
}

// Peek judges b, the first bytes of a connection: the whole header or a part
// of it, and whatever follows. maxHeader bounds the netstring's payload in
// bytes; 0 means DefaultMaxHeader.
//
// Errors are ErrShort, ErrTooLarge and *SyntaxError. Peek allocates nothing.
func Peek(b []byte, maxHeader int) (Head, error) {
	n, at, err := prefix(b)
	if err != nil {
		return Head{}, err
	}
	h := Head{Size: at + n + 1}
	if n > orDefault(maxHeader, DefaultMaxHeader) {
		return h, ErrTooLarge
	}
	if len(b) < h.Size {
		return h, ErrShort
	}
	if b[h.Size-1] != ',' {
		return h, errNoComma
	}
	return h, h.read(b[at : at+n])
}

// read fills h from a whole block. As in Header.Get, the last of several wins.
func (h *Head) read(block []byte) error {
	s := scanner{block: block}
	for s.scan() {
		switch string(block[s.name : s.value-1]) {
		case "REQUEST_METHOD":
			h.Method = block[s.value : s.next-1 : s.next-1]
		case "REQUEST_URI":
			h.URI = block[s.value : s.next-1 : s.next-1]
		case "REMOTE_ADDR":
			h.RemoteAddr = block[s.value : s.next-1 : s.next-1]
		}
	}
	if s.err != nil {
		*h = Head{Size: h.Size}
		return s.err
	}
	h.ContentLength = s.length
	return nil
}
