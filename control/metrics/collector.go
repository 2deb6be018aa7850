package metrics

import (
	"context"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/scgid/scgid/control"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("scgid_"+name, help, labels, nil)
}

// The metric families. Counts begin with the master.
var (
	descUp        = desc("up", "Whether the pool could be read.")
	descInfo      = desc("info", "The pool and the version of scgid, with the value 1.", "name", "version")
	descState     = desc("state", "1 for the state that the pool is in.", "state")
	descStart     = desc("start_time_seconds", "When the master started, since the epoch.")
	descGen       = desc("generation", "Generation of the workers.")
	descWorkers   = desc("workers", "Worker processes by state.", "state")
	descBusyLimit = desc("busy_limit", "Requests that may be at workers at the same time now; 0 is as many as there are workers.")
	descHeld      = desc("held", "Requests that wait for MaxBusy= though a worker is idle.")
	descLimit     = desc("worker_limit", "Limits of the number of workers in effect.", "limit")
	descSaturated = desc("saturated_seconds", "How long all workers have been busy with requests waiting.")
	descBusy      = desc("busy_seconds_total", "Time that requests spent at workers.")
	descAccepted  = desc("accepted_total", "Connections that the master accepted.")
	descConns     = desc("connections_total", "Connections that ended, by outcome.", "outcome")
	descRefusals  = desc("refusals_total", "Connections that were answered with 503, by reason.", "reason")
	descActive    = desc("requests_active", "Requests at workers now.")
	descReplies   = desc("replies_total", "Replies by status class, as workers told it.", "class")
	descCut       = desc("replies_cut_total", "Replies that ended early, as workers told it.")
	descForeign   = desc("foreign_total", "Connections that were refused because they are no SCGI requests, by what they are.", "kind")
	descRetried   = desc("retried_total", "Requests given to another worker because the first had not read them.")
	descQueueTime = desc("request_queue_seconds", "Time from accept to a worker.")
	descService   = desc("request_service_seconds", "Time at a worker.")
	descWaiting   = desc("queue_waiting", "Requests without a worker.")
	descOldest    = desc("queue_oldest_seconds", "How long the first of them has waited.")
	descQueueMax  = desc("queue_limit", "How many may wait in the master.")
	descParked    = desc("parked", "Connections whose request header is not whole.")
	descBacklog   = desc("listener_backlog", "Connections in the kernel's queue of a listener.", "listener", "address")
	descBackMax   = desc("listener_backlog_limit", "Length of the kernel's queue of a listener.", "listener", "address")
	descStarts    = desc("worker_starts_total", "Starts of workers.")
	descFailures  = desc("worker_start_failures_total", "Starts of workers that failed.")
	descExits     = desc("worker_exits_total", "Workers that ended, by reason.", "reason")
	descOrphans   = desc("orphans_total", "Processes that workers left behind and the master reaped.")
	descViolate   = desc("protocol_violations_total", "Workers that broke the protocol.")
	descDropped   = desc("log_lines_dropped_total", "Lines of the log that were dropped because writing them took too long.")
	descMemory    = desc("memory_bytes", "Resident memory of the master and its workers.")
	descCPU       = desc("cpu_seconds_total", "Processor time of the master and its workers.")
)

// A collector collects one snapshot of a pool, for one scrape.
type collector struct {
	ctx           context.Context
	read          Reader
	name, version string
}

// Describe sends all families that Collect may send samples of.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descUp, descInfo, descState, descStart, descGen, descWorkers, descLimit, descBusyLimit, descHeld, descSaturated, descBusy, descAccepted,
		descConns, descRefusals, descActive, descReplies, descCut, descForeign, descRetried, descQueueTime, descService, descWaiting, descOldest, descQueueMax,
		descParked, descBacklog, descBackMax, descStarts, descFailures, descExits, descOrphans, descViolate, descDropped, descMemory, descCPU,
	} {
		to <- d
	}
}

