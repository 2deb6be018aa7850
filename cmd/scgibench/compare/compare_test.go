package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/compare/servers"
)

// slower is how much CPU more floor-slower spends for a request.
const slower = time.Millisecond

// kit is one for all tests, with what needs no program of ours.
var kit *servers.Kit

func TestMain(m *testing.M) {
	var err error
	kit, err = servers.NewKit(context.Background(), servers.Options{Bin: "/does/not/exist", Slower: slower})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	kit.Close()
	os.Exit(code)
}

func onlyHello(names []string, clients ...Clients) Plan {
	return Plan{
		Form: "test", Servers: names, Rounds: 3, Duration: 150 * time.Millisecond, Patience: time.Minute,
		Experiments: []Experiment{{"hello", []int{2}, clients}},
	}
}

func runPlan(t *testing.T, kit *servers.Kit, plan Plan) *Report {
	t.Helper()
	return Run(context.Background(), kit, plan, func(line string) { t.Log(line) })
}

// needsRow is a row that must have been measured where gcc is.
func needsRow(t *testing.T, r *Report, server, clients string) *Row {
	t.Helper()
	row := r.Find("hello", server, 2, clients)
	if row == nil && os.Getenv("CI") != "true" && len(r.Missing) > 0 && strings.Contains(r.Missing[0].Why, "gcc") {
		t.Skip("needs gcc")
	}
	if row == nil {
		t.Fatalf("%s is not in the report; missing: %v", server, r.Missing)
	}
	return row
}

// A server that spends 1 ms of CPU more for each request than another is shown
// to spend that much more, by its workers, and the master no more. CPU time is
// what is measured: other work on the machine changes it by little.
func TestAServerMadeSlowerIsShownSlowerByThat(t *testing.T) {
	r := runPlan(t, kit, onlyHello([]string{"floor-c", "floor-slower"}, Clients{N: 4}))
	plain, slow := needsRow(t, r, "floor-c", "4"), needsRow(t, r, "floor-slower", "4")
	for what, m := range map[string]Metric{"tree": CPU, "workers": Workers} {
		got := slow.Figure(m).Median - plain.Figure(m).Median
		if want := float64(slower.Microseconds()); math.Abs(got-want) > 0.2*want {
			t.Errorf("%s: %.0f µs a request more, want %.0f", what, got, want)
		}
	}
	if got := slow.Figure(Master).Median - plain.Figure(Master).Median; math.Abs(got) > 0.2*float64(slower.Microseconds()) {
		t.Errorf("the master: %.0f µs a request more, want none", got)
	}
	if n := plain.Failed() + slow.Failed(); n > 0 {
		t.Errorf("%d requests failed", n)
	}
}

func TestEveryWorkerHasServedBeforeTheRounds(t *testing.T) {
	r := runPlan(t, kit, onlyHello([]string{"floor-c", "floor-python"}, one))
	needsRow(t, r, "floor-c", "1")
	for _, p := range r.Pools {
		if p.Served != p.Workers || p.Processes != p.Workers+1 || p.PSS <= p.MasterPSS {
			t.Errorf("%+v", p)
		}
	}
}

// With one client the dispatcher and its worker make twelve calls, in whatever
// order they are counted.
func TestSystemCallsAreThoseOfOneRequest(t *testing.T) {
	plan := onlyHello([]string{"floor-c"}, one)
	plan.Calls, plan.Rounds = 100, 1
	r := runPlan(t, kit, plan)
	needsRow(t, r, "floor-c", "1")
	if len(r.Missing) > 0 && strings.Contains(r.Missing[0].Why, "strace") && os.Getenv("CI") != "true" {
		t.Skip("needs strace")
	}
	if n := r.FindPool("hello", "floor-c", 2).CallsPerRequest(); n < 10 || n > 13 {
		t.Errorf("%.1f system calls a request", n)
	}
}

