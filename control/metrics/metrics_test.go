package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/scgid/scgid/control"
)

// A source is a snapshot to read, and how often it was read.
type source struct {
	control.Metrics
	err   error
	reads int
}

func (s *source) read(context.Context) (control.Metrics, error) {
	s.reads++
	return s.Metrics, s.err
}

// quiet is a pool without requests.
func quiet() *source {
	return &source{Metrics: control.Metrics{Status: control.Status{
		Name: "wiki", State: control.Running, Version: "1.2", Since: time.Unix(1700000000, 0), Generation: 1,
		Limits: control.Limits{MinWorkers: 2, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}, Workers: control.WorkerCounts{Total: 2, Idle: 2},
		Queue: control.Queue{Limit: 8, Listeners: []control.Listener{{Name: "scgi", Address: "/run/scgid/wiki/socket", Backlog: 3, BacklogLimit: 128}}},
		Exits: map[string]uint64{},
	}}}
}

// busy is a pool whose samples are not 0.
func busy() *source {
	s := quiet()
	s.Metrics = control.Metrics{Status: s.Status, Accepted: 100, Outcomes: map[string]uint64{"served": 90, "refused": 10},
		Refusals: map[string]uint64{"timeout": 9, "failing": 1},
		Classes:  [6]uint64{1, 0, 80, 5, 3, 1}, Retried: 2, Busy: 1500 * time.Millisecond, CPU: 250 * time.Millisecond, Memory: 1 << 20}
	s.Status.Workers.Busy = 3
	s.Status.Requests.Cut = 7
	s.Status.Starts = control.StartCounts{Total: 12, Failed: 2}
	s.Status.Exits = map[string]uint64{"retired": 4, "exit 1": 1}
	s.Service.Add(200 * time.Microsecond)
	s.Service.Add(2 * time.Millisecond)
	s.Service.Add(24 * time.Hour)
	return s
}

// scrape reads the metrics as text of the format that accept names.
func (s *source) scrape(t *testing.T, accept string) (string, http.Header) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	Handler(s.read, "wiki", "1.2").ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	if r.Header.Get("Accept") != accept {
		t.Error("the handler has changed its request")
	}
	text := w.Body.String()
	for line := range strings.Lines(text) {
		if line[0] != '#' && strings.Count(line, `pool="wiki"`) != 1 {
			t.Errorf("not with its pool: %s", line)
		}
	}
	return withoutPool.ReplaceAllString(text, "$1"), w.Header()
}

// withoutPool finds the label that each sample has, and a brace that stays.
var withoutPool = regexp.MustCompile(`\{pool="wiki"\}|,pool="wiki"|(\{)pool="wiki",`)

const openMetrics = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3"

