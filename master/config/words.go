package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is one item of a line: its text without quotes and escapes, and where
// it begins in the line.
type word struct {
	text string
	off  int
}

// splitWords splits a line as systemd.syntax(7) says under "Quoting": at blanks
// outside '...' and "...", with C escapes everywhere. There is no shell. Errors
// are of type *fault.
func splitWords(s string) ([]word, error) {
	var words []word
	for i := 0; i < len(s); {
		if blank(s[i]) {
			i++
			continue
		}
		text, end, err := oneWord(s, i)
		if err != nil {
			return nil, err
		}
		words = append(words, word{text, i})
		i = end
	}
	return words, nil
}

func blank(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

// oneWord returns the word that starts at s[i] and the offset behind it.
func oneWord(s string, i int) (string, int, error) {
	var b strings.Builder
	var quote byte // the open one, or 0
	opened := 0
	for i < len(s) && (quote != 0 || !blank(s[i])) {
		switch c := s[i]; {
		case c == '\\':
			n, err := unescape(&b, s, i)
			if err != nil {
				return "", 0, err
			}
			i += n
			continue
		case quote == 0 && (c == '"' || c == '\''):
			quote, opened = c, i
		case quote != 0 && c == quote:
			quote = 0
		default:
			b.WriteByte(c)
		}
		i++
	}
	if quote != 0 {
		return "", 0, faultf(opened, "quote %c is not closed", quote)
	}
	return b.String(), i, nil
}

// quoteWord writes s so that splitWords reads it as one word: in quotes if it
// needs them or quoted says so, and printable whatever it holds. There must be
// no NUL byte in it.
func quoteWord(s string, quoted bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1 || r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
		quoted = quoted || r == ' ' || r == '\''
		i += n
	}
	if quoted || s == "" {
		return `"` + b.String() + `"`
	}
	return b.String()
}

var simpleEscapes = map[byte]byte{'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v',
	'\\': '\\', '"': '"', '\'': '\'', 's': ' ', ';': ';'}

// unescape appends what the escape at s[i] stands for and returns its length.
func unescape(b *strings.Builder, s string, i int) (int, error) {
	if i+1 == len(s) {
		return 0, faultf(i, `ends in a single \; write \\ for a backslash`)
	}
	c := s[i+1]
	if to, ok := simpleEscapes[c]; ok {
		b.WriteByte(to)
		return 2, nil
	}
	switch {
	case c == 'x':
		return numeric(b, s, i, 2, 2, 16)
	case c == 'u':
		return numeric(b, s, i, 2, 4, 16)
	case c == 'U':
		return numeric(b, s, i, 2, 8, 16)
	case c >= '0' && c <= '7':
		return numeric(b, s, i, 1, 3, 8)
	}
	r, _ := utf8.DecodeRuneInString(s[i+1:])
	return 0, faultf(i, `unknown escape \%c; write \\ for a backslash`, r)
}

// numeric appends the byte or character that digits in base, skip bytes
// behind s[i], name.
func numeric(b *strings.Builder, s string, i, skip, digits, base int) (int, error) {
	end := i + skip + digits
	if end > len(s) {
		return 0, faultf(i, `escape \%c needs %d digits`, s[i+1], digits)
	}
	n, err := strconv.ParseUint(s[i+skip:end], base, 32)
	if err != nil {
		return 0, faultf(i, `%s is not an escape of %d digits`, show(s[i:end]), digits)
	}
	isRune := s[i+1] == 'u' || s[i+1] == 'U'
	switch {
	case n == 0:
		return 0, faultf(i, "%s is a NUL byte, which no argument can hold", s[i:end])
	case isRune && !utf8.ValidRune(rune(n)) || isRune && n > utf8.MaxRune || !isRune && n > 0xff:
		return 0, faultf(i, "%s is not a character", s[i:end])
	case isRune:
		b.WriteRune(rune(n))
	default:
		b.WriteByte(byte(n))
	}
	return end - i, nil
}
