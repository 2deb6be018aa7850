package scgi

import "bytes"

// MaxVars bounds the variables of one request. Real front ends send 20 to 60.
const MaxVars = 2000

const (
	lengthName  = "CONTENT_LENGTH"
	versionName = "SCGI"

	// maxDigits holds a netstring's length below 1 GB, and so within an int
	// of any size.
	maxDigits = 9

	// maxLengthDigits holds CONTENT_LENGTH within an int64.
	maxLengthDigits = 18
)

// prefix reads the length of a netstring: 1 to 9 digits without a leading
// zero, then a colon. at is where the payload begins.
func prefix(b []byte) (n, at int, err error) {
	for i, c := range b {
		switch {
		case c == ':' && i == 0:
			return 0, 0, errNoLength
		case c == ':':
			return n, i + 1, nil
		case c < '0' || c > '9':
			return 0, 0, errNotDigit
		case c == '0' && i == 0: // an empty netstring "0:," is not a header either
			return 0, 0, errLeadingZero
		case i == maxDigits:
			return 0, 0, errLongLength
		}
		n = n*10 + int(c-'0')
	}
	return 0, 0, ErrShort
}

// A scanner walks over the pairs of a header block and holds all the rules
// about them. Peek and ParseBlock both go through it, so they cannot disagree.
type scanner struct {
	block []byte
	err   error

	name, value, next int // the present pair: offsets of name, value and what follows

	count   int
	length  int64 // CONTENT_LENGTH
	version bool  // SCGI was seen
}

// scan goes to the next pair. It returns false at the end of the block and on
// an error, which is in s.err.
func (s *scanner) scan() bool {
	if s.next == len(s.block) {
		if s.count == 0 {
			s.err = errEmptyBlock
		}
		return false
	}
	s.name = s.next
	nul := bytes.IndexByte(s.block[s.name:], 0)
	if nul < 0 {
		s.err = errNoNUL
		return false
	}
	s.value = s.name + nul + 1
	if s.value == len(s.block) {
		s.err = errOdd
		return false
	}
	if nul = bytes.IndexByte(s.block[s.value:], 0); nul < 0 {
		s.err = errNoNUL
		return false
	}
	s.next = s.value + nul + 1
	s.err = s.check(s.block[s.name:s.value-1], s.block[s.value:s.next-1])
	s.count++
	return s.err == nil
}

// check holds the rules about single variables. Names are compared as they
// are: CGI has no lower case.
func (s *scanner) check(name, value []byte) (err error) {
	if s.count == 0 {
		if string(name) != lengthName {
			return errLengthFirst
		}
		s.length, err = parseLength(value)
		return err
	}
	if s.count == MaxVars {
		return errManyVars
	}
	switch string(name) {
	case "":
		return errEmptyName
	case lengthName:
		return errLengthTwice
	case versionName:
		if s.version {
			return errVersionTwice
		}
		if string(value) != "1" {
			return errVersion
		}
		s.version = true
	}
	return nil
}

// parseLength reads the value of CONTENT_LENGTH. Caddy sends -1 for a body of
// unknown length; everything else that is not a plain number is refused.
func parseLength[T []byte | string](v T) (int64, error) {
	if string(v) == "-1" {
		return 0, errLengthUnknown
	}
	if len(v) == 0 || len(v) > maxLengthDigits || v[0] == '0' && len(v) > 1 {
		return 0, errLengthValue
	}
	n := int64(0)
	for i := 0; i < len(v); i++ {
		if v[i] < '0' || v[i] > '9' {
			return 0, errLengthValue
		}
		n = n*10 + int64(v[i]-'0')
	}
	return n, nil
}
