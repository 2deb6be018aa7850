package control

import "time"

// Recent is what happened lately: within the last one to two minutes, or since
// the master began where that is less.
type Recent struct {
	Seconds   float64 `json:"seconds"` // how long that is
	Served    uint64  `json:"served"`
	Errors    uint64  `json:"errors"` // of those: replies with a status of 500 or more, as workers told it
	Lost      uint64  `json:"lost"`
	PerSecond float64 `json:"requests_per_second"`

	Queue   *Quantiles `json:"queue_seconds,omitempty"`   // from accept to a worker; nil where nothing was served
	Service *Quantiles `json:"service_seconds,omitempty"` // at a worker; nil where nothing was served
}

// Quantiles are the median and the 95th percentile of durations, in seconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
}

// Kinds of failures.
const (
	FailedStart = "start-failed"   // a worker could not start
	FailedExit  = "worker-crashed" // one ended though nobody wanted it to, or had to be killed
	FailedLost  = "request-lost"   // its worker died after reading it
)

// A Failure is something that went wrong.
type Failure struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Worker uint64    `json:"worker"` // id
	Text   string    `json:"text"`   // what happened; printable and bounded
}

// Since returns what h counted after old.
func (h Histogram) Since(old Histogram) Histogram {
	for i := range h.Counts {
		h.Counts[i] -= min(old.Counts[i], h.Counts[i])
	}
	h.Sum = max(h.Sum-old.Sum, 0)
	return h
}

// Quantiles returns those of what h has counted, nil where that is nothing.
func (h Histogram) Quantiles() *Quantiles {
	all := uint64(0)
	for _, n := range h.Counts {
		all += n
	}
	if all == 0 {
		return nil
	}
	return &Quantiles{h.quantile(0.5, all), h.quantile(0.95, all)}
}

// quantile takes the durations between two bounds as spread evenly. Beyond the
// last bound it knows no more than that bound.
func (h Histogram) quantile(q float64, all uint64) float64 {
	rank, below, lower := q*float64(all), 0.0, 0.0
	for i, bound := range HistogramBounds {
		n := float64(h.Counts[i])
		if n > 0 && below+n >= rank {
			return lower + (bound.Seconds()-lower)*(rank-below)/n
		}
		below, lower = below+n, bound.Seconds()
	}
	return lower
}