// Collect reads the pool once and sends its samples.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	out := samples(to)
	out.gauge(descInfo, 1, c.name, c.version)
	m, err := c.read(c.ctx)
	if err != nil {
		out.gauge(descUp, 0)
		return
	}
	out.gauge(descUp, 1)
	out.status(m.Status)
	out.queue(m.Status.Queue)

	out.count(descAccepted, float64(m.Accepted))
	out.counts(descConns, m.Outcomes)
	out.counts(descRefusals, m.Refusals)
	out.count(descRetried, float64(m.Retried))
	out.count(descOrphans, float64(m.Orphans))
	out.count(descViolate, float64(m.Violate))
	out.count(descDropped, float64(m.LogDropped))
	for i, class := range control.ClassNames {
		out.count(descReplies, float64(m.Classes[i]), class)
	}
	out.count(descCut, float64(m.Status.Requests.Cut))
	out.count(descBusy, m.Busy.Seconds())
	out.histogram(descQueueTime, m.Queued)
	out.histogram(descService, m.Service)
	out.gauge(descMemory, float64(m.Memory))
	out.count(descCPU, m.CPU.Seconds())
}

// samples is where a collector sends to.
type samples chan<- prometheus.Metric

func (to samples) status(s control.Status) {
	for _, state := range []string{control.Starting, control.Running, control.Paused, control.Draining, control.Failing} {
		is := 0.0
		if state == s.State {
			is = 1
		}
		to.gauge(descState, is, state)
	}
	if !s.Since.IsZero() {
		to.gauge(descStart, float64(s.Since.UnixMicro())/1e6)
	}
	to.gauge(descGen, float64(s.Generation))
	to.gauge(descSaturated, s.Saturated)
	to.gauge(descActive, float64(s.Requests.Active))

	w := s.Workers
	to.gauges(descWorkers, []string{"starting", "idle", "busy", "retiring"}, w.Starting, w.Idle, w.Busy, w.Retiring)
	l := s.Limits
	to.gauges(descLimit, []string{"min", "max", "min_idle", "max_idle"}, l.MinWorkers, l.MaxWorkers, l.MinIdle, l.MaxIdle)

	to.gauge(descBusyLimit, float64(s.Busy.Limit))
	to.gauge(descHeld, float64(s.Busy.Held))

	for _, f := range s.Foreign {
		to.count(descForeign, float64(f.Count), f.Kind)
	}
	to.count(descStarts, float64(s.Starts.Total))
	to.count(descFailures, float64(s.Starts.Failed))
	to.counts(descExits, s.Exits)
}

func (to samples) queue(q control.Queue) {
	to.gauge(descWaiting, float64(q.Waiting))
	to.gauge(descOldest, q.OldestAge)
	to.gauge(descQueueMax, float64(q.Limit))
	to.gauge(descParked, float64(q.Parked))
	sent := map[[2]string]bool{}
	for _, l := range q.Listeners {
		key := [2]string{label(l.Name), label(l.Address)}
		if sent[key] || len(sent) == maxLabels {
			continue
		}
		sent[key] = true
		if l.Backlog >= 0 {
			to.gauge(descBacklog, float64(l.Backlog), l.Name, l.Address)
		}
		if l.BacklogLimit >= 0 {
			to.gauge(descBackMax, float64(l.BacklogLimit), l.Name, l.Address)
		}
	}
}

func (to samples) gauge(d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, clean(labels)...)
}

func (to samples) gauges(d *prometheus.Desc, labels []string, values ...int) {
	for i, l := range labels {
		to.gauge(d, float64(values[i]), l)
	}
}

func (to samples) count(d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, clean(labels)...)
}

// counts sends counts by a name that may come from outside: names that become
// the same label are added up, and of too many the last in order are "other".
func (to samples) counts(d *prometheus.Desc, by map[string]uint64) {
	sum := map[string]uint64{}
	for name, n := range by {
		sum[label(name)] += n
	}
	names := slices.Sorted(maps.Keys(sum))
	if len(names) > maxLabels {
		rest := uint64(0)
		for _, name := range names[maxLabels-1:] {
			rest += sum[name]
			delete(sum, name)
		}
		sum["other"] += rest
	}
	for name, n := range sum {
		to.count(d, float64(n), name)
	}
}

func (to samples) histogram(d *prometheus.Desc, h control.Histogram) {
	buckets, below := map[float64]uint64{}, uint64(0)
	for i, bound := range control.HistogramBounds {
		below += h.Counts[i]
		buckets[bound.Seconds()] = below
	}
	all := below + h.Counts[len(control.HistogramBounds)]
	to <- prometheus.MustNewConstHistogram(d, all, h.Sum.Seconds(), buckets)
}
