package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// lineMax bounds one line, and one that is continued over several, in bytes.
const lineMax = 64 << 10

// linesMax bounds the logical lines of one file, far above what any
// configuration has.
const linesMax = 16 << 10

// line is one logical line: comments, line ends and continuations are gone,
// and each of its parts knows where it came from.
type line struct {
	text  string
	parts []part
}

// part is where the bytes from off on were written.
type part struct{ off, line, col int }

// at returns the line and column, from 1, of an offset in the text.
func (l line) at(off int) (lineNo, col int) {
	p := l.parts[0]
	for _, q := range l.parts[1:] {
		if q.off > off {
			break
		}
		p = q
	}
	return p.line, p.col + off - p.off
}

// badLine is a line that is not text, or too long.
type badLine struct {
	line, col int
	text      string
}

const bom = "\ufeff"

// blanks are what systemd.syntax(7) ignores around keys and values.
const blanks = " \t"

// scan cuts a file into logical lines by the rules of systemd.syntax(7): blank
// lines and those that start with # or ; are skipped, even between continued
// ones; a backslash at the end becomes a blank and the next line follows. No
// library is used for this, since none tells the positions that errors name.
func scan(data string) (lines []line, bad []badLine) {
	var text []byte  // of the line continued so far
	var parts []part // of it
	drop := false    // it is bad already
	data = strings.TrimPrefix(data, bom)
	for n := 1; data != ""; n++ {
		var raw string
		raw, data, _ = strings.Cut(data, "\n")
		raw = strings.TrimSuffix(raw, "\r")
		one := strings.TrimLeft(raw, blanks)
		if comment(one) && data != "" {
			continue
		}
		col := len(raw) - len(one) + 1
		if comment(one) { // at the end of the file
			one = ""
		}
		b := checkLine(one, n, col, len(text))
		if b != nil && !drop {
			bad = append(bad, *b)
		}
		drop = drop || b != nil
		more := continued(one)
		if !drop {
			parts = append(parts, part{len(text), n, col})
			text = append(text, one...)
			if more {
				text[len(text)-1] = ' '
			}
		}
		if more && data != "" {
			continue
		}
		if !drop && strings.Trim(string(text), blanks) != "" {
			if len(lines) == linesMax {
				return lines, append(bad, badLine{n, col, fmt.Sprintf("file has more than %d lines", linesMax)})
			}
			lines = append(lines, line{string(text), parts})
		}
		text, parts, drop = text[:0], nil, false
	}
	return lines, bad
}

func comment(s string) bool { return s != "" && (s[0] == '#' || s[0] == ';') }

// continued says whether text ends in a backslash that is not itself escaped.
func continued(text string) bool {
	n := len(text) - len(strings.TrimRight(text, `\`))
	return n%2 == 1
}

// checkLine returns what is wrong with a physical line that follows before
// bytes of the same logical one.
func checkLine(text string, n, col, before int) *badLine {
	if len(text)+before > lineMax {
		return &badLine{n, col, fmt.Sprintf("line is longer than %d bytes", lineMax)}
	}
	if i, what := badByte(text); what != "" {
		return &badLine{n, col + i, what}
	}
	return nil
}

// badByte finds what cannot be part of a text.
func badByte(s string) (int, string) {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n <= 1 {
				return i, "line is not valid UTF-8"
			}
		}
		if r < ' ' && r != '\t' || r == 0x7f {
			return i, fmt.Sprintf("line holds the control character %U", r)
		}
	}
	return 0, ""
}

func (l line) isHeader() bool { return l.text[0] == '[' }

// section returns the name in a section header.
func (l line) section() (string, error) {
	name, rest, ok := strings.Cut(l.text[1:], "]")
	if !ok || strings.Trim(rest, blanks) != "" {
		return "", fmt.Errorf("%s is not a section header such as [Pool]", show(l.text))
	}
	return name, nil
}

// assignment returns the key and value of a line, without the blanks around
// them, and where the value is in the line's text.
func (l line) assignment() (key, value string, off int, err error) {
	key, value, ok := strings.Cut(l.text, "=")
	key = strings.Trim(key, blanks)
	if !ok || key == "" {
		return "", "", 0, fmt.Errorf("%s is not Key=Value", show(l.text))
	}
	value = strings.TrimLeft(value, blanks)
	return key, strings.TrimRight(value, blanks), len(l.text) - len(value), nil
}
