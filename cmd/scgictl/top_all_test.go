package main

import (
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/scgid/scgid/control"
)

// testPools are looked at for the i-th time.
func testPools(i int) []listed {
	st := testSample(topEpoch, i).status
	st.Recent = &control.Recent{Service: &control.Quantiles{P50: 0.012, P95: 0.052}}
	st.LastError = &control.Failure{Time: topEpoch.Add(-24 * time.Second), Text: "worker 4 was killed by SIGSEGV at request GET /die"}
	st.Requests.Classes["5xx"] = uint64(3 * i)
	return []listed{
		{Name: "an-application-with-a-name", Status: &control.Status{Name: "an-application-with-a-name", State: control.Running}},
		{Name: "blog", Idle: &idlePool{Name: "blog", State: stateListening}},
		{Name: "shop", Idle: &idlePool{Name: "shop", State: stateFailed, Result: "exit-code", Restarts: "97"}},
		{Name: "slow", Error: "it does not answer"},
		{Name: "wiki", Socket: "/run/scgid/wiki/control.sock", Status: &st},
	}
}

func testTopAll(s *screen) *topAllModel {
	m := &topAllModel{look: topLook{s}, width: 80, height: 24, interval: time.Second}
	for i := range 2 {
		m.Update(topAllData{topEpoch.Add(time.Duration(i-1) * time.Second), testPools(20 + i)})
	}
	return m
}

func TestTopWithoutANameShowsAllPools(t *testing.T) {
	m := testTopAll(testScreen())
	m.selected = 4
	golden(t, "all-80x24", m.View())
	m.Update(tea.WindowSizeMsg{Width: 200, Height: 50})
	golden(t, "all-200x50", m.View())
}

func TestTopOfAllPoolsFitsAnyScreen(t *testing.T) {
	for _, s := range []*screen{{}, {utf8: true}, {utf8: true, colour: true}} {
		m := testTopAll(s)
		m.shown[4].Status.LastError.Text = "日本語\x1b[2J" + strings.Repeat("長い", 200)
		m.selected = 4
		for width := 1; width < 220; width += 1 + width/20 {
			for _, height := range []int{1, 2, 3, 5, 8, 24} {
				m.Update(tea.WindowSizeMsg{Width: width, Height: height})
				lines := strings.Split(m.View(), "\n")
				if len(lines) != height {
					t.Fatalf("%dx%d: %d lines", width, height, len(lines))
				}
				for _, l := range lines {
					if textWidth(l) > width || strings.Contains(l, "\x1b[2J") {
						t.Fatalf("%dx%d: %q", width, height, l)
					}
				}
			}
		}
	}
}

func TestTopOfAllPoolsOpensOneAtEnter(t *testing.T) {
	m := testTopAll(testScreen())
	press := func(typ tea.KeyType) tea.Cmd { _, next := m.Update(tea.KeyMsg{Type: typ}); return next }
	m.selected = 1
	if next := press(tea.KeyEnter); next != nil || m.chosen != nil {
		t.Error("a pool that does not run is opened")
	}
	for range 9 {
		press(tea.KeyDown)
	}
	if next := press(tea.KeyEnter); next == nil || m.chosen == nil || m.chosen.Name != "wiki" {
		t.Errorf("opened %+v, want wiki", m.chosen)
	}
}

func TestTopOfAllPoolsFreezes(t *testing.T) {
	m := testTopAll(testScreen())
	key := func(k string) { m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}) }
	key("f")
	m.Update(topAllData{topEpoch.Add(time.Second), nil})
	if v := m.View(); !strings.Contains(v, "wiki") || !strings.Contains(v, "frozen at") {
		t.Errorf("frozen, but\n%s", v)
	}
	key("f")
	if v := m.View(); strings.Contains(v, "wiki") {
		t.Errorf("not frozen any more, but\n%s", v)
	}
}
