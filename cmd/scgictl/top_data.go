package main

import (
	"context"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// A topSample is what one look at a pool tells.
type topSample struct {
	at              time.Time
	status          control.Status
	workers         []control.Worker
	queued, service buckets // since the master began
}

// lookAt asks once for each of the three. With an error there is the status,
// if it came.
func lookAt(ctx context.Context, from *api.Client) (s topSample, err error) {
	s.status, err = from.Status(ctx)
	if err == nil {
		// A caller that may see name and state only hears here why.
		s.workers, err = from.Workers(ctx)
	}
	if err != nil {
		s.at = time.Now()
		return s, err
	}
	text, err := from.Metrics(ctx)
	s.at = time.Now()
	if err != nil {
		return s, err
	}
	samples, err := parseMetrics(text)
	s.queued = bucketsOf(samples, "scgid_request_queue_seconds_bucket")
	s.service = bucketsOf(samples, "scgid_request_service_seconds_bucket")
	return s, err
}

// How far back curves and percentiles go.
const (
	topWindow = 60 * time.Second
	topRecent = 10 * time.Second
)

// A topPoint is what happened from one look to the next.
type topPoint struct {
	from, to        time.Time
	rate            float64 // requests a second
	errors, lost    float64 // replies with 5xx, and requests that were lost, a second
	queued, service percentiles
}

// A topHistory holds the looks of the last time.
type topHistory struct {
	looks  []topSample // of one master
	points []topPoint
}

// add takes a look. Counts of another master than before begin a new history.
func (h *topHistory) add(s topSample) {
	if n := len(h.looks); n > 0 {
		last := h.looks[n-1]
		if last.status.PID != s.status.PID || !last.status.Since.Equal(s.status.Since) || s.status.Requests.Served < last.status.Requests.Served {
			h.looks = nil
		} else if s.at.After(last.at) {
			h.points = append(h.points, pointOf(&last, &s))
		}
	}
	h.looks = append(h.looks, s)
	for len(h.looks) > 2 && s.at.Sub(h.looks[1].at) >= topRecent {
		h.looks = h.looks[1:]
	}
	for len(h.points) > 0 && s.at.Sub(h.points[0].to) >= topWindow {
		h.points = h.points[1:]
	}
}

// pointOf is what happened between two looks at the same master.
func pointOf(a, b *topSample) topPoint {
	was, now, passed := &a.status.Requests, &b.status.Requests, b.at.Sub(a.at).Seconds()
	per := func(was, now uint64) float64 { return float64(now-min(was, now)) / passed }
	return topPoint{
		from: a.at, to: b.at,
		rate:    per(was.Served, now.Served),
		errors:  per(was.Classes["5xx"], now.Classes["5xx"]),
		lost:    per(was.Lost, now.Lost),
		queued:  b.queued.since(a.queued).percentiles(),
		service: b.service.since(a.service).percentiles(),
	}
}

// A topWorker is a worker with its share of a processor since the look
// before, in per cent; negative where that is not known.
type topWorker struct {
	control.Worker
	cpu float64
}

// A topFrame is all that is shown of a pool at one moment.
type topFrame struct {
	at              time.Time
	status          control.Status
	workers         []topWorker
	points          []topPoint
	queued, service percentiles // of the last time
}

// frame makes a frame of the newest look.
func (h *topHistory) frame() topFrame {
	n := len(h.looks)
	last, oldest := &h.looks[n-1], &h.looks[0]
	f := topFrame{at: last.at, status: last.status, points: append([]topPoint(nil), h.points...)}
	f.queued = last.queued.since(oldest.queued).percentiles()
	f.service = last.service.since(oldest.service).percentiles()
	if n == 1 { // it has no beginning to count from
		f.queued, f.service = percentiles{}, percentiles{}
	}
	before, passed := map[uint64]control.Worker{}, time.Duration(0)
	if n > 1 {
		passed = last.at.Sub(h.looks[n-2].at)
		for _, w := range h.looks[n-2].workers {
			before[w.ID] = w
		}
	}
	for _, w := range last.workers {
		shown := topWorker{w, -1}
		if was, ok := before[w.ID]; ok && was.PID == w.PID && passed > 0 && w.CPUSeconds >= was.CPUSeconds {
			shown.cpu = 100 * (w.CPUSeconds - was.CPUSeconds) / passed.Seconds()
		}
		f.workers = append(f.workers, shown)
	}
	return f
}

// now is the newest point, if this is the newest look's; nil if not.
func (f *topFrame) now() *topPoint {
	if n := len(f.points); n > 0 && f.points[n-1].to.Equal(f.at) {
		return &f.points[n-1]
	}
	return nil
}

// A topReport is a frame as JSON. What is not known is left out.
type topReport struct {
	Status  control.Status    `json:"status"`
	Workers []topWorkerReport `json:"workers"`
	Rate    *float64          `json:"requests_per_second,omitempty"`
	Errors  *float64          `json:"errors_per_second,omitempty"` // replies with 5xx
	Lost    *float64          `json:"lost_per_second,omitempty"`
	Queued  *topTimes         `json:"queue_seconds,omitempty"`
	Service *topTimes         `json:"service_seconds,omitempty"`
}

type topWorkerReport struct {
	control.Worker
	CPU *float64 `json:"cpu_percent,omitempty"`
}

type topTimes struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
}

// report is the frame as --json prints it.
func (f *topFrame) report() topReport {
	r := topReport{Status: f.status, Workers: []topWorkerReport{}, Queued: f.queued.report(), Service: f.service.report()}
	if p := f.now(); p != nil {
		r.Rate, r.Errors, r.Lost = &p.rate, &p.errors, &p.lost
	}
	for _, w := range f.workers {
		shown := topWorkerReport{Worker: w.Worker}
		if w.cpu >= 0 {
			shown.CPU = &w.cpu
		}
		r.Workers = append(r.Workers, shown)
	}
	return r
}
