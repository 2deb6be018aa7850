package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/scgid/scgid/control"
)

// topEpoch is when the tests' pool is looked at.
var topEpoch = time.Date(2025, 3, 14, 15, 9, 26, 0, time.UTC)

// testTop returns a view of a pool that was looked at each second for this
// long: its rate goes up and down, and so do its times.
func testTop(s *screen, looks int) *topModel {
	m := newTop("wiki", time.Second, topLook{s})
	for i := range looks {
		at := topEpoch.Add(time.Duration(i-looks+1) * time.Second)
		m.Update(topData{sample: testSample(at, i), asked: at})
	}
	return m
}

func testScreen() *screen { return &screen{utf8: true} }

// testSample is the i-th look at a pool with 12 workers.
func testSample(at time.Time, i int) topSample {
	served := uint64(1000)
	var queued, service control.Histogram
	for n := range i + 1 {
		now := 100 + 10*(n%30)
		served += uint64(now)
		for k := range now {
			queued.Add(time.Duration(k) * 20 * time.Microsecond)
			service.Add(time.Duration(1+k%10) * time.Duration(1+n%7) * time.Millisecond)
		}
	}
	s := topSample{at: at, queued: testBuckets(queued), service: testBuckets(service)}
	s.status = control.Status{
		Name: "wiki", State: control.Running, PID: 4711, Version: "1.2.3", Since: topEpoch.Add(-(3*time.Hour + 12*time.Minute)), Generation: 2,
		Limits:  control.Limits{MinWorkers: 2, MaxWorkers: 16, MinIdle: 1, MaxIdle: 4},
		Workers: control.WorkerCounts{Total: 12, Busy: 8, Idle: 2, Starting: 1, Retiring: 1},
		Queue: control.Queue{Waiting: 3, OldestAge: 0.25, Parked: 5, Limit: 16, Listeners: []control.Listener{
			{Name: "app", Address: "/run/scgid/wiki.sock", Backlog: 7, BacklogLimit: 4096}, {Name: "tcp", Address: "127.0.0.1:4000", Backlog: -1}}},
		Requests: control.RequestCounts{Served: served, Active: 8, Refused: 2, Lost: uint64(i / 20), Classes: map[string]uint64{"2xx": served - uint64(2*i), "5xx": uint64(2 * i)}},
	}
	if i >= 20 {
		s.status.LastError = &control.Failure{Time: topEpoch.Add(-24 * time.Second), Kind: control.FailedExit, Worker: 4, Text: "worker 4 was killed by SIGSEGV at request GET /die"}
	}
	for id := uint64(1); id <= 12; id++ {
		s.workers = append(s.workers, testWorker(id, i))
	}
	return s
}

func testWorker(id uint64, i int) control.Worker {
	w := control.Worker{
		ID: id, PID: 4711 + int(id), State: control.WorkerReady, Generation: 2, Slots: 1, Served: 100 * (13 - id),
		Since: topEpoch.Add(-time.Duration(id) * 17 * time.Minute), CanDump: true,
		CPUSeconds: float64(i) * float64(id*7%12) / 12, MemoryBytes: (20 + id*5%9) << 20,
	}
	switch {
	case id <= 8:
		w.Active = 1
		w.Request = &control.Request{ID: 100 + id, State: control.RequestActive, Method: "GET", Worker: id,
			URI: fmt.Sprintf("/page/%d?q=%s", id, strings.Repeat("word+", int(id)*4)), Client: "192.0.2." + strconv.Itoa(int(id)),
			AgeSeconds: float64(id*5%8) * 0.7, Waited: 0.002}
	case id == 11:
		w.State, w.PID, w.Slots, w.CPUSeconds, w.Status = control.WorkerStarting, 0, 0, 0, "loading the application"
	case id == 12:
		w.State = control.WorkerRetiring
	}
	return w
}

func testBuckets(h control.Histogram) (b buckets) {
	sum := 0.0
	for i, bound := range control.HistogramBounds {
		sum += float64(h.Counts[i])
		b = append(b, bucket{bound.Seconds(), sum})
	}
	return b
}

