package bus

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/controltest"
)

// asked is the outcome of one question about a pool.
func asked(o dbus.BusObject, method string, args ...any) string {
	call := o.Call(method, 0, args...)
	if call.Err != nil {
		return errorName(call.Err)
	}
	return fmt.Sprint(call.Body...)
}

// secret is what a worker says of itself; no stranger may see it.
const secret = "session of alice"

func TestStrangersReadNameAndStateOnly(t *testing.T) {
	b := systemBus(t, "")
	p := newFakePool()
	p.All[0].Status = secret
	b.run(t, p, asPool)
	for _, tt := range []struct {
		who    string
		uid    int
		groups []int
		all    bool
	}{
		{"root", 0, nil, true},
		{"a member of Control.Group", opsUser, []int{opsGroup}, true},
		{"a member of Control.ReadGroup", otherUser, []int{readGroup}, true},
		{"the pool's own user", ownUser, []int{busGroup}, true},
		{"another user", otherUser, nil, false},
		{"another pool's user, in the bus group", otherUser, []int{busGroup}, false},
	} {
		c := b.client(t, tt.uid, tt.groups...)
		all := map[string]dbus.Variant{}
		if err := pool(c).Call(propertiesIface+".GetAll", 0, poolIface).Store(&all); err != nil {
			t.Errorf("%s: %v", tt.who, err)
		}
		if want := map[bool]int{true: len(poolProperties), false: 2}[tt.all]; len(all) != want || all["Name"].Value() != "my-app" || all["State"].Value() != control.Running {
			t.Errorf("%s reads %v", tt.who, all)
		}
		var objs objects
		if err := c.Object(testName, rootPath).Call(managerIface+".GetManagedObjects", 0).Store(&objs); err != nil {
			t.Errorf("%s: %v", tt.who, err)
		}
		if (len(objs) == 2) != tt.all || len(objs[poolPath][poolIface]) != len(all) || strings.Contains(fmt.Sprint(objs), secret) != tt.all {
			t.Errorf("%s lists %v", tt.who, objs)
		}
		for _, q := range []struct {
			path   dbus.ObjectPath
			method string
			args   []any
		}{
			{poolPath, propertiesIface + ".Get", []any{poolIface, "PID"}},
			{poolPath, propertiesIface + ".Get", []any{"", "Workers"}},
			{poolPath, propertiesIface + ".Get", []any{poolIface, "Exits"}},
			{pathOf(1), propertiesIface + ".Get", []any{workerIface, "Status"}},
			{pathOf(1), propertiesIface + ".Get", []any{"", "Status"}},
			{pathOf(1), propertiesIface + ".GetAll", []any{workerIface}},
			{pathOf(1), propertiesIface + ".GetAll", []any{""}},
			{pathOf(1), introspectIface + ".Introspect", nil},
			{logPath, propertiesIface + ".Get", []any{logIface, "LogLevel"}},
			{logPath, propertiesIface + ".GetAll", []any{logIface}},
		} {
			if got := asked(c.Object(testName, q.path), q.method, q.args...); (got == denied) == tt.all || strings.Contains(got, secret) && !tt.all {
				t.Errorf("%s: %s %s %v is %s", tt.who, q.path, q.method, q.args, got)
			}
		}
		// The objects below /worker are workers' ids.
		if got := asked(c.Object(testName, workerPath), introspectIface+".Introspect"); strings.Contains(got, `"1"`) != tt.all {
			t.Errorf("%s: the workers are %s", tt.who, got)
		}
		if got := asked(c.Object(testName, poolPath), introspectIface+".Introspect"); !strings.Contains(got, "Scale") {
			t.Errorf("%s does not see what there is: %s", tt.who, got)
		}
	}
}

// However often strangers ask, the pool is asked a few times a second.
func TestStrangersDoNotKeepThePoolBusy(t *testing.T) {
	b := systemBus(t, "")
	p := newFakePool()
	b.run(t, p, asPool)
	c := b.client(t, otherUser)
	calls := func() int {
		p.Lock()
		defer p.Unlock()
		return p.Calls
	}
	began, before := time.Now(), calls()
	for range 200 {
		if got := asked(pool(c), propertiesIface+".Get", poolIface, "State"); got != `"running"` {
			t.Fatalf("State is %s", got)
		}
	}
	if n, most := calls()-before, int(time.Since(began)/(200*time.Millisecond))+2; n > most {
		t.Errorf("the pool was asked %d times, want %d at most", n, most)
	}
}

// A stranger learns nothing of whether there is a worker.
func TestStrangersAreToldTheSameOfEveryWorker(t *testing.T) {
	b := systemBus(t, "")
	b.run(t, newFakePool(), asPool)
	c := b.client(t, otherUser)
	for _, method := range []string{introspectIface + ".Introspect", propertiesIface + ".GetAll", propertiesIface + ".Get", propertiesIface + ".Set"} {
		args := map[string][]any{"GetAll": {workerIface}, "Get": {workerIface, "PID"}, "Set": {workerIface, "PID", dbus.MakeVariant("x")}}[method[strings.LastIndex(method, ".")+1:]]
		here, gone := c.Object(testName, pathOf(1)).Call(method, 0, args...).Err, c.Object(testName, pathOf(99)).Call(method, 0, args...).Err
		if here == nil || gone == nil || here.Error() != gone.Error() {
			t.Errorf("%s: %v, of a worker that is not there %v", method, here, gone)
		}
	}
}

