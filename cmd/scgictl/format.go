package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

// duration writes d for people: at most two units, and no more digits than
// are worth reading.
func duration(d time.Duration) string {
	days := d / (24 * time.Hour)
	switch {
	case d < 0:
		return "0s"
	case d == 0:
		return "0s"
	case d < time.Millisecond:
		return fmt.Sprintf("%dus", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return tenths(float64(d/(100*time.Millisecond))/10) + "s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case days == 0:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", days, d%(24*time.Hour)/time.Hour)
}

// seconds writes a number of seconds as duration does. It may be anything:
// it comes from outside.
func seconds(s float64) string {
	const most = 100 * 365 * 24 * 3600
	if !(s > 0) { // not a number, too
		s = 0
	}
	return duration(time.Duration(min(s, most) * float64(time.Second)).Round(time.Microsecond))
}

// ago is the time since t.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return duration(time.Since(t))
}

// stamp is a moment in the reader's time zone.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// size writes a number of bytes in IEC units.
func size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	// 1023.95 would be written 1024.
	for f >= 1023.5 && unit < 4 {
		f /= 1024
		unit++
	}
	unitName := []string{"KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
	if f < 9.95 {
		return tenths(f) + " " + unitName
	}
	return fmt.Sprintf("%.0f %s", f, unitName)
}

func tenths(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// count writes a number with a comma between each three digits.
func count[N uint64 | int](n N) string {
	s := fmt.Sprint(n)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i, digit := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return sign + b.String()
}

// plural is "1 request" or "2 requests".
func plural[N uint64 | int](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// limits writes Limits as one line.
func limits(l control.Limits, scaled bool) string {
	s := fmt.Sprintf("%s to %s workers, %s to %s idle",
		count(l.MinWorkers), count(l.MaxWorkers), count(l.MinIdle), count(l.MaxIdle))
	if l.MinWorkers == l.MaxWorkers {
		s = fmt.Sprintf("%s, %s to %s idle", plural(l.MaxWorkers, "worker"), count(l.MinIdle), count(l.MaxIdle))
	}
	if l.MaxBusy != control.BusyAuto {
		s += ", busy at the same time: " + l.MaxBusy.String()
	}
	if scaled {
		s += " (set at run time)"
	}
	return s
}
