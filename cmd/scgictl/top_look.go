package main

import "strings"

// A topLook turns spans into what a terminal gets. Whatever they hold is made
// harmless here.
type topLook struct {
	s *screen // what the reader understands; nothing is written to it
}

// inverse is the style of the selected row.
const inverse style = "7"

// A topLine is a line of spans.
type topLine []span

// line paints a line, cut to a width, without blanks at its end.
func (l topLook) line(parts topLine, width int) string {
	var b strings.Builder
	for _, p := range parts {
		text := l.cut(p.text, width)
		width -= textWidth(text)
		b.WriteString(l.s.paint(p.style, text))
	}
	return strings.TrimRight(b.String(), " ")
}

// cut is fit that holds for any width.
func (l topLook) cut(text string, width int) string {
	switch mark := textWidth(l.s.either("…", "...")); {
	case width <= 0:
		return ""
	case width < mark:
		if text = l.s.clean(text); textWidth(text) > width {
			return strings.Repeat(".", width)
		}
		return text
	}
	return l.s.fit(text, width)
}

// width is how wide a line is before it is cut.
func (l topLook) width(parts topLine) int {
	n := 0
	for _, p := range parts {
		n += textWidth(l.s.clean(p.text))
	}
	return n
}

// apart puts one line at the left and one at the right, which has the
// precedence where there is room for half of the left.
func (l topLook) apart(left, right topLine, width int) topLine {
	room := width - l.width(right) - 2
	if room < width/2 {
		return left
	}
	return append(l.beside(left, nil, room+2), right...)
}

// beside puts two lines side by side, the first on this many columns, of
// which at least two stay blank.
func (l topLook) beside(left, right topLine, columns int) topLine {
	var line topLine
	room := columns - 2
	for _, p := range left {
		text := l.cut(p.text, room)
		room -= textWidth(text)
		line = append(line, span{p.style, text})
	}
	return append(append(line, span{plain, strings.Repeat(" ", max(room+2, 0))}), right...)
}

// pad fills clean text up with blanks.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(width-textWidth(text), 0))
}

// Steps of a curve, from 0 to the highest.
var (
	sparksUTF8  = []rune("▁▂▃▄▅▆▇█")
	sparksASCII = []rune("_.-:=+*#")
)

// spark draws values from 0 to most; one that is negative is not there.
func (l topLook) spark(values []float64, most float64) string {
	steps := sparksASCII
	if l.s.utf8 {
		steps = sparksUTF8
	}
	var b strings.Builder
	for _, v := range values {
		switch {
		case v < 0:
			b.WriteByte(' ')
		case v == 0 || most <= 0:
			b.WriteRune(steps[0])
		default: // what is not 0 is seen
			b.WriteRune(steps[min(1+int(v/most*float64(len(steps)-1)), len(steps)-1)])
		}
	}
	return b.String()
}
