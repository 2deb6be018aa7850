package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestEveryDurationIsWithinItsBucket(t *testing.T) {
	next := int64(0)
	for b := range buckets {
		first, last := bounds(b)
		if first != next {
			t.Fatalf("bucket %d begins at %d, the one before ends at %d", b, first, next-1)
		}
		for _, ns := range []int64{first, last} {
			if bucket(ns) != b {
				t.Fatalf("%d ns is in bucket %d, want %d", ns, bucket(ns), b)
			}
		}
		if wide := last - first; first > 64 && float64(wide)/float64(first) > 1.0/32 {
			t.Fatalf("bucket %d is %d ns wide at %d ns", b, wide, first)
		}
		next = last + 1
	}
	if next != math.MinInt64 { // one past the largest
		t.Fatalf("the last bucket ends at %d", next-1)
	}
}

func TestPercentilesAreWithinTwoPercent(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var a, b histogram
	var all []float64
	for i := range 20000 {
		ns := int64(math.Exp(rnd.Float64()*12) * 1000)
		all = append(all, float64(ns))
		if i%2 == 0 {
			a.add(ns)
		} else {
			b.add(ns)
		}
	}
	a.merge(&b)
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		if got := float64(a.at(q)); math.Abs(got-want)/want > 0.02 {
			t.Errorf("percentile %v is %v, want %v", q, got, want)
		}
	}
	if a.n != 20000 || float64(a.min) != all[0] || float64(a.max) != all[len(all)-1] {
		t.Errorf("n %d min %d max %d after merge", a.n, a.min, a.max)
	}
}

func TestOneDurationIsEveryPercentile(t *testing.T) {
	var h histogram
	if h.at(0.5) != 0 || h.mean() != 0 {
		t.Error("an empty histogram has a percentile")
	}
	h.add(int64(777 * time.Microsecond))
	for _, q := range []float64{0, 0.5, 0.999, 1} {
		if h.at(q) != 777*time.Microsecond {
			t.Errorf("percentile %v is %v", q, h.at(q))
		}
	}
}

func TestAddingAllocatesNothing(t *testing.T) {
	h := new(histogram)
	if n := testing.AllocsPerRun(100, func() { h.add(12345) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
