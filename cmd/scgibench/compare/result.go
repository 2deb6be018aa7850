package compare

import (
	"encoding/json"
	"slices"
	"time"
)

// A Report is what a comparison has measured. Its JSON keys are stable.
type Report struct {
	Form        string            `json:"form"` // full, short or selected
	Began       time.Time         `json:"began"`
	Seconds     float64           `json:"seconds"`
	Interrupted bool              `json:"interrupted"`
	Machine     Machine           `json:"machine"`
	Versions    map[string]string `json:"versions"`
	Servers     []About           `json:"servers"`
	Missing     []Missing         `json:"missing"`
	Rows        []Row             `json:"rows"`
	Pools       []Pool            `json:"pools"`
	Starts      []Start           `json:"starts"`
	Growths     []Growth          `json:"growths"`
}

// Machine is what the figures depend on besides the servers.
type Machine struct {
	CPUs      int     `json:"cpus"`
	Model     string  `json:"model"`
	MemoryGiB float64 `json:"memory_gib"`
	System    string  `json:"system"`
	Kernel    string  `json:"kernel"`
	Group     bool    `json:"control_group"` // CPU comes from one; else it is summed over the processes
	Rounds    int     `json:"cpu_rounds"`    // of the loop that takes 2 ms
	Load      float64 `json:"load"`          // average of the last minute at the beginning
}

// About says what a server is.
type About struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

// Missing is what could not be measured, and how that could be changed.
type Missing struct {
	Server string `json:"server"`
	App    string `json:"app,omitempty"`
	Why    string `json:"why"`
}

// A Sample is what one round measured. CPU is in µs a request.
type Sample struct {
	Requests  int64   `json:"requests"`
	Failed    int64   `json:"failed"`
	Rate      float64 `json:"requests_per_second"`
	CPU       float64 `json:"cpu_us"` // of the whole tree
	Master    float64 `json:"master_cpu_us"`
	Workers   float64 `json:"workers_cpu_us"` // CPU without Master
	Kernel    float64 `json:"kernel_threads_cpu_us"`
	Switches  float64 `json:"switches"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Generator float64 `json:"generator_cpu_us"`
}

// A Metric is one of a Sample's figures.
type Metric struct {
	Name string // its JSON key
	Of   func(Sample) float64
}

// The metrics that reports name.
var (
	Rate     = Metric{"requests_per_second", func(s Sample) float64 { return s.Rate }}
	CPU      = Metric{"cpu_us", func(s Sample) float64 { return s.CPU }}
	Master   = Metric{"master_cpu_us", func(s Sample) float64 { return s.Master }}
	Workers  = Metric{"workers_cpu_us", func(s Sample) float64 { return s.Workers }}
	Kernel   = Metric{"kernel_threads_cpu_us", func(s Sample) float64 { return s.Kernel }}
	Switches = Metric{"switches", func(s Sample) float64 { return s.Switches }}
	P50      = Metric{"p50_us", func(s Sample) float64 { return s.P50 }}
	P99      = Metric{"p99_us", func(s Sample) float64 { return s.P99 }}
)

// A Row is one server with one application, so many workers and one load.
type Row struct {
	App     string   `json:"app"`
	Server  string   `json:"server"`
	Workers int      `json:"workers"`
	Clients string   `json:"clients"` // as ParseClients reads it
	Rounds  []Sample `json:"rounds"`  // in the order of time; the n-th of all rows of a group are of one round
}

// MarshalJSON adds the figures to the rounds that they are made of.
func (r Row) MarshalJSON() ([]byte, error) {
	type row Row
	figures := map[string]Figure{}
	for _, m := range []Metric{Rate, CPU, Master, Workers, Kernel, Switches, P50, P99} {
		figures[m.Name] = r.Figure(m)
	}
	return json.Marshal(struct {
		row
		Figures map[string]Figure `json:"figures"`
	}{row(r), figures})
}

// Failed counts the requests that failed in any round.
func (r *Row) Failed() (n int64) {
	for _, s := range r.Rounds {
		n += s.Failed
	}
	return n
}

// A Figure is the median of several rounds, with the least and the most.
type Figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// FigureOf is the Figure of some values; all zero of none.
func FigureOf(values []float64) Figure {
	if len(values) == 0 {
		return Figure{}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Figure{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}
}

// Figure is that of one metric.
func (r *Row) Figure(m Metric) Figure {
	var values []float64
	for _, s := range r.Rounds {
		values = append(values, m.Of(s))
	}
	return FigureOf(values)
}

// Ratio is a metric of r beside that of other, round by round: what slows the
// machine down for a while slows both.
func (r *Row) Ratio(other *Row, m Metric) Figure {
	var values []float64
	for i := range min(len(r.Rounds), len(other.Rounds)) {
		if d := m.Of(other.Rounds[i]); d > 0 {
			values = append(values, m.Of(r.Rounds[i])/d)
		}
	}
	return FigureOf(values)
}

// A Pool is what was seen of one server apart from the rounds.
type Pool struct {
	App       string             `json:"app"`
	Server    string             `json:"server"`
	Workers   int                `json:"workers"`
	Served    int                `json:"workers_that_served"` // in the warm-up
	Processes int                `json:"processes"`
	PSS       float64            `json:"pss_mib"`
	MasterPSS float64            `json:"master_pss_mib"`
	Calls     map[string]float64 `json:"system_calls,omitempty"` // a request, with one client
}

// CallsPerRequest adds up the system calls; 0 when they were not counted.
func (p *Pool) CallsPerRequest() (sum float64) {
	for _, n := range p.Calls {
		sum += n
	}
	return sum
}

// A Start is the time from starting a server to its first good answer.
type Start struct {
	Server  string  `json:"server"`
	Workers int     `json:"workers"`
	MS      Figure  `json:"first_answer_ms"`
	Tries   []int64 `json:"tries_us"`
}

// A Growth is how one worker became many under a burst.
type Growth struct {
	Server  string  `json:"server"`
	To      int     `json:"to"`
	Reached int     `json:"reached"` // that had begun to answer, within the time
	MS      float64 `json:"ms"`      // until the last of these had begun
}

// Find is the row of that name, nil when it was not measured.
func (r *Report) Find(app, server string, workers int, clients string) *Row {
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.App == app && row.Server == server && row.Workers == workers && row.Clients == clients && len(row.Rounds) > 0 {
			return row
		}
	}
	return nil
}

// FindPool is the pool of that name, nil when it was not measured.
func (r *Report) FindPool(app, server string, workers int) *Pool {
	for i := range r.Pools {
		if p := &r.Pools[i]; p.App == app && p.Server == server && p.Workers == workers {
			return p
		}
	}
	return nil
}