func TestMetricsPassTheLinter(t *testing.T) {
	s := busy()
	text, header := s.scrape(t, "*/*")
	if !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("%v", header)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricsTellTheSnapshotReadOnce(t *testing.T) {
	s := busy()
	text, header := s.scrape(t, openMetrics)
	if n := s.reads; n != 1 {
		t.Errorf("the pool was read %d times", n)
	}
	if !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text; version=1.0.0") || !strings.HasSuffix(text, "\n# EOF\n") {
		t.Errorf("%v ...%.40q", header, text[max(0, len(text)-40):])
	}
	for _, want := range []string{
		`scgid_up 1.0`, `scgid_info{name="wiki",version="1.2"} 1.0`, `scgid_state{state="running"} 1.0`, `scgid_state{state="failing"} 0.0`,
		`scgid_workers{state="idle"} 2.0`, `scgid_worker_limit{limit="max_idle"} 4.0`, `scgid_busy_seconds_total 1.5`,
		`scgid_accepted_total 100.0`, `scgid_connections_total{outcome="served"} 90.0`, `scgid_connections_total{outcome="refused"} 10.0`,
		`scgid_refusals_total{reason="timeout"} 9.0`, `scgid_refusals_total{reason="failing"} 1.0`,
		`scgid_replies_total{class="unknown"} 1.0`, `scgid_replies_total{class="2xx"} 80.0`, `scgid_replies_total{class="5xx"} 1.0`,
		`scgid_replies_cut_total 7.0`, `scgid_retried_total 2.0`, `scgid_queue_limit 8.0`, `scgid_worker_starts_total 12.0`, `scgid_worker_start_failures_total 2.0`,
		`scgid_worker_exits_total{reason="exit 1"} 1.0`, `scgid_memory_bytes 1.048576e+06`, `scgid_cpu_seconds_total 0.25`,
		`scgid_listener_backlog{address="/run/scgid/wiki/socket",listener="scgi"} 3.0`, `scgid_listener_backlog_limit{address="/run/scgid/wiki/socket",listener="scgi"} 128.0`,
		`scgid_request_service_seconds_bucket{le="0.0001"} 0`, `scgid_request_service_seconds_bucket{le="0.00025"} 1`, `scgid_request_service_seconds_bucket{le="0.001"} 1`,
		`scgid_request_service_seconds_bucket{le="0.0025"} 2`, `scgid_request_service_seconds_bucket{le="+Inf"} 3`, `scgid_request_service_seconds_count 3`,
		`scgid_request_service_seconds_sum 86400.0022`, `scgid_request_queue_seconds_count 0`, `scgid_start_time_seconds 1.7e+09`,
		`# TYPE scgid_connections counter`, `# TYPE scgid_request_queue_seconds histogram`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestNamesFromOutsideCannotSpoilMetrics(t *testing.T) {
	s := quiet()
	long := strings.Repeat("é", 10000)
	s.Status.Exits = map[string]uint64{"a\"b\\c\nd": 1, "\xff\xfe": 2, "\x1b]0;x\a": 3, long: 4, long + "x": 5, "\xff\xfd": 6, "other": 7}
	for i := range 1000 {
		s.Status.Exits[fmt.Sprintf("x%04d", i)] = 1
	}
	l := control.Listener{Name: "\xff", Address: "@" + long, Backlog: -1, BacklogLimit: 5}
	s.Status.Queue.Listeners = []control.Listener{l, l}
	text, _ := s.scrape(t, openMetrics)
	lines, sum := 0, 0
	for line := range strings.Lines(text) {
		if len(line) > 1024 || !utf8.ValidString(line) || strings.ContainsAny(line, "\x1b\a\r") {
			t.Errorf("line %.80q", line)
		}
		if rest, ok := strings.CutPrefix(line, "scgid_worker_exits_total{"); ok {
			var n float64
			if _, err := fmt.Sscanf(rest[strings.LastIndex(rest, " "):], "%g", &n); err != nil {
				t.Errorf("line %q: %v", line, err)
			}
			lines, sum = lines+1, sum+int(n)
		}
	}
	if lines > maxLabels || sum != 1000+28 {
		t.Errorf("%d reasons with %d exits, want at most %d with 1028", lines, sum, maxLabels)
	}
	if strings.Contains(text, "scgid_listener_backlog{") || strings.Count(text, "scgid_listener_backlog_limit{") != 1 {
		t.Error("a backlog that cannot be read is told, or a listener twice")
	}
}

// Protobuf is not text: a caller that also accepts text gets text.
func TestMetricsAreTextWhateverIsAccepted(t *testing.T) {
	for accept, want := range map[string]string{
		"": "text/plain", "application/json": "text/plain", openMetrics: "application/openmetrics-text; version=1.0.0",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,text/plain;q=0.5": "text/plain",
	} {
		if _, header := quiet().scrape(t, accept); !strings.HasPrefix(header.Get("Content-Type"), want) {
			t.Errorf("%q: %v", accept, header)
		}
	}
}

func TestAPoolThatCannotBeReadIsDown(t *testing.T) {
	s := quiet()
	s.err = errors.New("no")
	text, _ := s.scrape(t, openMetrics)
	if !strings.Contains(text, "scgid_up 0.0\n") || strings.Contains(text, "scgid_workers") {
		t.Error(text)
	}
}

// TestMetricsAreValidOpenMetrics checks what the format asks of a text as a
// whole: families one after the other, each described once and before its
// samples, no sample twice, counters with _total, an end.
func TestMetricsAreValidOpenMetrics(t *testing.T) {
	s := busy()
	s.Status.Exits["\x1b\xff\"\n"] = 3
	text, _ := s.scrape(t, openMetrics)
	body, ok := strings.CutSuffix(text, "# EOF\n")
	if !ok {
		t.Fatal("it has no end")
	}
	sample := regexp.MustCompile(`^(scgid_[a-z_]+)(\{([a-z]+="([^"\\\n]|\\[\\"n])*"(,|\}))+)? -?[0-9][0-9.e+-]*$`)
	suffixes := map[string]string{"gauge": "", "counter": "_total", "histogram": "_(bucket|sum|count)"}
	families, samples := map[string]bool{}, map[string]bool{}
	var family, typ string
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		if words := strings.Fields(line); words[0] == "#" {
			if words[1] == "HELP" {
				family, typ = words[2], ""
				if families[family] {
					t.Errorf("%s comes twice", family)
				}
				families[family] = true
			} else if words[1] != "TYPE" || words[2] != family || typ != "" {
				t.Errorf("%q after %s", line, family)
			} else {
				typ = words[3]
			}
			continue
		}
		m := sample.FindStringSubmatch(line)
		suffix, known := suffixes[typ]
		if m == nil || !known || !regexp.MustCompile("^"+family+suffix+"$").MatchString(m[1]) {
			t.Errorf("%q in %s %s", line, typ, family)
		}
		key := line[:strings.LastIndex(line, " ")]
		if samples[key] {
			t.Errorf("%s comes twice", key)
		}
		samples[key] = true
	}
	if len(families) < 30 {
		t.Errorf("%d families", len(families))
	}
}
