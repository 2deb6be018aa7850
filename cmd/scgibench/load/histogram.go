package load

import (
	"math/bits"
	"time"
)

// A histogram counts durations in log-linear buckets: exact below 64 ns, then
// 32 buckets for each doubling, so that a percentile is at most 1/32 (3 %) wide
// and its middle at most 1.6 % off. Adding never allocates.
type histogram struct {
	counts   [buckets]uint64
	n        uint64
	sum      int64
	min, max int64
}

const (
	fine    = 5 // 1<<fine buckets for each doubling
	buckets = (64 - fine) << fine
)

func bucket(ns int64) int {
	if ns < 0 {
		ns = 0
	}
	shift := max(0, bits.Len64(uint64(ns))-fine-1)
	return shift<<fine + int(uint64(ns)>>shift)
}

// bounds are the first and the last duration of a bucket.
func bounds(b int) (first, last int64) {
	if b < 2<<fine {
		return int64(b), int64(b)
	}
	shift := b>>fine - 1
	first = int64(b-shift<<fine) << shift
	return first, first + 1<<shift - 1
}

func (h *histogram) add(ns int64) {
	h.counts[bucket(ns)]++
	if h.n == 0 || ns < h.min {
		h.min = ns
	}
	h.max = max(h.max, ns)
	h.n++
	h.sum += ns
}

func (h *histogram) merge(o *histogram) {
	if o.n == 0 {
		return
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
	for i, c := range o.counts {
		h.counts[i] += c
	}
}

// at is the duration that the fraction q of all was no longer than: the middle
// of its bucket, within the least and the longest seen.
func (h *histogram) at(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q * float64(h.n))
	seen := uint64(0)
	for b, c := range h.counts {
		seen += c
		if seen > rank || seen == h.n {
			first, last := bounds(b)
			return time.Duration(min(max((first+last)/2, h.min), h.max))
		}
	}
	return time.Duration(h.max)
}

func (h *histogram) mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum / int64(h.n))
}
