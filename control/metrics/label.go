package metrics

import (
	"strings"
	"unicode/utf8"
)

// Bounds on what names from outside may become.
const (
	maxLabel  = 128 // bytes of a label's value
	maxLabels = 64  // values of a label; the rest is counted as "other"
)

func clean(labels []string) []string {
	for i := range labels {
		labels[i] = label(labels[i])
	}
	return labels
}

// label makes s a label's value: valid UTF-8 of bounded length, and printable,
// for metrics are read in terminals too.
func label(s string) string {
	if len(s) > 4*maxLabel {
		s = s[:4*maxLabel] // before it is looked at
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
	if len(s) <= maxLabel {
		return s
	}
	end := maxLabel - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
