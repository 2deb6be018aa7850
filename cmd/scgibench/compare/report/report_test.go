package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/compare"
)

func row(app, server string, workers int, clients string, rate float64, cpu ...float64) compare.Row {
	r := compare.Row{App: app, Server: server, Workers: workers, Clients: clients}
	for _, v := range cpu {
		r.Rounds = append(r.Rounds, compare.Sample{Requests: 100, Rate: rate, CPU: v, Master: v / 4, Workers: v * 3 / 4, P50: 200, P99: 2000})
	}
	return r
}

// sample is a report with something of everything.
func sample() *compare.Report {
	return &compare.Report{
		Form: "short", Began: time.Date(2026, 11, 30, 13, 0, 0, 0, time.UTC), Seconds: 170,
		Machine:  compare.Machine{CPUs: 2, Model: "AMD EPYC", MemoryGiB: 24, System: "Debian 12", Kernel: "6.1", Group: true, Rounds: 60000},
		Versions: map[string]string{"scgid": "scgid 0.1", "uwsgi-core": "2.0.21"},
		Servers: []compare.About{{Name: "floor-python", About: "bare"}, {Name: "scgid-python", About: "ours"},
			{Name: "scgid-python-warm", About: "a variant"}, {Name: "uwsgi", About: "theirs"}},
		Missing: []compare.Missing{{Server: "scgi", App: "hello", Why: "set SCGI_PACKAGE"}},
		Rows: []compare.Row{
			row("hello", "floor-python", 4, "32", 9000, 50, 60, 70),
			row("hello", "scgid-python", 4, "32", 8000, 100, 60, 210),
			row("hello", "uwsgi", 4, "32", 12000, 40, 30, 70),
			row("django", "scgid-python", 8, "1", 2000, 400),
			row("django", "uwsgi", 8, "1", 800, 900),
			row("django", "gunicorn", 8, "1", 1000, 900),
		},
		Pools: []compare.Pool{
			{App: "hello", Server: "scgid-python", Workers: 4, Served: 3, Processes: 5, PSS: 48, MasterPSS: 12.5, Calls: map[string]float64{"read": 2, "close": 3.5}},
			{App: "django", Server: "scgid-python", Workers: 8, Served: 8, Processes: 9, PSS: 250, MasterPSS: 12},
			{App: "django", Server: "uwsgi", Workers: 8, Served: 8, Processes: 9, PSS: 100, MasterPSS: 12},
		},
		Starts:  []compare.Start{{Server: "scgid-python", Workers: 16, MS: compare.Figure{Median: 80, Min: 70, Max: 90}}},
		Growths: []compare.Growth{{Server: "scgid-python", To: 16, Reached: 16, MS: 150}, {Server: "uwsgi", To: 16, Reached: 4, MS: 2900}},
	}
}

func TestTextHasEveryFigureOnce(t *testing.T) {
	var b strings.Builder
	if err := Text(&b, sample()); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"scgibench compare, short form, 2026-11-30 13:00 UTC, 170 s",
		"2 CPUs (AMD EPYC), 24 GiB, Debian 12, Linux 6.1",
		"scgid 0.1, uwsgi-core 2.0.21",
		"hello): 4 workers, clients: 32",
		"scgid-python 8000 100 60-210 2.00 (1.00-3.00) 25 75",
		"scgid-python hello 4 48.0 12.5 5 5.5 only 3 workers had served",
		"scgid-python 16 80 70-90",
		"uwsgi not within the time; 4 after 2900",
		"Goals of scgid-python ",
		"beside uWSGI --thunder-lock; workers 4 / 16 / 64 <= 1.3 / 1.0 / 0.6 2.50 (2.00-3.00) / - / -",
		"beside the best of uWSGI and gunicorn; 8 workers, clients 1 / 16 / 64 >= 1.6 / 1.15 / 1.15 2.00 (2.00-2.00) / - / -",
		"Django, PSS beside the least of uWSGI and gunicorn, 8 workers preloaded <= 1.0 2.50",
		"Goals of scgid-python-warm",
		"scgi, hello: set SCGI_PACKAGE",
	} {
		if n := strings.Count(text, want); n != 1 {
			t.Errorf("%q is there %d times in:\n%s", want, n, b.String())
		}
	}
}

func TestAReportOfNothingIsShownToo(t *testing.T) {
	var b strings.Builder
	r := &compare.Report{Form: "full", Interrupted: true}
	if err := Text(&b, r); err != nil || !strings.Contains(b.String(), "interrupted") {
		t.Errorf("%v: %s", err, b.String())
	}
	dir := t.TempDir()
	if err := Draw(dir, r); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("drawings of nothing: %v", files)
	}
}

func TestJSONHasTheRoundsAndTheirFigures(t *testing.T) {
	var b strings.Builder
	if err := JSON(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Form string
		Rows []struct {
			Server  string
			Rounds  []map[string]float64
			Figures map[string]compare.Figure
		}
	}
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 6 || len(got.Rows[1].Rounds) != 3 || got.Rows[1].Figures["cpu_us"] != (compare.Figure{Median: 100, Min: 60, Max: 210}) {
		t.Errorf("%+v", got)
	}
}

func TestEachQuestionIsAnSVG(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := Draw(dir, sample()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hello-cpu", "hello-rate", "django-rate", "memory", "start", "growth"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		if err != nil || !strings.Contains(string(text), "<svg") || !strings.Contains(string(text), "scgid-python") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "cgi-cpu.svg")); err == nil {
		t.Error("a drawing without a figure")
	}
}

// Bars stand in the group of their own number of workers, whatever is missing.
func TestMissingBarsLeaveAGap(t *testing.T) {
	c := chart{}.collect([]point{{"4", "a", 1}, {"4", "b", 2}, {"16", "b", 3}})
	if len(c.groups) != 2 || len(c.series) != 2 || c.series[0].values[1] != 0 || c.series[1].values[1] != 3 {
		t.Errorf("%+v", c)
	}
}
