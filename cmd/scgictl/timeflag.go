package main

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// maxTime is the longest time that a verb takes.
const maxTime = 24 * time.Hour

// A timeFlag is a flag with a time: a number of seconds, or with units, as in
// 90, 1.5s, 5min or 1h30m.
type timeFlag struct{ d time.Duration }

func (f *timeFlag) Set(text string) error {
	d, err := time.ParseDuration(strings.ReplaceAll(text, "min", "m"))
	if n, e := strconv.ParseFloat(text, 64); e == nil && n >= 0 && n <= maxTime.Seconds() {
		d, err = fromSeconds(n), nil
	}
	if err != nil || d < 0 || d > maxTime {
		return errors.New("a time is written like 90, 1.5s, 5min or 1h30m, and is at most 24h")
	}
	f.d = d
	return nil
}

func (f *timeFlag) String() string {
	if f.d == 0 {
		return ""
	}
	return f.d.String()
}

func (*timeFlag) Type() string { return "TIME" }

// fromSeconds is the duration that a number of seconds means.
func fromSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