// press types keys, each a name as bubbletea's, and runs what they order. It
// returns the messages of that.
func press(m *topModel, keys ...string) (got []tea.Msg) {
	types := map[string]tea.KeyType{"up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown,
		"home": tea.KeyHome, "end": tea.KeyEnd, "esc": tea.KeyEsc, "ctrl+c": tea.KeyCtrlC}
	for _, k := range keys {
		msg := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}
		if typ, ok := types[k]; ok {
			msg = tea.KeyMsg{Type: typ}
		}
		_, next := m.Update(msg)
		if next == nil {
			continue
		}
		if out := next(); out != nil {
			got = append(got, out)
			if _, quits := out.(tea.QuitMsg); !quits {
				m.Update(out)
			}
		}
	}
	return got
}

// golden compares with a file of testdata/top; -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "top", name+".screen")
	if *update {
		if err := os.WriteFile(file, []byte(got+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got+"\n" != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestTopLooksAsItShould(t *testing.T) {
	over := topData{sample: topSample{at: topEpoch.Add(time.Second)},
		err: control.Errorf(control.CodeNotRunning, "nothing is running: nobody answers on /run/scgid/wiki/control.sock")}
	denied := topData{sample: topSample{at: topEpoch.Add(time.Second), status: control.Status{Name: "wiki", State: control.Running}},
		err: control.Errorf(control.CodeDenied, "cannot list workers: permission denied (uid 1000 may see name and state only)").WithHint("run as root")}
	failing := topData{sample: testSample(topEpoch.Add(time.Second), 45)}
	failing.sample.workers, failing.sample.status.State = nil, control.Failing
	failing.sample.status.Workers = control.WorkerCounts{}
	failing.sample.status.Starts = control.StartCounts{Total: 9, Failed: 6, FailuresInRow: 6, NextTryIn: 12, LastFailure: "File \"/srv/wiki/settings.py\", line 81, in <module>: " +
		"ModuleNotFoundError: No module named 'storages' (imported by wiki.wsgi through django.core.files.storage, see the traceback in the log)"}
	for _, tt := range []struct {
		name          string
		width, height int
		change        func(m *topModel)
	}{
		{"80x24", 80, 24, nil},
		{"200x50", 200, 50, nil},
		{"60x15", 60, 15, nil},
		{"help-60x15", 60, 15, func(m *topModel) { press(m, "?") }},
		{"by-cpu-80x24", 80, 24, func(m *topModel) { press(m, "c", "end") }},
		{"kill-80x24", 80, 24, func(m *topModel) { press(m, "down", "down", "k") }},
		{"frozen-80x24", 80, 24, func(m *topModel) {
			press(m, "f")
			m.Update(over)
		}},
		{"over-80x24", 80, 24, func(m *topModel) {
			m.Update(over)
			m.Update(topClock{topEpoch.Add(5 * time.Second)})
		}},
		{"events-80x24", 80, 24, func(m *topModel) {
			m.frame.workers = m.frame.workers[:6]
			for i := range 20 {
				m.Update(topEvent{control.Event{Seq: uint64(i), Time: topEpoch.Add(time.Duration(i) * time.Second), Kind: control.EventWorkerExited, Worker: uint64(i), PID: 4700 + i,
					Reason: "killed by SIGSEGV", Served: 12}})
			}
			m.Update(topEvent{control.Event{Time: topEpoch.Add(20 * time.Second), Kind: control.EventLost, Worker: 19, Count: 1, Reason: "\x1b[2J"}})
		}},
		{"failing-80x24", 80, 24, func(m *topModel) { m.Update(failing) }},
		{"denied-80x24", 80, 24, func(m *topModel) { m.Update(denied) }},
	} {
		m := testTop(testScreen(), 45)
		m.Update(tea.WindowSizeMsg{Width: tt.width, Height: tt.height})
		if tt.change != nil {
			tt.change(m)
		}
		golden(t, tt.name, m.View())
	}
	golden(t, "first-80x24", testTop(testScreen(), 0).withClock(topEpoch).View())
	golden(t, "ascii-80x24", testTop(&screen{}, 45).View())
	golden(t, "colour-80x24", strings.ReplaceAll(testTop(&screen{utf8: true, colour: true}, 45).View(), "\x1b", "^["))
	golden(t, "once-100", testTop(testScreen(), 2).page(100))
}

func (m *topModel) withClock(at time.Time) *topModel {
	m.now = at
	return m
}

func TestTopFitsAnyScreen(t *testing.T) {
	for _, s := range []*screen{{}, {utf8: true}, {utf8: true, colour: true}} {
		m := testTop(s, 3)
		m.frame.workers[0].Request.URI = "/日本語/" + strings.Repeat("長い", 200)
		m.frame.workers[1].ID = 1<<64 - 1
		for _, keys := range []string{"i", "k", "?"} {
			press(m, keys)
			for width := 0; width < 220; width += 1 + width/20 {
				for _, height := range []int{1, 2, 3, 5, 8, 15, 24, 50} {
					lines := strings.Split(m.draw(width, height), "\n")
					if len(lines) != height {
						t.Fatalf("%dx%d: %d lines", width, height, len(lines))
					}
					for _, l := range lines {
						if textWidth(l) > width {
							t.Fatalf("%dx%d: %d columns: %q", width, height, textWidth(l), l)
						}
					}
				}
			}
			press(m, "esc")
		}
	}
}

func TestTopShowsNothingRawFromOutside(t *testing.T) {
	const evil = "\x1b]0;owned\a\x1b[2J\u009b31m\u202e\r\nx\x00\xff\t"
	m := testTop(testScreen(), 3)
	s := testSample(topEpoch, 4)
	s.status.Name, s.status.Version, s.status.State = evil, evil, control.Failing
	s.status.Starts.LastFailure = evil
	s.status.Queue.Listeners[0].Name = evil
	for i := range s.workers {
		s.workers[i].State, s.workers[i].Status = evil, evil
		s.workers[i].Request = &control.Request{Method: evil, URI: evil, Client: evil}
		s.workers[i].Active = 1
	}
	m.Update(topData{sample: s})
	m.act = func(string, uint64) error {
		return control.Errorf(control.CodeFailed, "%s", evil).WithHint("%s", evil)
	}
	check := func() {
		t.Helper()
		for _, size := range [][2]int{{80, 24}, {200, 50}} {
			for _, r := range strings.ReplaceAll(m.draw(size[0], size[1]), "\n", "") {
				if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
					t.Fatalf("%q reaches the terminal", r)
				}
			}
		}
	}
	check()
	if !strings.Contains(m.View(), "owned") {
		t.Error("the texts are not shown at all")
	}
	press(m, "k")
	check()
	press(m, "y")
	check()
	m.Update(topData{sample: s, err: control.Errorf(control.CodeDenied, "%s", evil).WithHint("%s", evil)})
	check()
}

func TestTopActsAfterYesOnly(t *testing.T) {
	for _, tt := range []struct {
		keys []string
		want string
		says string
	}{
		{[]string{"r", "y"}, "retire 1", "worker 1 finishes what it holds and leaves"},
		{[]string{"down", "k", "y"}, "kill 2", "worker 2 is killed"},
		{[]string{"end", "d", "Y"}, "dump 12", "worker 12 writes its stacks to its log"},
		{[]string{"r", "n"}, "", "nothing was done"},
		{[]string{"k", "esc"}, "", "nothing was done"},
		{[]string{"k", "x", "down", "s", "n"}, "", "nothing was done"},
		{[]string{"ky"}, "", "[y/n] Kill worker 1"},        // typed at once, or pasted
		{[]string{"k", "yy"}, "", "[y/n] Kill worker 1"},   // so is this
		{[]string{"k", "\x1b"}, "", "[y/n] Kill worker 1"}, // no letter
		{[]string{"y"}, "", "12 workers by id"},
	} {
		m, did := testTop(testScreen(), 3), ""
		m.act = func(verb string, id uint64) error {
			did += fmt.Sprintf("%s %d", verb, id)
			return nil
		}
		press(m, tt.keys...)
		if did != tt.want || !strings.Contains(m.View(), tt.says) {
			t.Errorf("%v: did %q, want %q, and said\n%s", tt.keys, did, tt.want, m.View())
		}
	}
}

func TestTopIgnoresWhatIsPasted(t *testing.T) {
	m := testTop(testScreen(), 3)
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("k"), Paste: true})
	if m.question != nil {
		t.Error("a pasted k asks")
	}
	press(m, "k")
	_, next := m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("y"), Paste: true})
	if next != nil || m.question == nil {
		t.Error("a pasted y answers")
	}
}

