package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

// A screen is where text for people goes. Whatever is printed by line or
// table is made harmless there, so that no verb has to think of it: URIs,
// clients, status texts and errors come from anybody.
//
// What is written with Write goes out as it is.
type screen struct {
	*bufio.Writer
	terminal bool
	colour   bool
	utf8     bool // the reader understands UTF-8
	width    int  // columns
}

// plainWidth is the width where no terminal tells one. All that a master keeps
// of a request, and what a worker says of itself, fits: somebody may look for
// it with grep(1).
const plainWidth = 1000

// newScreen looks at what f is. Colour is for terminals only, and not where
// NO_COLOR is set (no-color.org).
func newScreen(f *os.File) *screen {
	s := &screen{Writer: bufio.NewWriter(f), utf8: utf8Locale(), width: plainWidth}
	if term.IsTerminal(int(f.Fd())) {
		s.terminal = true
		s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			s.width = w
		}
	}
	return s
}

// utf8Locale follows locale(7): the first that is set counts.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// A style is how a piece of text looks, in parameters of SGR (ECMA-48).
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// A span is text in one style.
type span struct {
	style style
	text  string
}

// line prints spans and strings, made harmless, as one line.
func (s *screen) line(parts ...any) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			s.WriteString(s.clean(p))
		case span:
			s.WriteString(s.paint(p.style, s.clean(p.text)))
		default:
			panic("line prints strings and spans")
		}
	}
	s.WriteByte('\n')
}

// lines prints a text that may have several, such as the reason of a failed
// reload. Those after the first are indented, so that none passes for a
// message of ours.
func (s *screen) lines(head, text string) {
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case i == 0:
			line = head + line
		case !strings.HasPrefix(line, "  "):
			line = "  " + line
		}
		s.line(line)
	}
}

// paint expects clean text.
func (s *screen) paint(st style, text string) string {
	if !s.colour || st == plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

// clean makes text from outside harmless: without control characters,
// invalid bytes, and characters that reorder others, and without UTF-8 where
// it is not understood (there the second bytes of letters are controls).
func (s *screen) clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) || r > unicode.MaxASCII && !s.utf8 {
			return '?'
		}
		return r
	}, text)
}

// fit returns clean text cut to a width in columns, with a mark where
// something is missing.
func (s *screen) fit(text string, width int) string {
	// The bound in bytes is for marks that have no width of their own.
	most := 8 * max(width, 1)
	text = s.clean(text)
	if len(text) <= most && textWidth(text) <= width {
		return text
	}
	mark := s.either("…", "...")
	room, end := width-textWidth(mark), 0
	for i, r := range text {
		if room -= textWidth(string(r)); room < 0 || i > most {
			break
		}
		end = i + len(string(r))
	}
	return text[:end] + mark
}

// either chooses by what the reader understands.
func (s *screen) either(utf8, ascii string) string {
	if s.utf8 {
		return utf8
	}
	return ascii
}

// textWidth is the number of columns that clean text takes.
func textWidth(text string) int { return ansi.StringWidth(text) }

var _ io.Writer = (*screen)(nil)
