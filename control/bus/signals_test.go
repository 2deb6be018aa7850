package bus

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

type objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant

func TestWorkersAreObjects(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	b.run(t, p)
	c := b.client(t, os.Getuid())
	news := signals(t, c)
	list := func() objects {
		var all objects
		if err := c.Object(testName, rootPath).Call(managerIface+".GetManagedObjects", 0).Store(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := list()
	if len(all) != 2 || all[poolPath][poolIface]["State"].Value() != "running" || all[pathOf(1)][workerIface]["PID"].Value() != uint32(5001) {
		t.Errorf("objects %v", all)
	}
	id := p.Start()
	added := next(t, news, "InterfacesAdded")
	if added.Path != rootPath || added.Body[0] != pathOf(id) {
		t.Errorf("added %v", added)
	}
	props := added.Body[1].(map[string]map[string]dbus.Variant)[workerIface]
	if len(props) != len(workerProperties) || props["PID"].Value() != uint32(5002) {
		t.Errorf("added with %v", props)
	}
	p.Exit(id, "killed by signal 9")
	if s := next(t, news, "WorkerExited"); s.Path != poolPath || !reflect.DeepEqual(s.Body, []any{id, uint32(5002), "killed by signal 9", uint64(212)}) {
		t.Errorf("exited %v", s)
	}
	if s := next(t, news, "InterfacesRemoved"); s.Body[0] != pathOf(id) || !reflect.DeepEqual(s.Body[1], []string{workerIface}) {
		t.Errorf("removed %v", s)
	}
	if all := list(); len(all) != 2 {
		t.Errorf("objects %v", all)
	}
	var text string
	if err := c.Object(testName, workerPath).Call(introspectIface+".Introspect", 0).Store(&text); err != nil || !strings.Contains(text, `<node name="1"/>`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestAFullPoolFitsIntoOneList(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	for range control.WorkersMax - 1 {
		p.Start()
	}
	b.run(t, p)
	var all objects
	if err := b.client(t, os.Getuid()).Object(testName, rootPath).Call(managerIface+".GetManagedObjects", 0).Store(&all); err != nil || len(all) != control.WorkersMax+1 {
		t.Errorf("%d objects, %v", len(all), err)
	}
}

func TestChangesAreAnnouncedAtMostOnceASecond(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	clock := newFakeClock()
	b.run(t, p, func(f *Front) { f.clock = clock })
	c := b.client(t, os.Getuid())
	news := signals(t, c)
	limits := func(n int) {
		p.Update(control.Event{Kind: control.EventLimits}, func(st *control.Status) { st.Limits.MaxWorkers = n })
	}
	changed := func() map[string]dbus.Variant {
		t.Helper()
		s := next(t, news, "PropertiesChanged")
		if s.Path != poolPath || s.Body[0] != poolIface {
			t.Fatalf("changed %v", s)
		}
		return s.Body[1].(map[string]dbus.Variant)
	}
	limits(100)
	if got := changed(); len(got) != 1 || got["MaxWorkers"].Value() != int32(100) {
		t.Errorf("at once: %v", got)
	}
	// A hundred changes in the same second: one timer, nothing sent.
	for n := range 100 {
		limits(n + 101)
	}
	if d := <-clock.asked; d != time.Second {
		t.Errorf("the next one is in %v", d)
	}
	p.Exit(1, "x") // an event that is told at once, after all of them
	for first := true; first || len(news) > 0; first = false {
		if s := <-news; strings.HasSuffix(s.Name, "PropertiesChanged") {
			t.Errorf("too early: %v", s)
		} else if strings.HasSuffix(s.Name, "WorkerExited") {
			break
		}
	}
	clock.move(999 * time.Millisecond)
	p.Send(control.Event{Kind: control.EventState, State: "failing"})
	next(t, news, "StateChanged")
	for len(news) > 0 {
		if s := <-news; strings.HasSuffix(s.Name, "PropertiesChanged") {
			t.Errorf("too early: %v", s)
		}
	}
	clock.move(time.Millisecond)
	got := changed()
	if got["MaxWorkers"].Value() != int32(200) || got["Workers"].Value() != uint32(0) || len(got) != 2 {
		t.Errorf("after a second: %v", got)
	}
	// Nothing changed: nothing is sent, though an event came. The counters
	// that it moved are no reason either.
	clock.move(time.Second)
	p.Update(control.Event{Kind: control.EventStartRecovered}, func(st *control.Status) { st.Requests.Served += 1000 })
	p.Send(control.Event{Kind: control.EventRefused, Count: 3})
	clock.move(time.Second)
	for refused := false; !refused; {
		select {
		case s := <-news:
			if strings.HasSuffix(s.Name, "PropertiesChanged") {
				t.Errorf("nothing changed: %v", s)
			}
			refused = strings.HasSuffix(s.Name, ".Refused")
		case <-clock.asked:
			clock.move(time.Second)
		}
	}
}

func TestEventsBecomeSignals(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	clock := newFakeClock()
	b.run(t, p, func(f *Front) { f.clock = clock })
	news := signals(t, b.client(t, os.Getuid()))
	p.Update(control.Event{Kind: control.EventState, State: control.Paused}, func(st *control.Status) { st.State = control.Paused })
	if s := next(t, news, "StateChanged"); s.Body[0] != control.Paused {
		t.Errorf("state %v", s.Body)
	}
	next(t, news, "PropertiesChanged")
	clock.move(time.Second)
	p.Send(control.Event{Kind: control.EventSaturated})
	if s := next(t, news, "PoolSaturated"); s.Body[0] != true {
		t.Errorf("saturated %v", s.Body)
	}
	// Requests refused within a second are told together.
	for range 50 {
		p.Send(control.Event{Kind: control.EventRefused, Count: 2})
	}
	p.Send(control.Event{Kind: control.EventRelieved})
	p.Send(control.Event{Kind: control.EventWorkerExited, Worker: 77}) // the last
	next(t, news, "WorkerExited")
	clock.move(time.Second)
	if s := next(t, news, "Refused"); s.Body[0] != uint64(100) {
		t.Errorf("refused %v", s.Body)
	}
	if s := next(t, news, "PoolSaturated"); s.Body[0] != false {
		t.Errorf("saturated %v", s.Body)
	}
}

func TestMissedEventsAreMadeUpFor(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	b.run(t, p)
	news := signals(t, b.client(t, os.Getuid()))
	var id uint64
	p.Unheard(func() {
		p.Exit(1, "unheard")
		id = p.Start()
		p.Lock()
		p.St.State, p.St.Saturated = control.Draining, 1.5
		p.Unlock()
	})
	p.Send(control.Event{Kind: control.EventMissed, Count: 2})
	var got []string
	for len(got) < 5 {
		s := <-news
		if !strings.HasPrefix(string(s.Path), string(rootPath)) {
			continue
		}
		got = append(got, s.Name[strings.LastIndex(s.Name, ".")+1:])
		if s.Name == managerIface+".InterfacesAdded" && s.Body[0] != pathOf(id) || s.Name == managerIface+".InterfacesRemoved" && s.Body[0] != pathOf(1) {
			t.Errorf("%v", s)
		}
	}
	if want := []string{"StateChanged", "PoolSaturated", "PropertiesChanged", "InterfacesAdded", "InterfacesRemoved"}; !slices.Equal(got, want) {
		// Which of the last two is first does not matter.
		t.Errorf("signals %v, want %v", got, want)
	}
}
