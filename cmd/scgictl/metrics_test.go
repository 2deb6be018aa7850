package main

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/metrics"
)

// OpenMetrics wants a family in one piece, described once, no series twice, and
// an end.
func TestMetricsOfSeveralPoolsAreOneText(t *testing.T) {
	var texts []string
	for _, name := range []string{"wiki", "shop", "lone"} {
		p := newPool(name, control.Running, 2, 0, false)
		p.goWrong()
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
		metrics.Handler(func(ctx context.Context) (control.Metrics, error) { return p.Metrics(ctx) }, name, "1.2.3").ServeHTTP(w, r)
		texts = append(texts, w.Body.String())
	}
	texts = append(texts, "# TYPE scgid_up gauge\nscgid_up{pool=\"down\"} 0.0\n")
	text := mergeMetrics(texts)
	seen, series, now := map[string]bool{}, map[string]bool{}, ""
	for line := range strings.Lines(strings.TrimSuffix(text, "# EOF\n")) {
		words := strings.Fields(line)
		if words[0] == "#" {
			if words[1] != "HELP" && words[1] != "TYPE" || seen[words[1]+words[2]] {
				t.Errorf("again, or out of place: %s", line)
			}
			seen[words[1]+words[2]] = true
			now = words[2]
			continue
		}
		if !strings.HasPrefix(line, now) || !strings.Contains(line, `pool="`) {
			t.Errorf("not of family %s, or without its pool: %s", now, line)
		}
		if key := line[:strings.LastIndexByte(strings.TrimSpace(line), ' ')]; series[key] {
			t.Errorf("twice: %s", line)
		} else {
			series[key] = true
		}
	}
	if strings.Count(text, "# EOF") != 1 || !strings.HasSuffix(text, "\n# EOF\n") {
		t.Error("one end is wanted, at the end")
	}
	// Prometheus' own parser reads it.
	if _, err := promlint.New(strings.NewReader(text)).Lint(); err != nil {
		t.Error(err)
	}
	samples, err := parseMetrics([]byte(text))
	if err != nil || len(samples) != len(series) {
		t.Errorf("%d samples, %v, want %d", len(samples), err, len(series))
	}
}
