// Package metrics writes the counts of a pool as /metrics: OpenMetrics or
// Prometheus text, as the caller accepts.
//
// It owns the names and labels of the metrics, which monitoring depends on, and
// nothing at run time: each scrape reads one snapshot of the pool. It does not
// decide who may read them, nor how many at once: that is the control socket's
// (package api). A program that links this package links Prometheus' client
// library, which is most of its size; scgictl does not.
package metrics

import (
	"context"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/scgid/scgid/control"
)

// A Reader returns a snapshot of a pool, such as the Metrics method of a
// control.Pool. Its context is that of the scrape.
type Reader func(context.Context) (control.Metrics, error)

// Handler answers each request with one snapshot of the pool with this name,
// which runs this version of scgid. Each sample has the pool's name as the label
// pool, so that several pools make one text. A pool that cannot be read is
// scgid_up 0.
func Handler(read Reader, name, version string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		registry := prometheus.NewPedanticRegistry()
		prometheus.WrapRegistererWith(prometheus.Labels{"pool": label(name)}, registry).MustRegister(&collector{ctx: r.Context(), read: read, name: name, version: version})
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{
			ErrorHandling:      promhttp.HTTPErrorOnError,
			DisableCompression: true,
			EnableOpenMetrics:  true,
		}).ServeHTTP(w, withoutProtobuf(r))
	})
}

// withoutProtobuf returns r with an Accept header that makes the reply text,
// whatever else the caller accepts.
func withoutProtobuf(r *http.Request) *http.Request {
	accept := "text/plain"
	if strings.Contains(r.Header.Get("Accept"), "application/openmetrics-text") {
		accept = "application/openmetrics-text; version=1.0.0"
	}
	r = r.Clone(r.Context())
	r.Header.Set("Accept", accept)
	return r
}
