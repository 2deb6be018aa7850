package main

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// buckets are those of a histogram of OpenMetrics, by their upper bounds:
// each counts what is not above it.
type buckets []bucket

type bucket struct {
	upTo float64 // seconds; the last may be infinite
	n    float64
}

// maxBuckets bounds what is read of a histogram.
const maxBuckets = 128

// bucketsOf finds the buckets of one histogram.
func bucketsOf(samples []sample, name string) buckets {
	var b buckets
	for _, s := range samples {
		if s.Name != name || len(b) == maxBuckets {
			continue
		}
		upTo, err := strconv.ParseFloat(s.Labels["le"], 64)
		n, isNumber := s.Value.(float64)
		if err == nil && isNumber && upTo >= 0 && n >= 0 {
			b = append(b, bucket{upTo, n})
		}
	}
	slices.SortFunc(b, func(x, y bucket) int { return cmp.Compare(x.upTo, y.upTo) })
	return b
}

// since is what was counted after old.
func (b buckets) since(old buckets) buckets {
	was := map[float64]float64{}
	for _, o := range old {
		was[o.upTo] = o.n
	}
	diff, sum := make(buckets, len(b)), 0.0
	for i, x := range b {
		sum = max(sum, x.n-was[x.upTo])
		diff[i] = bucket{x.upTo, sum}
	}
	return diff
}

// percentiles are those of some durations; nothing is known of none.
type percentiles struct {
	p50, p95 time.Duration
	known    bool
}

func (b buckets) percentiles() percentiles {
	if len(b) == 0 || b[len(b)-1].n < 1 {
		return percentiles{}
	}
	return percentiles{b.quantile(0.5), b.quantile(0.95), true}
}

// quantile takes the durations within a bucket as spread evenly. Beyond the
// last finite bound it knows no more than that bound.
func (b buckets) quantile(q float64) time.Duration {
	rank := q * b[len(b)-1].n
	below, lower := 0.0, 0.0
	for _, x := range b {
		if x.n >= rank && x.n > below {
			if !math.IsInf(x.upTo, 1) {
				lower += (x.upTo - lower) * (rank - below) / (x.n - below)
			}
			break
		}
		below = x.n
		if !math.IsInf(x.upTo, 1) {
			lower = x.upTo
		}
	}
	return fromSeconds(min(lower, maxTime.Seconds()))
}

func (p percentiles) report() *topTimes {
	if !p.known {
		return nil
	}
	return &topTimes{p.p50.Seconds(), p.p95.Seconds()}
}
