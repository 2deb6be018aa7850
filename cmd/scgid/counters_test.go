package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/scgid/scgid/control/api"
)

// asked does what a request of the tests wants of a worker besides an answer:
// /status/N has it answer with status N, /nap has it work for 5 ms, /die has it
// end with the request read, and /hold/FILE makes FILE.held and works until
// FILE is there.
func asked(uri string) (status int, ok bool) {
	_, order, _ := strings.Cut(uri, "/")
	order, rest, _ := strings.Cut(order, "/")
	switch order {
	case "status":
		n, err := strconv.Atoi(rest)
		return n, err == nil
	case "nap":
		time.Sleep(5 * time.Millisecond)
	case "die":
		os.Exit(3)
	case "hold":
		for os.WriteFile("/"+rest+".held", nil, 0o666) == nil {
			if _, err := os.Stat("/" + rest); err == nil {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return 0, false
}

// A benched is what scgibench says it saw.
type benched struct {
	Requests int            `json:"requests"`
	OK       int            `json:"ok"`
	Errors   map[string]int `json:"errors"`
	Statuses map[string]int `json:"statuses"`
}

// bench sends n requests, at most c at a time.
func (s *server) bench(n, c int, flags ...string) (b benched) {
	s.t.Helper()
	args := append([]string{"--json", "-n", strconv.Itoa(n), "-c", strconv.Itoa(c)}, flags...)
	out, err := exec.Command(build(s.t, "scgibench"), append(args, s.addr)...).Output()
	if e := json.Unmarshal(out, &b); e != nil {
		s.t.Fatalf("scgibench %v: %v, %v: %s", args, err, e, out)
	}
	if b.Requests != n {
		s.t.Fatalf("scgibench %v sent %d requests, want %d", args, b.Requests, n)
	}
	return b
}

// occupy has n workers work until release.
func (s *server) occupy(n int) (release func()) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "go")
	for i := range n {
		go exchange(s.addr, fmt.Sprintf("/hold%s-%d", file, i))
	}
	s.until("they are at work", func() bool {
		held, _ := filepath.Glob(file + "-*.held")
		return len(held) == n
	})
	return func() {
		for i := range n {
			if err := os.WriteFile(fmt.Sprintf("%s-%d", file, i), nil, 0o666); err != nil {
				s.t.Error(err)
			}
		}
	}
}

// withoutPool finds the label pool of metrics, and a brace that stays.
var withoutPool = regexp.MustCompile(`\{pool="[^"]*"\}|,pool="[^"]*"|(\{)pool="[^"]*",`)

// scrape reads /metrics as Prometheus' text, by sample.
func (s *server) scrape(c *api.Client) map[string]float64 {
	s.t.Helper()
	text, err := c.Metrics(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(withoutPool.ReplaceAllString(string(text), "$1")) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if f, err := strconv.ParseFloat(value, 64); ok && err == nil {
			all[name] = f
		}
	}
	return all
}

// Every outcome that scgibench can bring about, and see, is one more in the
// counter for it, and in no other.
func TestCountersAgreeWithWhatScgibenchSent(t *testing.T) {
	s, c := controlled(t, "--set", "Pool.MinWorkers=2", "--set", "Pool.MaxWorkers=2", "--set", "Queue.Max=64", "--set", "Queue.TimeoutSec=5s", "--set", "Request.MaxHeaderBytes=8K")
	want := map[string]float64{}
	count := func(name string, n int) { want[name] += float64(n) }
	served := func(class string, n int) {
		count(`scgid_connections_total{outcome="served"}`, n)
		count(`scgid_replies_total{class="`+class+`"}`, n)
		count("scgid_request_service_seconds_count", n)
	}
	expect := func(what string, got, wanted int) {
		if got != wanted {
			t.Fatalf("scgibench saw %d %s, want %d", got, what, wanted)
		}
	}

	b := s.bench(2000, 8)
	expect("good ones", b.OK, 2000)
	served("2xx", b.OK)
	for _, status := range []string{"302", "404", "500"} {
		b = s.bench(30, 3, "--uri", "/status/"+status, "--expect-status", status)
		expect("replies "+status, b.Statuses[status], 30)
		served(status[:1]+"xx", b.Statuses[status])
	}
	b = s.bench(5, 1, "--uri", "/die")
	// From a worker with a page the master knows that no reply had begun, and says 500.
	lost := b.Errors["empty"] + b.Statuses["500"]
	expect("without a byte of a worker", lost, 5)
	count(`scgid_connections_total{outcome="lost"}`, lost)
	count(`scgid_worker_exits_total{reason="exited"}`, lost)
	b = s.bench(7, 2, "--header", "HTTP_X_LONG="+strings.Repeat("x", 10<<10))
	expect("replies 431", b.Statuses["431"], 7)
	count(`scgid_connections_total{outcome="too_large"}`, b.Statuses["431"])

	release := s.occupy(2)
	b = s.bench(20, 20)
	expect("replies 503", b.Statuses["503"], 20)
	count(`scgid_connections_total{outcome="refused"}`, b.Statuses["503"])
	count(`scgid_refusals_total{reason="timeout"}`, b.Statuses["503"])
	b = s.bench(12, 12, "--timeout", "100ms")
	expect("without a reply in time", b.Errors["timeout"], 12)
	release()
	served("2xx", 2) // those that were held
	count(`scgid_connections_total{outcome="client_gone"}`, b.Errors["timeout"])

	all := 0.0
	for name, n := range want {
		if strings.HasPrefix(name, "scgid_connections_total") {
			all += n
		}
	}
	want["scgid_accepted_total"] = all
	for _, none := range []string{`scgid_connections_total{outcome="malformed"}`, `scgid_connections_total{outcome="empty"}`, `scgid_connections_total{outcome="timeout"}`,
		`scgid_refusals_total{reason="failing"}`, `scgid_refusals_total{reason="stopping"}`, `scgid_replies_total{class="1xx"}`} {
		want[none] = 0
	}
	var wrong []string
	agree := func() bool {
		got := s.scrape(c)
		wrong = nil
		for name, n := range want {
			if have, ok := got[name]; !ok || have != n {
				wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", name, have, n))
			}
		}
		return len(wrong) == 0
	}
	t.Cleanup(func() {
		if len(wrong) > 0 {
			t.Log(strings.Join(wrong, "\n"))
		}
	})
	s.until("the metrics agree", agree)
	st := s.status(c)
	if r := st.Requests; float64(r.Served) != want[`scgid_connections_total{outcome="served"}`] || r.Lost != 5 || r.Refused != 20 || r.ClientGone != 12 || r.Bad != 7 {
		t.Errorf("status tells %+v", r)
	}
	lint(t, c)
}

// lint has the library's linter judge what a real pool says.
func lint(t *testing.T, c *api.Client) {
	t.Helper()
	out, err := exec.Command(need(t, "curl"), "-sS", "--fail-with-body", "--unix-socket", c.Socket(), "http://scgid/metrics").Output()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(strings.NewReader(string(out))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The kernel's queue, as /metrics, status and ss(8) have it.
func TestTheBacklogIsWhatSsSays(t *testing.T) {
	ss := need(t, "ss")
	s, c := controlled(t)
	if err := c.Call(t.Context(), "pause", nil, nil); err != nil {
		t.Fatal(err)
	}
	for n := range 8 {
		conn, err := net.Dial("unix", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		out, err := exec.Command(ss, "-xlH", "src", "unix:"+s.addr).Output()
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(out)) // type, state, Recv-Q, Send-Q, address
		if len(f) < 5 {
			t.Fatalf("ss says %q", out)
		}
		waits, _ := strconv.Atoi(f[2])
		limit, _ := strconv.Atoi(f[3])
		l := s.status(c).Queue.Listeners[0]
		labels := fmt.Sprintf("{address=%q,listener=%q}", s.addr, l.Name)
		m := s.scrape(c)
		if waits != n+1 || l.Backlog != waits || m["scgid_listener_backlog"+labels] != float64(waits) ||
			l.BacklogLimit != limit || m["scgid_listener_backlog_limit"+labels] != float64(limit) {
			t.Errorf("with %d connections ss says %d/%d, status %+v, metrics %v", n+1, waits, limit, l, m["scgid_listener_backlog"+labels])
		}
	}
}