func TestFirstAnswerAndGrowthAreMeasured(t *testing.T) {
	plan := Plan{Servers: []string{"floor-c"}, Starts: 2, StartWith: []int{1, 4}, Patience: time.Minute}
	r := runPlan(t, kit, plan)
	if len(r.Missing) > 0 && os.Getenv("CI") != "true" {
		t.Skip(r.Missing[0].Why)
	}
	if len(r.Starts) != 2 || r.Starts[1].Workers != 4 || len(r.Starts[1].Tries) != 2 || r.Starts[0].MS.Min <= 0 {
		t.Errorf("%+v", r.Starts)
	}
	if len(r.Growths) > 0 {
		t.Errorf("nobody asked for growth: %+v", r.Growths)
	}
	// The dispatcher with Python workers has all from the start: the burst finds
	// them, each by the process number that it answers with.
	i := slices.IndexFunc(kit.Kinds, func(k servers.Kind) bool { return k.Name == "floor-python" })
	s, err := kit.Start(kit.Kinds[i], servers.Apps()[0], 3)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if _, err := ready(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	if g := grow(context.Background(), s, 3, 30*time.Second); g.Reached != 3 || g.MS <= 0 {
		t.Errorf("%+v", g)
	}
}

// What ends, cannot start or is not there is a line of the report; the others
// are measured all the same.
func TestWhatIsMissingIsALineAndNotAnError(t *testing.T) {
	r := runPlan(t, kit, onlyHello([]string{"floor-c", "scgid-c", "scgi"}, one))
	needsRow(t, r, "floor-c", "1")
	for server, why := range map[string]string{"scgid-c": "make build", "scgi": "SCGI_PACKAGE"} {
		if !slices.ContainsFunc(r.Missing, func(m Missing) bool { return m.Server == server && strings.Contains(m.Why, why) }) {
			t.Errorf("%s: no word of %s in %v", server, why, r.Missing)
		}
	}
	if len(r.Rows) != 1 {
		t.Errorf("%d rows", len(r.Rows))
	}
}

func TestAProgramThatIsOursButBrokenIsALine(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "scgid"), []byte("#!/bin/sh\necho no way\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	kit, err := servers.NewKit(context.Background(), servers.Options{Bin: bin})
	if err != nil {
		t.Fatal(err)
	}
	defer kit.Close()
	r := runPlan(t, kit, onlyHello([]string{"scgid-c"}, one))
	if len(r.Rows) != 0 || len(r.Missing) != 1 || !strings.HasSuffix(r.Missing[0].Why, "no way") && os.Getenv("CI") == "true" {
		t.Errorf("%+v", r.Missing)
	}
}

func TestTheLimitEndsARunWithWhatThereIs(t *testing.T) {
	plan := onlyHello([]string{"floor-c"}, one, many)
	plan.Experiments = append(plan.Experiments, plan.Experiments[0])
	plan.Limit = time.Nanosecond
	r := runPlan(t, kit, plan)
	if len(r.Rows) != 0 || len(r.Missing) != 1 || r.Missing[0].Why != "workers: 2: the time was over" {
		t.Errorf("%v; %v", r.Rows, r.Missing)
	}
}

func TestAnInterruptedRunReports(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := Run(ctx, kit, Short(), func(string) {})
	if !r.Interrupted || len(r.Rows) != 0 || len(r.Missing) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestFiguresAndRatiosAreMediansOfRounds(t *testing.T) {
	row := func(cpu ...float64) *Row {
		r := &Row{App: "hello", Server: "x"}
		for _, v := range cpu {
			r.Rounds = append(r.Rounds, Sample{CPU: v})
		}
		return r
	}
	if f := row(9, 1, 4).Figure(CPU); f != (Figure{4, 1, 9}) {
		t.Errorf("%+v", f)
	}
	if f := row(1, 3).Figure(CPU); f != (Figure{2, 1, 3}) {
		t.Errorf("%+v", f)
	}
	// The machine was ten times as slow in the second round, for both.
	if f := row(2, 20, 4).Ratio(row(1, 10, 1), CPU); f != (Figure{2, 2, 4}) {
		t.Errorf("%+v", f)
	}
	if f := row(2).Ratio(row(0), CPU); f != (Figure{}) {
		t.Errorf("%+v", f)
	}
	text, err := json.Marshal(row(9, 1, 4))
	if err != nil || !strings.Contains(string(text), `"cpu_us":{"median":4,"min":1,"max":9}`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestClientsAreReadAsWritten(t *testing.T) {
	for text, want := range map[string]Clients{"1": one, "32": many, "1+2ms": paused} {
		if got, err := ParseClients(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "0", "x", "1+", "1+2", "1+-2ms", "2000"} {
		if c, err := ParseClients(bad); err == nil {
			t.Errorf("%q is %v", bad, c)
		}
	}
}

func TestSelectionLeavesWhatIsNamed(t *testing.T) {
	kinds, err := servers.Kinds(servers.Options{Variants: []string{"warm:Pool.MaxIdle=9"}})
	if err != nil {
		t.Fatal(err)
	}
	p := Full()
	if err := p.Select(kinds, []string{"rows", "start"}, []string{"uwsgi", "scgid-python-warm"}, []int{3}, []Clients{one}); err != nil {
		t.Fatal(err)
	}
	if len(p.Experiments) != 1 || p.Experiments[0].App != "rows" || !slices.Equal(p.Experiments[0].Workers, []int{3}) || p.Starts == 0 || p.GrowTo != 0 {
		t.Errorf("%+v", p)
	}
	p = Short() // has hello twice, with other workers
	if err := p.Select(kinds, []string{"hello"}, nil, []int{3}, nil); err != nil || len(p.Experiments) != 1 {
		t.Errorf("%+v, %v", p.Experiments, err)
	}
	p = Short()
	if err := p.Select(kinds, []string{"hello"}, nil, nil, nil); err != nil || len(p.Experiments) != 2 {
		t.Errorf("%+v, %v", p.Experiments, err)
	}
	for _, bad := range []func(*Plan) error{
		func(p *Plan) error { return p.Select(kinds, []string{"nothing"}, nil, nil, nil) },
		func(p *Plan) error { return p.Select(kinds, nil, []string{"iis"}, nil, nil) },
		func(p *Plan) error { return p.Select(kinds, nil, nil, []int{0}, nil) },
	} {
		p := Short()
		if err := bad(&p); err == nil {
			t.Errorf("no error: %+v", p)
		}
	}
}

// Every application of the forms exists, and has a server of ours or is PHP.
func TestFormsAskForWhatThereIs(t *testing.T) {
	kinds, err := servers.Kinds(servers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, plan := range []Plan{Full(), Short()} {
		for _, e := range plan.Experiments {
			n := 0
			for _, k := range kinds {
				if k.Serves(e.App) && (k.Ours || e.App == "php") {
					n++
				}
			}
			if n == 0 || len(e.Workers) == 0 || len(e.Clients) == 0 {
				t.Errorf("%s: %+v", plan.Form, e)
			}
		}
	}
}