func TestTopSaysWhyItCouldNotAct(t *testing.T) {
	m := testTop(testScreen(), 3)
	m.act = func(string, uint64) error {
		return control.Errorf(control.CodeDenied, "cannot kill a worker: permission denied (uid 7 may read only)")
	}
	press(m, "k", "y")
	if want := "cannot kill a worker: permission denied (uid 7 may read only)"; !strings.Contains(m.View(), want) {
		t.Errorf("%q is missing:\n%s", want, m.View())
	}
}

// A question is about the worker that it names, whatever comes meanwhile.
func TestTopActsOnTheWorkerThatItNamed(t *testing.T) {
	m, did := testTop(testScreen(), 3), uint64(0)
	m.act = func(_ string, id uint64) error { did = id; return nil }
	press(m, "k")
	s := testSample(topEpoch.Add(time.Second), 4)
	s.workers = s.workers[4:]
	m.Update(topData{sample: s})
	press(m, "y")
	if did != 1 {
		t.Errorf("killed %d, want 1", did)
	}
}

func TestTopSortsByEachKey(t *testing.T) {
	m := testTop(testScreen(), 3)
	order := func() (ids []uint64) {
		for _, w := range m.frame.workers {
			ids = append(ids, w.ID)
		}
		return ids[:4]
	}
	want := map[string][]uint64{"i": {1, 2, 3, 4}, "c": {5, 10, 3, 8}, "m": {7, 5, 3, 12}, "a": {3, 6, 1, 4}, "n": {1, 2, 3, 4}}
	for k, ids := range want {
		press(m, k)
		if got := order(); !reflect.DeepEqual(got, ids) {
			t.Errorf("%s: %v, want %v", k, got, ids)
		}
	}
	press(m, "i")
	for _, k := range []string{"c", "m", "a", "n", "i"} {
		press(m, "s")
		if m.sort != topSortKeys[k] {
			t.Errorf("s leads to %v, want %v", m.sort, topSortKeys[k])
		}
	}
}

