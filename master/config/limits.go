package config

import (
	"fmt"
	"strconv"
)

// A measure is what a limit is counted in.
type measure struct {
	name  string
	parse func(string) (uint64, bool)
	text  func(uint64) string
}

var (
	bytesIn = measure{"size", parseSize, largeSizeText}
	tasksIn = measure{"number", parseCount, func(n uint64) string { return strconv.FormatUint(n, 10) }}
)

// orInfinity is a limit that can be absent, which is stored as 0.
func orInfinity(p func(*Config) *uint64, in measure, lo, hi uint64) kind {
	k := kind{Type: in.name, Allowed: fmt.Sprintf("a %s from %s to %s, or infinity", in.name, in.text(lo), in.text(hi))}
	k.set = func(c *Config, v string) error {
		if v == "" || v == "infinity" {
			*p(c) = 0
			return nil
		}
		n, ok := in.parse(v)
		if !ok || n < lo || n > hi {
			return k.notAllowed()
		}
		*p(c) = n
		return nil
	}
	k.text = func(c *Config) []string {
		if *p(c) == 0 {
			return []string{"infinity"}
		}
		return []string{in.text(*p(c))}
	}
	return k
}

func parseCount(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// largeSizeText writes bytes with the largest suffix that fits.
func largeSizeText(n uint64) string {
	for i, unit := range []string{"T", "G", "M", "K"} {
		if shift := 10 * (4 - i); n > 0 && n%(1<<shift) == 0 {
			return strconv.FormatUint(n>>shift, 10) + unit
		}
	}
	return strconv.FormatUint(n, 10)
}
