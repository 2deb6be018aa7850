package main

import (
	"fmt"
	"slices"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/scgid/scgid/control"
)

// A topModel is the state of the view. It changes by messages only, and asks
// and acts by poll and act only, so that a test needs neither pool nor
// terminal.
type topModel struct {
	name     string
	interval time.Duration
	look     topLook
	poll     func() tea.Msg // looks at the pool; its message is topData
	act      func(verb string, worker uint64) error

	width, height int
	now           time.Time
	asked         time.Time // when the look that is under way began; else zero
	history       topHistory
	newest, frame topFrame       // frame is what is shown
	err           *control.Error // why the newest look failed
	errSince      time.Time

	newestEvents, events []control.Event // the last ones; events are what is shown

	frozen   bool // the screen, not the pool
	help     bool
	sort     topSort
	selected uint64 // id of a worker
	place    int    // where it was in the table
	first    int    // row of the table that is shown first
	question *topQuestion
	acting   bool
	message  span
}

// Messages.
type (
	topTick  struct{ at time.Time } // it is time to look
	topClock struct{ at time.Time } // a second has passed
	topData  struct {               // a look is over
		sample topSample
		asked  time.Time
		err    error
	}
	topEvent struct{ control.Event } // something has happened
	topDone  struct {                // what the operator asked for is done, or not
		text string
		err  error
	}
)

func newTop(name string, interval time.Duration, look topLook) *topModel {
	return &topModel{name: name, interval: interval, look: look, width: 80, height: 24, now: time.Now()}
}

// Init begins to look.
func (m *topModel) Init() tea.Cmd {
	m.asked = m.now
	return tea.Batch(m.poll, clock())
}

func clock() tea.Cmd {
	return tea.Tick(time.Second, func(at time.Time) tea.Msg { return topClock{at} })
}

// Update takes one message. The next look is ordered when one is over, so
// they never overlap.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var next tea.Cmd
	switch msg := msg.(type) {
	case topTick:
		m.now, m.asked = msg.at, msg.at
		next = m.poll
	case topClock:
		m.now = msg.at
		next = clock()
	case topData:
		m.take(msg)
		pause := max(m.interval-msg.sample.at.Sub(msg.asked), m.interval/10)
		next = tea.Tick(pause, func(at time.Time) tea.Msg { return topTick{at} })
	case topDone:
		m.done(msg)
	case topEvent:
		m.happened(msg.Event)
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyMsg:
		next = m.keys(msg)
	}
	m.scroll()
	return m, next
}

// View draws the whole screen.
func (m *topModel) View() string { return m.draw(m.width, m.height) }

// take takes the result of a look.
func (m *topModel) take(d topData) {
	m.asked, m.now = time.Time{}, d.sample.at
	if d.err == nil {
		m.err = nil
		m.history.add(d.sample)
		m.newest = m.history.frame()
	} else {
		m.fail(d)
	}
	if !m.frozen {
		m.frame = m.newest
	}
}

// eventsKept is how many events the highest screen has room for.
const eventsKept = 100

// happened takes an event.
func (m *topModel) happened(e control.Event) {
	m.newestEvents = append(m.newestEvents[max(len(m.newestEvents)-eventsKept+1, 0):], e)
	if !m.frozen {
		m.events = slices.Clone(m.newestEvents)
	}
}

// fail notes why a look failed. Where the pool is gone, or may not be seen,
// old figures would mislead.
func (m *topModel) fail(d topData) {
	if m.err == nil {
		m.errSince = d.sample.at
	}
	m.err = control.AsError(d.err)
	switch m.err.Code {
	case control.CodeNotRunning, control.CodeOver, control.CodeDenied:
		m.newest = topFrame{at: d.sample.at, points: m.newest.points}
		m.newest.status.Name, m.newest.status.State = d.sample.status.Name, d.sample.status.State
		m.history.looks = nil
	}
}

// A topQuestion is one that the operator has to answer first.
type topQuestion struct {
	verb   string
	worker uint64
	text   string
}

// ask asks before something is done to the selected worker.
func (m *topModel) ask(verb string) {
	if m.acting {
		return
	}
	i := m.index()
	if i < 0 {
		m.message = span{yellow, "there is no worker to " + verb}
		return
	}
	w := m.frame.workers[i]
	q := &topQuestion{verb: verb, worker: w.ID}
	switch {
	case verb == "retire":
		q.text = fmt.Sprintf("Retire worker %d, which is %s?", w.ID, workerState(w.Worker))
	case verb == "dump":
		q.text = fmt.Sprintf("Have worker %d write its stacks to its log?", w.ID)
	default:
		q.text = killText(fmt.Sprintf("worker %d", w.ID), w.Worker)
	}
	m.question, m.message = q, span{}
}

// answer takes yes or no.
func (m *topModel) answer(yes bool) tea.Cmd {
	q := m.question
	m.question = nil
	if !yes {
		m.message = span{dim, "nothing was done"}
		return nil
	}
	m.acting = true
	m.message = span{dim, "asking the pool"}
	return func() tea.Msg {
		return topDone{text: fmt.Sprintf("worker %d %s", q.worker, workerDone[q.verb]), err: m.act(q.verb, q.worker)}
	}
}

// done shows what became of a retire, kill or dump.
func (m *topModel) done(d topDone) {
	m.acting, m.message = false, span{green, d.text}
	if d.err != nil {
		m.message = span{red, d.err.Error()}
		if hint := control.AsError(d.err).Hint; hint != "" {
			m.message.text += "; " + hint
		}
	}
}
