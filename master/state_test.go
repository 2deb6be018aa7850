package master

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// fullLoop has something of every kind in it, and another value in each field
// of its drawers, with descriptors that are only numbers.
func fullLoop(t testing.TB) *loop {
	t.Helper()
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	l := newLoop(newHost(Host{Name: "full", PID: os.Getpid(), Version: "1", Build: "abc", LogLevel: level, Log: slog.New(slog.DiscardHandler)}))
	l.host.began, l.host.since = time.Now().Add(-time.Hour), time.Now().Add(-2*time.Hour).Round(0)
	next := 1000
	for _, drawer := range drawers(l) {
		fill(reflect.ValueOf(drawer).Elem(), &next)
	}
	l.conns.LastID, l.workers.LastID = 0, 0 // they count on from here
	var err error
	if l.conns.hash, err = newHeadHash(nil); err != nil {
		t.Fatal(err)
	}
	gens := []*generation{fullGeneration(1, &next), fullGeneration(2, &next), fullGeneration(3, &next)}
	l.gens.current, l.gens.previous, l.gens.LastNumber = gens[2], gens[1], 4
	l.limits.Now = control.Limits{MinWorkers: 1, MaxWorkers: 3, MinIdle: 1, MaxIdle: 2}
	l.limits.Configured = control.Limits{MinWorkers: 1, MaxWorkers: 2, MinIdle: 1, MaxIdle: 2}
	l.op.Now.Kind, l.op.Now.State = control.OpUpgrade, control.OpRunning
	l.intake.listeners = []*listener{{Listener: Listener{FD: 900}}}
	fillConns(l, &next)
	fillWorkers(l, gens, &next)
	return l
}

// drawers are those that the state has whole, or in the case of connections,
// workers and generations by what they hold.
func drawers(l *loop) map[string]any {
	return map[string]any{
		"intake": &l.intake, "conns": &l.conns, "workers": &l.workers, "backoff": &l.backoff, "gens": &l.gens, "limits": &l.limits,
		"alerts": &l.alerts, "manager": &l.manager, "events": &l.events, "op": &l.op, "alarms": &l.alarms, "count": &l.count,
	}
}

// fullGeneration is one with another value in each field.
func fullGeneration(number int, next *int) *generation {
	g := &generation{}
	fill(reflect.ValueOf(&g.generationFacts).Elem(), next)
	fill(reflect.ValueOf(&g.set).Elem(), next)
	g.Number, g.Proven, g.Dir = number, number > 1, "/r\xfd"
	g.set.Limits = control.Limits{MinWorkers: 1, MaxWorkers: number, MinIdle: 1, MaxIdle: 1}
	g.set.MaxHeader = 6
	g.set.Preload = preloadApplication
	c := &g.set.Command
	c.Argv, c.Dir, c.Env = []string{"/bin/\xff", "a b"}, "/d\xfe", []string{"A=\xff\n"}
	c.Stdout, c.Stderr, c.Link, c.Page, c.Journal, c.GroupName = 0, 0, 0, 0, "", "" // filled in at each start
	return g
}

func fillConns(l *loop, next *int) {
	add := func(s connState) *conn { return fullConn(l, s, next) }
	for i, of := range []*list[conn]{&l.conns.parked, &l.conns.parked, &l.conns.waiting, &l.conns.waiting, &l.conns.ending, &l.conns.ending} {
		of.prepend(&add([]connState{parked, waiting, ending}[i/2]).place, Time(100-i))
	}
	gap := add(ending)
	l.conns.setAtRisk(gap, false)
	l.conns.remove(gap)
}

// fullConn adds a connection with another value in each field.
func fullConn(l *loop, s connState, next *int) *conn {
	c := l.conns.add(1000+len(l.conns.all), true, 0)
	id, fd := c.ID, c.FD
	fill(reflect.ValueOf(&c.connFacts).Elem(), next)
	c.ID, c.FD, c.State, c.Probe, c.AtRisk = id, fd, s, s == passed, false
	c.Slot = int(id % link.PageSlots)
	c.Hash = 1<<63 + id // more than JSON's numbers in other languages
	c.Client.set([]byte("::1"))
	c.Method.set([]byte("G\xff"))
	c.URI.set([]byte(strings.Repeat("\xfeu", 300))) // longer than is kept
	l.conns.setAtRisk(c, s != passed)
	return c
}

