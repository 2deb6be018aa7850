package control

import (
	"math"
	"testing"
	"time"
)

func TestQuantilesAreThoseOfTheTimeBetween(t *testing.T) {
	var old, h Histogram
	if q := h.Quantiles(); q != nil {
		t.Errorf("of nothing: %v", q)
	}
	for range 1000 {
		old.Add(time.Second)
		h.Add(time.Second)
	}
	for range 90 {
		h.Add(2 * time.Millisecond)
	}
	for range 10 {
		h.Add(40 * time.Millisecond)
	}
	// Between 1 and 2.5 ms, the median 50/90 of the way; between 25 and 50 ms half
	// of the way.
	got, want := h.Since(old).Quantiles(), Quantiles{0.001 + 0.0015*50/90, 0.0375}
	if got == nil || math.Abs(got.P50-want.P50) > 1e-9 || math.Abs(got.P95-want.P95) > 1e-9 {
		t.Errorf("%v, want %v", got, want)
	}
	if q := old.Since(h).Quantiles(); q != nil {
		t.Errorf("counts that went back: %v", q)
	}
	var late Histogram
	late.Add(24 * time.Hour)
	if q := late.Quantiles(); q.P50 != 60 {
		t.Errorf("beyond all bounds: %v, want the last", q)
	}
}