func TestTopKeepsItsSelection(t *testing.T) {
	m := testTop(testScreen(), 3)
	m.Update(tea.WindowSizeMsg{Width: 60, Height: 15})
	press(m, "end")
	if !strings.Contains(m.View(), "\n>  12") {
		t.Errorf("the last worker is not shown as selected:\n%s", m.View())
	}
	press(m, "c")
	if m.selected != 12 || !strings.Contains(m.View(), "\n>  12") {
		t.Errorf("worker 12 is no longer selected after sorting:\n%s", m.View())
	}
	press(m, "i")
	s := testSample(topEpoch.Add(time.Second), 4)
	s.workers = s.workers[:6]
	m.Update(topData{sample: s})
	if m.selected != 6 {
		t.Errorf("worker %d is selected, want the last that is left", m.selected)
	}
	press(m, "home", "pgdown", "pgup", "up")
	if m.selected != 1 {
		t.Errorf("worker %d is selected, want the first", m.selected)
	}
}

func TestTopShowsThePoolAgainWhenItIsBack(t *testing.T) {
	m := testTop(testScreen(), 10)
	gone := topData{sample: topSample{at: topEpoch.Add(time.Second)}, err: control.Errorf(control.CodeOver, "the master has ended")}
	_, next := m.Update(gone)
	if next == nil {
		t.Fatal("it does not look again")
	}
	if v := m.View(); !strings.Contains(v, "the master has ended\ntrying again since 15:09:27") || strings.Contains(v, "/page/") {
		t.Errorf("a pool that ended:\n%s", v)
	}
	s := testSample(topEpoch.Add(2*time.Second), 0) // its counts begin again
	s.status.PID = 9999
	m.Update(topData{sample: s})
	if v := m.View(); strings.Contains(v, "trying again") || !strings.Contains(v, "pid 9999") || !strings.Contains(v, "requests  -") {
		t.Errorf("a pool that came back:\n%s", v)
	}
	for _, p := range m.frame.points {
		if p.rate < 0 || p.rate > 1000 {
			t.Errorf("a rate of %g across two masters", p.rate)
		}
	}
}