func fillWorkers(l *loop, gens []*generation, next *int) {
	for s := starting; s < workerStates; s++ {
		for i := range 3 {
			w := l.workers.add(gens[i], 0)
			id := w.ID
			fill(reflect.ValueOf(&w.workerFacts).Elem(), next)
			w.ID, w.State, w.Slots, w.Watched, w.Slow = id, s, 2, id%2 == 0, id%2 == 1
			w.Dir, w.Group = "/w\xfb", "/g\xfa"
			w.proc = process.Process{PID: 2000 + int(id), FD: 3000 + int(id)}
			l.workers.in[s]++
			for range i { // none, one, all of its slots
				c := fullConn(l, passed, next)
				c.worker = w
				w.conns = append(w.conns, c)
				l.conns.unconfirmed.prepend(&c.check, Time(id))
			}
			fullPlace(l, w, i)
		}
	}
}

// fullPlace puts a worker into a list that one in its state may be in; held is
// the number of connections that it holds.
func fullPlace(l *loop, w *worker, held int) {
	ws, at := &l.workers, Time(w.ID)
	switch {
	case w.State == starting:
		ws.starts.prepend(&w.timer, at)
	case w.State == gone:
		ws.awaiting.prepend(&w.timer, at)
	case w.State == retiring:
		ws.stops.prepend(&w.timer, at)
	case w.State == leaving:
		ws.terms.prepend(&w.timer, at)
	case w.State == ready && held == 0:
		ws.idle.prepend(&w.offered, at)
	case w.State == ready && held == 1:
		ws.partial.prepend(&w.offered, at)
	}
}

// fill gives every exported field in v a value of its own.
func fill(v reflect.Value, next *int) {
	*next++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*next), 0).UTC()))
		return
	case text, text16, text46:
		v.Addr().Interface().(interface{ set([]byte) }).set(fmt.Append(nil, *next))
		return
	case connState, workerState:
		v.SetUint(1)
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*next))
	case reflect.Uint64:
		v.SetUint(uint64(*next))
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *next))
	case reflect.Pointer:
		if v.Type().Elem().Kind() != reflect.Struct || v.Type().Elem().PkgPath() != reflect.TypeFor[process.Groups]().PkgPath() {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), next)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), next)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, next)
		fill(value, next)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), next)
			}
		}
	case reflect.Float64:
		v.SetFloat(float64(*next) / 1e6)
		*next++
	default:
		panic("cannot fill a " + v.Type().String())
	}
}

// remade are the fields that no state has, by type, with what the next program
// makes them of. Whoever adds a field to a drawer decides: saved, by a capital
// letter, or made again, by a line here.
var remade = map[string]string{
	"limits.old":                 "the next look",
	"limits.room":                "the next look",
	"limits.next":                "the next look",
	"intake.listeners":           "Host.Listeners",
	"intake.lastTried":           "any listener may be the next",
	"intake.turn":                "of this loop",
	"conns.all":                  "stateConns.All",
	"conns.free":                 "none are",
	"conns.open":                 "counted",
	"conns.atRisk":               "counted",
	"conns.parked":               "stateConns.Parked",
	"conns.waiting":              "stateConns.Waiting",
	"conns.ending":               "stateConns.Ending",
	"conns.unconfirmed":          "stateConns.Unconfirmed",
	"conns.hash":                 "stateConns.HeadKey",
	"conns.buf":                  "of the settings' size",
	"conn.connFacts":             "stateConns.All",
	"conn.index":                 "of this program's table",
	"conn.stamp":                 "no event of the epoll set before comes",
	"conn.watch":                 "rewatch",
	"conn.worker":                "stateWorker.Conns",
	"conn.place":                 "stateConns.Parked and others",
	"conn.check":                 "stateConns.Unconfirmed",
	"conn.look":                  "follow",
	"workers.pages":              "follow",
	"worker.page":                "remap",
	"worker.asked":               "nobody is: remap",
	"workers.all":                "stateWorkers.All",
	"workers.in":                 "counted",
	"workers.idle":               "stateWorkers.Idle",
	"workers.partial":            "stateWorkers.Partial",
	"workers.starts":             "stateWorkers.Starts",
	"workers.stops":              "stateWorkers.Stops",
	"workers.terms":              "stateWorkers.Terms",
	"workers.awaiting":           "stateWorkers.Awaiting",
	"workers.sender":             "a buffer",
	"workers.receiver":           "a buffer",
	"worker.workerFacts":         "stateWorkers.All",
	"worker.index":               "of this program's table",
	"worker.of":                  "stateWorker.Generation",
	"worker.canary":              "no upgrade while there is one: settled",
	"worker.piped":               "no upgrade while there is one: settled",
	"worker.proc":                "stateWorker.PID, PIDFD and Group",
	"worker.conns":               "stateWorker.Conns",
	"worker.maker":               "of no use after the start",
	"worker.fork":                "no upgrade while there are any",
	"worker.makes":               "no upgrade while there are any",
	"workers.forks":              "no upgrade while there are any",
	"generation.preload":         "preload.restore; those that wait for an attempt are started again",
	"worker.offered":             "stateWorkers.Idle and Partial",
	"worker.timer":               "stateWorkers.Starts and others",
	"generations.current":        "stateGenerations.Current",
	"generations.previous":       "stateGenerations.Previous",
	"generations.canary":         "no upgrade while there is one: settled",
	"generations.roll":           "no upgrade while there is one: settled",
	"generation.set":             "stateGeneration.Settings and Command",
	"generation.generationFacts": "stateGeneration",
	"manager.told":               "told again",
	"events.subscribers":         "their connections end",
	"ops.cancel":                 "of the upgrade itself",
	"ops.handover":               "of the upgrade itself",
	"counts.Counters":            "",
	"reaper.inFlight":            "no upgrade while there are any",
	"reaper.pending":             "takeOver looks",
	"reaper.children":            "none: operations run one at a time",
	"loop.host":                  "Host",
	"loop.log":                   "Host",
	"loop.poll":                  "open",
	"loop.box":                   "open",
	"loop.record":                "Host",
	"loop.now":                   "State.Now",
	"loop.stage":                 "no upgrade of a pool that stops",
}

