package main

import (
	"strconv"
	"strings"

	"github.com/scgid/scgid/control"
)

// A sample is one line of OpenMetrics text. Its value is a text where JSON
// has no number for it.
type sample struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Value  any               `json:"value"`
}

// parseMetrics reads the samples of OpenMetrics text, without exemplars.
func parseMetrics(text []byte) ([]sample, error) {
	samples := []sample{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, ok := parseSample(line)
		if !ok {
			return nil, control.Errorf(control.CodeProtocol, "cannot read the metrics: %.80q is not a sample", line)
		}
		samples = append(samples, s)
	}
	return samples, nil
}

// parseSample reads NAME{LABEL="TEXT",...} VALUE ...
func parseSample(line string) (s sample, ok bool) {
	end := strings.IndexAny(line, "{ ")
	if end <= 0 {
		return s, false
	}
	s.Name, line = line[:end], line[end:]
	if line[0] == '{' {
		if s.Labels, line, ok = parseLabels(line[1:]); !ok {
			return s, false
		}
	}
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return s, false
	}
	n, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return s, false
	}
	s.Value = n
	if n != n || n > 1e308 || n < -1e308 {
		s.Value = fields[0]
	}
	return s, true
}

// parseLabels reads labels and the brace behind them.
func parseLabels(text string) (labels map[string]string, rest string, ok bool) {
	labels = map[string]string{}
	for {
		if rest, ok = strings.CutPrefix(text, "}"); ok {
			return labels, rest, true
		}
		name, value, found := strings.Cut(text, `="`)
		if !found {
			return nil, "", false
		}
		if labels[name], text, ok = parseQuoted(value); !ok {
			return nil, "", false
		}
		text = strings.TrimPrefix(text, ",")
	}
}

// parseQuoted reads up to the closing quote, with \n, \" and \\.
func parseQuoted(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