func TestTopSaysThatTheMasterIsLate(t *testing.T) {
	m := testTop(testScreen(), 3)
	m.Update(topTick{topEpoch.Add(time.Second)})
	m.Update(topClock{topEpoch.Add(2 * time.Second)})
	if strings.Contains(m.View(), "has not answered") {
		t.Errorf("late after a second:\n%s", m.View())
	}
	m.Update(topClock{topEpoch.Add(6 * time.Second)})
	if !strings.Contains(m.View(), "the master has not answered for 5.0s") {
		t.Errorf("not late after five seconds:\n%s", m.View())
	}
}

func TestTopStandsStillWhileFrozen(t *testing.T) {
	m := testTop(testScreen(), 10)
	press(m, "f")
	before := m.View()
	s := testSample(topEpoch.Add(time.Second), 20)
	s.status.Workers.Busy = 1
	m.Update(topData{sample: s})
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 40})
	m.Update(topEvent{control.Event{Kind: control.EventLost}})
	if strings.Contains(m.View(), control.EventLost) {
		t.Errorf("frozen, but an event is shown:\n%s", m.View())
	}
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	if m.View() != before {
		t.Errorf("frozen, but\n%s\nbecame\n%s", before, m.View())
	}
	press(m, "f")
	if !strings.Contains(m.View(), "1 busy") {
		t.Errorf("not frozen any more, but\n%s", m.View())
	}
}

func TestTopQuits(t *testing.T) {
	for _, keys := range [][]string{{"q"}, {"ctrl+c"}, {"k", "ctrl+c"}, {"?", "ctrl+c"}} {
		got := press(testTop(testScreen(), 3), keys...)
		if len(got) == 0 || got[len(got)-1] != tea.Quit() {
			t.Errorf("%v: %v", keys, got)
		}
	}
}

// Looks that take longer than the interval do not overlap, and none begins
// sooner than one interval after the one before.
func TestTopLooksDoNotOverlap(t *testing.T) {
	for _, takes := range []time.Duration{0, 30 * time.Millisecond} {
		const interval = 10 * time.Millisecond
		var under, overlaps, early atomic.Int32
		var last time.Time
		looks, done := 0, make(chan struct{})
		m := newTop("wiki", interval, topLook{testScreen()})
		m.poll = func() tea.Msg {
			if under.Add(1) > 1 {
				overlaps.Add(1)
			}
			defer under.Add(-1)
			asked := time.Now()
			if asked.Sub(last) < interval {
				early.Add(1)
			}
			last = asked
			<-time.After(takes)
			if looks++; looks == 8 {
				close(done)
			}
			return topData{sample: testSample(time.Now(), looks), asked: asked}
		}
		p := tea.NewProgram(m, tea.WithInput(nil), tea.WithOutput(io.Discard), tea.WithoutSignalHandler())
		ended := make(chan error, 1)
		go func() { _, err := p.Run(); ended <- err }()
		<-done
		p.Quit()
		if err := <-ended; err != nil || overlaps.Load() > 0 || early.Load() > 0 {
			t.Errorf("looks of %v: %d overlapped, %d were early, %v", takes, overlaps.Load(), early.Load(), err)
		}
	}
}
