package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Result is what a run measured. Its JSON keys are stable.
type Result struct {
	Address       string            `json:"address"`
	Clients       int               `json:"clients"`
	Threads       int               `json:"threads"`
	Requests      int64             `json:"requests"`   // ended, well or not
	OK            int64             `json:"ok"`         // of these
	Failed        int64             `json:"failed"`     // of these
	Unfinished    int64             `json:"unfinished"` // given up when the run was interrupted; not in Requests
	Seconds       float64           `json:"seconds"`    // to the end of the last request
	PerSecond     float64           `json:"requests_per_second"`
	BytesSent     int64             `json:"bytes_sent"`
	BytesReceived int64             `json:"bytes_received"`
	Latency       Latency           `json:"latency_us"`
	Errors        map[string]int64  `json:"errors"`     // by kind, all kinds always there
	Statuses      map[int]int64     `json:"statuses"`   // of whole replies
	BadStatuses   map[int]int64     `json:"bad_status"` // of those that failed for it
	Examples      map[string]string `json:"examples"`   // the first error of each kind
	PerClient     []int64           `json:"per_client"` // requests of each client
	OwnCPU        float64           `json:"generator_cpu_us_per_request"`
}

// Latency is from before connect to the end of the reply, of the requests
// that ended well, in µs. Percentiles are at most 1.6 % off.
type Latency struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// Kinds are the keys of Result.Errors, in the order in which to show them.
func Kinds() []string { return append([]string(nil), kindNames[good+1:]...) }

// A tally is what one engine has counted.
type tally struct {
	latency     histogram
	kinds       [kinds]int64
	statuses    [1000]int64
	badStatuses [1000]int64
	examples    [kinds]string
	sent        int64
	received    int64
	unfinished  int64
	last        int64 // end of the last request
}

// count adds a request of c that has just ended.
func (t *tally) count(c *client, how ending, now int64) {
	t.last = now
	t.kinds[how.kind]++
	if c.reply.inBody && !c.reply.bad && how.kind != short && how.kind != reset && how.kind != timeout {
		t.statuses[c.reply.status]++
	}
	switch {
	case how.kind == good:
		t.latency.add(now - c.start)
		return
	case how.kind == status:
		t.badStatuses[c.reply.status]++
	}
	if t.examples[how.kind] == "" {
		t.examples[how.kind] = how.String()
	}
}

// result adds up the engines; cpu is what the process used meanwhile.
func (l *Load) result(engines []*engine, cpu time.Duration) *Result {
	r := &Result{Address: l.Address, Clients: l.Clients, Threads: l.Threads,
		Errors: map[string]int64{}, Statuses: map[int]int64{}, BadStatuses: map[int]int64{}, Examples: map[string]string{}}
	for _, k := range Kinds() {
		r.Errors[k] = 0
	}
	var all histogram
	last := int64(0)
	for _, e := range engines {
		all.merge(&e.latency)
		last = max(last, e.last)
		r.add(&e.tally)
		for i := range e.clients {
			r.PerClient = append(r.PerClient, e.clients[i].count)
		}
	}
	r.Requests = r.OK + r.Failed
	r.Seconds = float64(last) / 1e9
	if last > 0 {
		r.PerSecond = float64(r.Requests) / r.Seconds
	}
	if r.Requests > 0 {
		r.OwnCPU = us(cpu) / float64(r.Requests)
	}
	r.Latency = all.summary()
	return r
}

func (r *Result) add(t *tally) {
	r.BytesSent += t.sent
	r.BytesReceived += t.received
	r.Unfinished += t.unfinished
	r.OK += t.kinds[good]
	for k := good + 1; k < kinds; k++ {
		r.Failed += t.kinds[k]
		r.Errors[k.String()] += t.kinds[k]
		if t.examples[k] != "" && r.Examples[k.String()] == "" {
			r.Examples[k.String()] = t.examples[k]
		}
	}
	addCodes(r.Statuses, &t.statuses)
	addCodes(r.BadStatuses, &t.badStatuses)
}

func addCodes(to map[int]int64, from *[1000]int64) {
	for code, n := range from {
		if n > 0 {
			to[code] += n
		}
	}
}

func (h *histogram) summary() Latency {
	return Latency{
		Min: us(time.Duration(h.min)), Mean: us(h.mean()), P50: us(h.at(0.5)), P90: us(h.at(0.9)),
		P99: us(h.at(0.99)), P999: us(h.at(0.999)), Max: us(time.Duration(h.max)),
	}
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// ownCPU is what this process has used so far, user and system.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
