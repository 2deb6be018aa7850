package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// infinity is the time span of that name.
const infinity time.Duration = math.MaxInt64

const year = 31557600 * time.Second // systemd.time(7): 365.25 days

// units are those of systemd.time(7).
var units = map[string]time.Duration{
	"us": time.Microsecond, "usec": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
	"ms": millisecond, "msec": millisecond,
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": hour, "hr": hour, "hour": hour, "hours": hour,
	"d": day, "day": day, "days": day,
	"w": 7 * day, "week": 7 * day, "weeks": 7 * day,
	"M": year / 12, "month": year / 12, "months": year / 12,
	"y": year, "year": year, "years": year,
}

// timeSpan reads a time span as in systemd.time(7): "5min 20s", "1.5h", a bare
// number of seconds, "infinity". Errors are of type *fault.
func timeSpan(s string) (time.Duration, error) {
	if strings.TrimSpace(s) == "infinity" {
		return infinity, nil
	}
	var sum time.Duration
	i := skipBlanks(s, 0)
	if i == len(s) {
		return 0, faultf(0, "is not a time span such as 90s or 5min 20s")
	}
	for i < len(s) {
		d, end, err := spanPart(s, i)
		if err != nil {
			return 0, err
		}
		if d > infinity-1-sum {
			return 0, faultf(i, "is too long a time span")
		}
		sum += d
		i = skipBlanks(s, end)
	}
	return sum, nil
}

func skipBlanks(s string, i int) int {
	for i < len(s) && blank(s[i]) {
		i++
	}
	return i
}

// spanPart reads one number and its unit at s[i] and returns where the next part
// begins.
func spanPart(s string, i int) (time.Duration, int, error) {
	start := i
	i = digits(s, i)
	whole := s[start:i]
	frac := ""
	if i < len(s) && s[i] == '.' {
		end := digits(s, i+1)
		frac, i = s[i+1:end], end
	}
	if whole == "" && frac == "" {
		return 0, 0, faultf(start, "is not a time span such as 90s or 5min 20s")
	}
	i = skipBlanks(s, i)
	name := i
	for i < len(s) && !blank(s[i]) && s[i] != '.' && (s[i] < '0' || s[i] > '9') {
		_, n := utf8.DecodeRuneInString(s[i:])
		i += n
	}
	if name == i && i < len(s) && s[i] == '.' {
		return 0, 0, faultf(i, "is not a time span such as 90s or 5min 20s")
	}
	unit, ok := units[s[name:i]]
	if !ok {
		return 0, 0, faultf(name, "unknown unit %s; units are us, ms, s, min, h, d, w, month, y", show(s[name:i]))
	}
	d, ok := spanOf(whole, frac, unit)
	if !ok {
		return 0, 0, faultf(start, "is too long a time span")
	}
	return d, i, nil
}

func digits(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// spanOf multiplies without rounding up: what is less than a microsecond is
// dropped.
func spanOf(whole, frac string, unit time.Duration) (time.Duration, bool) {
	var d time.Duration
	if whole != "" {
		n, err := strconv.ParseInt(whole, 10, 64)
		if err != nil || n > int64((infinity-1)/unit) {
			return 0, false
		}
		d = time.Duration(n) * unit
	}
	for i := 0; i < len(frac) && unit > 0; i++ {
		unit /= 10
		part := unit * time.Duration(frac[i]-'0')
		if d > infinity-1-part {
			return 0, false
		}
		d += part
	}
	return d.Truncate(time.Microsecond), true
}

// spanText writes a time span as systemd does, "1min 30s", so that timeSpan
// reads the same again. What is less than a microsecond is dropped.
func spanText(d time.Duration) string {
	if d == infinity {
		return "infinity"
	}
	var parts []string
	for _, u := range []struct {
		name string
		d    time.Duration
	}{{"d", day}, {"h", hour}, {"min", time.Minute}, {"s", time.Second}, {"ms", millisecond}, {"us", time.Microsecond}} {
		if n := d / u.d; n > 0 {
			parts = append(parts, fmt.Sprintf("%d%s", n, u.name))
			d -= n * u.d
		}
	}
	if parts == nil {
		return "0"
	}
	return strings.Join(parts, " ")
}

// parseSize reads a number of bytes with one of systemd's suffixes, base 1024.
func parseSize(s string) (uint64, bool) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("BKMGT", s[len(s)-1]); i >= 0 {
			shift = 10 * i
			s = strings.TrimRight(s[:len(s)-1], " \t")
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return 0, false
	}
	return n << shift, true
}

func sizeText(n int) string {
	switch {
	case n%(1<<20) == 0:
		return fmt.Sprintf("%dM", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%dK", n>>10)
	}
	return strconv.Itoa(n)
}
