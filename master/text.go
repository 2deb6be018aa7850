package master

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds text of a worker or a client that is shown to anybody, in
// bytes.
const maxText = 500

// printable makes text from outside harmless wherever it is shown: bounded
// UTF-8 without control characters, so that no terminal obeys it.
func printable(b []byte) string {
	b = b[:min(len(b), maxText)]
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '?'
		}
		s.WriteRune(r)
	}
	return s.String()
}

// raw is text from outside that need not be UTF-8, which JSON would change: it
// travels as bytes.
type raw string

// MarshalJSON writes bytes.
func (t raw) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(t)) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *raw) UnmarshalJSON(b []byte) error {
	return unmarshalBytes(b, func(b []byte) { *t = raw(b) })
}
