package config

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// errorsMax bounds what one pass reports.
const errorsMax = 100

// Error is one mistake in a configuration. File is empty for a --set argument,
// and Line 0 for what is missing from the file as a whole.
type Error struct {
	File      string
	Line, Col int    // from 1; Col counts bytes
	Set       string // the --set argument
	Text      string // what is wrong and what is allowed, the key included

	order int // of the file or argument, in reading order
}

func (e *Error) Error() string {
	switch {
	case e.Set != "":
		return "--set " + show(e.Set) + ": " + e.Text
	case e.File == "":
		return e.Text
	case e.Line == 0:
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Text)
}

// Errors are all mistakes found in one pass, in reading order of the files,
// then by line; a line of text each.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns e in reading order, at most errorsMax errors and, if there were
// more, another one that says so.
func (e Errors) sorted() Errors {
	sort.SliceStable(e, func(i, j int) bool {
		a, b := e[i], e[j]
		if a.order != b.order {
			return a.order < b.order
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
	if len(e) > errorsMax {
		e = append(e[:errorsMax:errorsMax], &Error{Text: "and more errors"})
	}
	return e
}

// fault is a mistake in one value, off bytes from its start.
type fault struct {
	off  int
	text string
}

func (f *fault) Error() string { return f.text }

func faultf(off int, format string, args ...any) error {
	return &fault{off, fmt.Sprintf(format, args...)}
}

// showMax is how much of a foreign text an error repeats, in bytes.
const showMax = 60

// show makes text from outside fit for one line of an error: printable and
// bounded. It is quoted only when it has to be.
func show(s string) string {
	if len(s) > showMax {
		cut := showMax
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "..."
	}
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	if s == "" || strings.TrimSpace(s) != s {
		return strconv.Quote(s)
	}
	return s
}
