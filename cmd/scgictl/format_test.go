package main

import (
	"math"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func TestDurationsHaveNoMoreDigitsThanAreWorthReading(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s"},
		{0, "0s"},
		{999, "0us"},
		{320 * time.Microsecond, "320us"},
		{999999, "999us"},
		{time.Millisecond, "1ms"},
		{999 * time.Millisecond, "999ms"},
		{time.Second, "1.0s"},
		{3249 * time.Millisecond, "3.2s"},
		{9999 * time.Millisecond, "9.9s"},
		{10 * time.Second, "10s"},
		{59999 * time.Millisecond, "59s"},
		{time.Minute, "1m00s"},
		{4*time.Minute + 12*time.Second, "4m12s"},
		{time.Hour - 1, "59m59s"},
		{3*time.Hour + 5*time.Minute, "3h05m"},
		{24*time.Hour - 1, "23h59m"},
		{51 * time.Hour, "2d03h"},
		{4000 * 24 * time.Hour, "4000d00h"},
	} {
		if got := duration(tt.d); got != tt.want {
			t.Errorf("duration(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestSecondsMayBeAnything(t *testing.T) {
	for s, want := range map[float64]string{
		0: "0s", 1.5: "1.5s", -3: "0s", 0.004: "4ms", 1e300: "36500d00h",
		math.Inf(1): "36500d00h", math.Inf(-1): "0s",
	} {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%v) = %q, want %q", s, got, want)
		}
	}
	if got := seconds(math.NaN()); got != "0s" {
		t.Errorf("seconds(NaN) = %q", got)
	}
}

func TestSizesAreInUnitsOf1024(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 10188: "9.9 KiB", 10189: "10 KiB",
		34 << 20: "34 MiB", 1<<20 - 1: "1.0 MiB", 1023 << 20: "1023 MiB", 1<<30 - 1: "1.0 GiB", 5 << 40: "5.0 TiB",
		math.MaxUint64: "16384 PiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCountsAreGrouped(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567", math.MaxUint64: "18,446,744,073,709,551,615",
	} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	if got := count(-1234); got != "-1,234" {
		t.Errorf("count(-1234) = %q", got)
	}
	if one, two := plural(1, "request"), plural(2000, "request"); one != "1 request" || two != "2,000 requests" {
		t.Errorf("plural: %q, %q", one, two)
	}
}

func TestLimitsSayWhatTheyAre(t *testing.T) {
	for _, tt := range []struct {
		l      control.Limits
		scaled bool
		want   string
	}{
		{control.Limits{MinWorkers: 0, MaxWorkers: 1024, MinIdle: 1, MaxIdle: 8}, false, "0 to 1,024 workers, 1 to 8 idle"},
		{control.Limits{MinWorkers: 4, MaxWorkers: 4, MinIdle: 0, MaxIdle: 4}, true, "4 workers, 0 to 4 idle (set at run time)"},
		{control.Limits{MinWorkers: 1, MaxWorkers: 1, MinIdle: 0, MaxIdle: 1}, false, "1 worker, 0 to 1 idle"},
	} {
		if got := limits(tt.l, tt.scaled); got != tt.want {
			t.Errorf("limits(%+v) = %q, want %q", tt.l, got, tt.want)
		}
	}
}

func TestTimesAreReadWithAndWithoutUnits(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "1.5": 1500 * time.Millisecond, "1.5s": 1500 * time.Millisecond, "5min": 5 * time.Minute,
		"5m": 5 * time.Minute, "1h30min": 90 * time.Minute, "0": 0, "250ms": 250 * time.Millisecond, "24h": maxTime,
	} {
		var f timeFlag
		if err := f.Set(text); err != nil || f.d != want {
			t.Errorf("%q is %v (%v), want %v", text, f.d, err, want)
		}
	}
	for _, text := range []string{"", "soon", "-1", "-1s", "24h1s", "86401", "NaN", "Inf", "1e300", "5 min"} {
		var f timeFlag
		if f.Set(text) == nil {
			t.Errorf("%q is %v, want an error", text, f.d)
		}
	}
}

func TestMetricsAreReadBySample(t *testing.T) {
	got, err := parseMetrics([]byte("# HELP a b\na_total 3.0\nb{x=\"1\",y=\"q\\\"\\\\\\n,}\"} 2.5 # {id=\"1\"} 1\n\nc{} +Inf\n# EOF\n"))
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].Name != "a_total" || got[0].Value != 3.0 || got[0].Labels != nil {
		t.Errorf("%+v", got[0])
	}
	if l := got[1].Labels; l["x"] != "1" || l["y"] != "q\"\\\n,}" || got[1].Value != 2.5 {
		t.Errorf("%+v", got[1])
	}
	if got[2].Value != "+Inf" {
		t.Errorf("%+v", got[2])
	}
	for _, bad := range []string{"a", "a x", "{x=\"1\"} 2", "a{x=\"1\" 2", "a{x=1} 2", "a{x=\"1} 2", "a{x=\"1\"}"} {
		if got, err := parseMetrics([]byte(bad)); err == nil {
			t.Errorf("%q is %+v, want an error", bad, got)
		}
	}
}