func TestEveryFieldOfADrawerIsSavedOrMadeAgain(t *testing.T) {
	l := fullLoop(t)
	all := drawers(l)
	for i := range reflect.TypeFor[loop]().NumField() {
		name := reflect.TypeFor[loop]().Field(i).Name
		if _, ok := all[name]; !ok && name != "reaper" && remade["loop."+name] == "" {
			t.Errorf("loop.%s is a drawer that the state has not", name)
		}
	}
	types := []any{reaper{}, conn{}, worker{}, generation{}, connFacts{}, workerFacts{}, pageFacts{}, generationFacts{}, stateCommand{}}
	for _, drawer := range all {
		types = append(types, reflect.ValueOf(drawer).Elem().Interface())
	}
	for _, x := range types {
		of := reflect.TypeOf(x)
		for i := 0; of.Kind() == reflect.Struct && i < of.NumField(); i++ {
			f := of.Field(i)
			if _, ok := remade[of.Name()+"."+f.Name]; !ok && !f.IsExported() && !f.Anonymous { // the fields of one that is embedded are saved with it
				t.Errorf("%s.%s is neither saved nor known to be made again", of.Name(), f.Name)
			}
			if f.Tag.Get("json") != "" {
				t.Errorf("%s.%s has a tag: it may not be saved", of.Name(), f.Name)
			}
		}
	}
}

func TestNothingOfTheStateIsLostOnTheWay(t *testing.T) {
	l := fullLoop(t)
	st := l.save()
	st.App = json.RawMessage(`{"x":1}`)
	st.Waiting = []string{control.OpReload}
	b, err := st.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeState(b)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "decoded", got, st)
	next := newLoop(newHost(l.host.Host))
	if err := got.load(next); err != nil {
		t.Fatal(err)
	}
	for name, drawer := range drawers(l) {
		sameFields(t, name, reflect.ValueOf(drawers(next)[name]).Elem(), reflect.ValueOf(drawer).Elem())
	}
	if next.conns.open != l.conns.open || next.conns.atRisk != l.conns.atRisk || l.conns.atRisk == 0 || next.workers.in != l.workers.in {
		t.Errorf("%d open, workers %v; want %d, %v", next.conns.open, next.workers.in, l.conns.open, l.workers.in)
	}
	next.intake.listeners = l.intake.listeners // open makes them
	again := next.save()
	// The clock has gone on, and both have gone on by the same time.
	if d := (again.Now - st.Now) - (again.Clock - st.Clock); d.Abs() > time.Second {
		t.Errorf("the loop's time is off by %v", d)
	}
	again.Now, again.Clock, again.App, again.Waiting = st.Now, st.Clock, st.App, st.Waiting
	same(t, "loaded and saved again", again, st)
	if got, want := *next.set(), *l.set(); !reflect.DeepEqual(got, want) {
		t.Errorf("the settings are\n%+v, were\n%+v", got, want)
	}
}

// sameFields compares the exported fields of two drawers, none of which may be
// zero: a field that was not filled would not be missed.
func sameFields(t *testing.T, name string, got, want reflect.Value) {
	t.Helper()
	if want.Kind() != reflect.Struct {
		if !reflect.DeepEqual(got.Interface(), want.Interface()) || want.IsZero() {
			t.Errorf("%s is %v, was %v", name, got, want)
		}
		return
	}
	for i := range want.NumField() {
		if f := want.Type().Field(i); f.IsExported() {
			if g, w := got.Field(i).Interface(), want.Field(i).Interface(); !reflect.DeepEqual(g, w) || want.Field(i).IsZero() {
				t.Errorf("%s.%s is %v, was %v", name, f.Name, g, w)
			}
		}
	}
}