// tellAll has the pool do what makes each kind of signal, and ends with a state.
func tellAll(p *controltest.Pool, clock *fakeClock, last string) {
	p.Send(control.Event{Kind: control.EventWorkerExited, Worker: 7, PID: 4, Reason: secret})
	p.Send(control.Event{Kind: control.EventOperation, Operation: &control.Operation{ID: p.Seq + 100, Kind: control.OpReload, State: control.OpFailed, Error: secret}})
	p.Send(control.Event{Kind: control.EventSaturated})
	p.Send(control.Event{Kind: control.EventRefused, Count: 3})
	p.Start()
	p.Update(control.Event{Kind: control.EventLimits}, func(st *control.Status) { st.Limits.MaxWorkers++; st.State = control.Failing })
	p.Update(control.Event{Kind: control.EventState, State: last}, func(st *control.Status) { st.State = last })
	clock.move(time.Second)
}

// everySignal are the names of the signals that tellAll makes.
var everySignal = []string{"WorkerExited", "ReloadFinished", "PoolSaturated", "Refused", "InterfacesAdded", "StateChanged", "PropertiesChanged"}

// hearAll waits until all of these were heard.
func hearAll(t *testing.T, news chan *dbus.Signal, clock *fakeClock) {
	t.Helper()
	heard := map[string]bool{}
	for deadline := time.After(10 * time.Second); len(heard) < len(everySignal); {
		select {
		case s := <-news:
			if name := s.Name[strings.LastIndex(s.Name, ".")+1:]; slices.Contains(everySignal, name) {
				heard[name] = true
			}
		case <-clock.asked:
			clock.move(time.Second)
		case <-deadline:
			t.Fatalf("of %v only %v were heard", everySignal, heard)
		}
	}
}

func TestStrangersHearOfTheStateOnly(t *testing.T) {
	b := systemBus(t, "")
	p := newFakePool()
	clock := newFakeClock()
	b.run(t, p, asPool, func(f *Front) { f.clock = clock })
	stranger, reader := b.client(t, otherUser), b.client(t, otherUser, readGroup)
	news, all := signals(t, stranger), signals(t, reader)
	tellAll(p, clock, control.Paused)
	hearAll(t, all, clock)
	p.Update(control.Event{Kind: control.EventState, State: control.Draining}, func(st *control.Status) { st.State = control.Draining })
	for end := ""; end != control.Draining; {
		if s := next(t, all, "StateChanged"); len(s.Body) > 0 {
			end, _ = s.Body[0].(string)
		}
	}
	read(t, stranger) // the bus has sent it all before that
	var heard []string
	for len(news) > 0 {
		s := <-news
		if s.Path == "/org/freedesktop/DBus" {
			continue
		}
		heard = append(heard, s.Name[strings.LastIndex(s.Name, ".")+1:])
		text := fmt.Sprint(s.Path, s.Body)
		if strings.Contains(text, secret) || strings.Contains(text, "Workers") || strings.Contains(text, "worker") {
			t.Errorf("a stranger hears %s", text)
		}
	}
	slices.Sort(heard)
	if got := slices.Compact(heard); !slices.Equal(got, []string{"PropertiesChanged", "StateChanged"}) {
		t.Errorf("a stranger hears %v", got)
	}
}

// A user's own bus has nobody else on it: whoever subscribes hears everything.
func TestOnASessionBusNobodyHasToReadFirst(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	clock := newFakeClock()
	b.run(t, p, func(f *Front) { f.clock, f.o.Session = clock, true })
	news := subscribe(t, b.client(t, os.Getuid()))
	tellAll(p, clock, control.Paused)
	hearAll(t, news, clock)
}

func TestReadersAreBoundedAndForgottenWhenTheyLeave(t *testing.T) {
	b := systemBus(t, "")
	p := newFakePool()
	b.run(t, p, asPool)
	var many []*dbus.Conn
	for range readersUserMax + 2 { // all may read, but not all get signals
		c := b.client(t, opsUser, opsGroup)
		read(t, c)
		many = append(many, c)
	}
	c := b.client(t, opsUser, opsGroup)
	news := subscribe(t, c)
	read(t, c)
	root := signals(t, b.client(t, 0))
	p.Exit(1, "x")
	next(t, root, "WorkerExited")
	for len(news) > 0 {
		if s := <-news; strings.HasSuffix(s.Name, "WorkerExited") {
			t.Error("a connection too many of one user hears of workers")
		}
	}
	for _, c := range many {
		c.Close()
	}
	// Which connections have left is told by the bus after that.
	for deadline := time.Now().Add(10 * time.Second); ; {
		read(t, c)
		p.Send(control.Event{Kind: control.EventWorkerExited, Worker: 2})
		next(t, root, "WorkerExited")
		read(t, c) // what was sent to it before has come then
		heard := false
		for len(news) > 0 {
			heard = strings.HasSuffix((<-news).Name, "WorkerExited") || heard
		}
		if heard {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("connections that have left still count")
		}
	}
}

// Anybody may send a signal that looks like the bus's own to us.
func TestAStrangerCannotSayThatAReaderHasLeft(t *testing.T) {
	b := systemBus(t, "")
	p := newFakePool()
	b.run(t, p, asPool)
	reader, stranger := b.client(t, opsUser, opsGroup), b.client(t, otherUser)
	news := signals(t, reader)
	us := &dbus.Message{Type: dbus.TypeSignal, Flags: dbus.FlagNoReplyExpected, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(testName),
		dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus")),
		dbus.FieldInterface:   dbus.MakeVariant("org.freedesktop.DBus"),
		dbus.FieldMember:      dbus.MakeVariant("NameOwnerChanged"),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf("", "", "")),
	}, Body: []any{reader.Names()[0], reader.Names()[0], ""}}
	stranger.Send(us, nil)
	read(t, stranger) // it has come before this call
	for range 3 {     // what it does would be done meanwhile
		p.Send(control.Event{Kind: control.EventWorkerExited, Worker: 2})
		next(t, news, "WorkerExited")
	}
}