// same tells the first lines in which two states differ.
func same(t *testing.T, what string, got, want *State) {
	t.Helper()
	lines := func(st *State) []string {
		b, err := json.MarshalIndent(st, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(b), "\n")
	}
	one, two := lines(got), lines(want)
	for i := range min(len(one), len(two)) {
		if one[i] != two[i] {
			from, to := max(0, i-5), i+5
			t.Errorf("%s:\n%s\nbefore:\n%s", what, strings.Join(one[from:min(to, len(one))], "\n"), strings.Join(two[from:min(to, len(two))], "\n"))
			return
		}
	}
	if len(one) != len(two) {
		t.Errorf("%s: %d lines, %d before", what, len(one), len(two))
	}
}

func TestTheMomentsOfTheLoopContinue(t *testing.T) {
	l := fullLoop(t)
	st := l.save()
	st.Clock -= time.Minute // it took so long
	next := newLoop(newHost(Host{}))
	if err := st.load(next); err != nil {
		t.Fatal(err)
	}
	if d := next.host.clock() - l.host.clock() - time.Minute; d.Abs() > time.Second {
		t.Errorf("off by %v", d)
	}
	if !next.host.since.Equal(l.host.since) {
		t.Errorf("it began at %v, want %v", next.host.since, l.host.since)
	}
}

// sealed returns a state in a memfd.
func sealed(t *testing.T, b []byte) int {
	t.Helper()
	fd, err := seal(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestAStateIsReadFromItsSealedMemoryAgainAndAgain(t *testing.T) {
	b, err := fullLoop(t).save().encode()
	if err != nil {
		t.Fatal(err)
	}
	fd := sealed(t, b)
	for range 2 {
		st, err := ReadState(fd)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := unix.Pwrite(fd, []byte("x"), 0); err == nil {
		t.Error("it can be written to")
	}
}

func TestWhatIsNoStateIsRefusedWithTheReason(t *testing.T) {
	good, err := fullLoop(t).save().encode()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) []byte {
		text := strings.Replace(string(good[stateHead:]), old, new, 1)
		if text == string(good[stateHead:]) {
			t.Fatalf("the state has no %s", old)
		}
		return appendState(nil, []byte(text))
	}
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":          {nil, "not a state of a master"},
		"something else": {[]byte(strings.Repeat("x", 1000)), "not a state of a master"},
		"cut":            {good[:len(good)-1], "bytes, not"},
		"flipped":        {flipped, "checksum"},
		"format":         {edit(`"Format":"2"`, `"Format":"1"`), `version "1" wrote it in format "1", this program reads format "2"`},
		"unknown field":  {edit(`"Now":`, `"Later":1,"Now":`), `unknown field "Later"`},
		"a lost conn":    {edit(`"ID":1,"FD":1000`, `"ID":7,"FD":1000`), "a list has 1"},
		"no such state":  {edit(`"State":"parked"`, `"State":"lost"`), `is "lost"`},
		"wrong list":     {edit(`"State":"parked"`, `"State":"ending"`), "but not where these are"},
		"twice":          {edit(`"ID":2,"FD":1001`, `"ID":1,"FD":1001`), "a connection with id 1"},
		"pid":            {edit(`"PID":2001`, `"PID":-1`), "out of range"},
		"huge buffer":    {edit(`"MaxHeader":6`, `"MaxHeader":1000000000000`), "headers of"},
		"a generation":   {edit(`"Number":1,`, `"Number":4,`), "of generation 1"},
		"the generation": {edit(`"Current":3,`, `"Current":4,`), "is missing"},
		"what waits":     {edit(`"Waiting":null`, `"Waiting":["dance"]`), "an operation of kind"},
		"limits":         {edit(`"max_workers":3`, `"max_workers":0`), "MaxWorkers"},
	} {
		st, err := ReadState(sealed(t, c.b))
		if err == nil {
			err = st.Check()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := ReadState(int(f.Fd())); err == nil || !strings.Contains(err.Error(), "not a file in memory") {
		t.Errorf("/dev/null: %v", err)
	}
}

// Whatever it is given, it does not panic and takes no memory out of
// proportion.
func FuzzState(f *testing.F) {
	full, err := json.Marshal(fullLoop(f).save())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Fuzz(func(t *testing.T, text []byte) {
		if st, err := parseState(text); err == nil {
			_ = st.Check()
		}
	})
}
