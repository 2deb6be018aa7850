package master

import (
	"encoding/json"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/pool"
	"github.com/scgid/scgid/master/process"
	"golang.org/x/sys/unix"
)

// fullLoop has something of every kind in it, with descriptors that are only
// numbers.
func fullLoop(t testing.TB) *loop {
	t.Helper()
	hash, err := newHeadHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	gen := func(n int) *generation {
		set := Settings{
			Name: "full", PID: os.Getpid(), Version: "1", Build: "abc", LogLevel: level,
			Effective: []control.Setting{{Section: "Pool", Key: "MaxWorkers", Value: "9", Origin: "default"}},
			Limits:    control.Limits{MinWorkers: 1, MaxWorkers: n, MinIdle: 1, MaxIdle: 1}, IdleTimeout: 1, IdleExit: 2,
			Command:      process.Command{Argv: []string{"/bin/\xff", "a b"}, Dir: "/d\xfe", Env: []string{"A=\xff\n"}, NOFILE: 1, Nice: 2, OOMScoreAdjust: 3, MemoryMax: 4, TasksMax: 5},
			StartTimeout: 3, StopTimeout: 4, HeaderTimeout: 5, MaxHeader: 6, QueueMax: 7, QueueTimeout: 8, Watchdog: 9,
			AccessLog: true, Journal: true, Surge: 2, Unavailable: 3, ProbeURI: "/probe",
		}
		set.Command = baseCommand(set)
		return &generation{number: n, set: set, proven: n > 1, dir: "/r\xfd"}
	}
	gens := []*generation{gen(1), gen(2), gen(3)}
	l := &loop{
		current: gens[2], previous: gens[1], lastGeneration: 4, set: gens[2].set,
		scaled:   control.Change{MinWorkers: ptr(1), MaxWorkers: ptr(2), MinIdle: ptr(0), MaxIdle: ptr(2), Reset: true},
		grouping: true, lookAt: 20, tried: "/t\xfc",
		hash: hash, log: newLogger(slog.New(slog.DiscardHandler)), began: time.Now().Add(-time.Hour),
		listeners: []*listener{{Listener: Listener{FD: 900}}},
		failures:  1, failuresBefore: 2, retryAt: 3, lastReady: 4, lastFailure: "no\tmodule", ramp: pool.Ramp{Batch: 5, Next: 6},
		quietSince: 7, busyUntil: 8, readyAt: 10,
		configured: control.Limits{MinWorkers: 1, MaxWorkers: 2, MinIdle: 1, MaxIdle: 2}, paused: true, resumeAt: 11,
		lastEvent: 12, stateLast: control.Paused, saturatedSince: 13, relievedAt: 14, refusedTold: 15, refusedAt: 16,
		lastOperation: 4, exits: map[string]uint64{"SIGSEGV": 3},
		operation: control.Operation{ID: 4, Kind: control.OpUpgrade, State: control.OpRunning, Step: "trying", Done: 1, Total: 2, Generation: 3,
			Began: time.Now().Round(0), Ended: time.Now().Round(0), Error: "e", Notes: []string{"n"}},
	}
	l.set.Limits.MaxIdle = 2
	t.Cleanup(l.log.close)
	l.warned.intake, l.warned.busy, l.warned.saturated, l.warned.journal, l.warned.group = 17, 18, 19, 21, 22
	number(reflect.ValueOf(&l.count).Elem())
	number(reflect.ValueOf(&l.queued).Elem())
	number(reflect.ValueOf(&l.service).Elem())
	from := &listener{Listener: Listener{Unix: true}}
	add := func(s connState) *conn {
		c := l.newConn(1000+len(l.conns), from)
		n := int(c.id)
		c.state, c.tries, c.size, c.seen, c.hash, c.drained = s, n, 2*n, 3*n, 1<<63+uint64(n), 4*n
		c.accepted, c.whole, c.passedAt = Time(n), Time(2*n), Time(3*n)
		l.stake(c, s != passed)
		c.client.set([]byte("::1"))
		c.method.set([]byte("G\xff"))
		c.uri.set([]byte(strings.Repeat("\xfeu", 300))) // longer than is kept
		return c
	}
	for i, of := range []*list[conn]{&l.parked, &l.parked, &l.waiting, &l.waiting, &l.ending, &l.ending} {
		of.prepend(&add([]connState{parked, waiting, ending}[i/2]).place, Time(100-i))
	}
	l.drop(add(ending)) // leaves a gap
	l.acceptAgain = 9
	for s := starting; s < workerStates; s++ {
		for i := range 3 {
			w := l.newWorker(gens[i])
			l.in[starting]--
			l.in[s]++
			w.timer.leave()
			n := int(w.id)
			w.dir, w.group = "/w\xfb", "/g\xfa"
			w.state, w.proc, w.link, w.end, w.heard = s, process.Process{PID: 2000 + n, FD: 3000 + n}, 4000+n, 5000+n, n%2 == 0
			w.slots, w.served, w.slow, w.began, w.goneSince = 2, uint64(n), n%2 == 1, Time(n), Time(n)
			w.doomed, w.failed, w.status, w.dump = "d", "f", "s", "USR2"
			for range i { // none, one, all of its slots
				c := add(passed)
				c.worker, c.probe = w, true
				w.conns = append(w.conns, c)
				l.unconfirmed.prepend(&c.check, Time(n))
			}
			switch {
			case s == starting:
				l.starts.prepend(&w.timer, Time(n))
			case s == gone:
				l.burials.prepend(&w.timer, Time(n))
			case s == retiring:
				l.stops.prepend(&w.timer, Time(n))
			case s == leaving:
				l.terms.prepend(&w.timer, Time(n))
			case s == ready && i == 0:
				l.idle.prepend(&w.offered, Time(n))
			case s == ready && i == 1:
				l.partial.prepend(&w.offered, Time(n))
			}
		}
	}
	return l
}

// number gives every number in v a value of its own.
func number(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(uint64(1000 + i))
		case reflect.Int64:
			f.SetInt(int64(1000 + i))
		case reflect.Array:
			for j := range f.Len() {
				f.Index(j).SetUint(uint64(100*i + j + 1))
			}
		}
	}
}

// unset names the fields of a state that are zero everywhere they occur: a
// test that did not fill them would not notice that they are lost.
func unset(v reflect.Value, name string, seen map[string]bool) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]() || v.Type() == reflect.TypeFor[json.RawMessage]():
		seen[name] = seen[name] || !v.IsZero()
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Tag.Get("json") != "-" && f.IsExported() {
				unset(v.Field(i), name+"."+f.Name, seen)
			}
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		seen[name] = seen[name] || v.Len() > 0
		for i := range v.Len() {
			unset(v.Index(i), name, seen)
		}
	default:
		seen[name] = seen[name] || !v.IsZero()
	}
}

func TestNothingOfTheStateIsLostOnTheWay(t *testing.T) {
	l := fullLoop(t)
	st := l.save()
	st.App = json.RawMessage(`{"x":1}`)
	st.Waiting = []string{control.OpReload}
	seen := map[string]bool{}
	unset(reflect.ValueOf(*st), "State", seen)
	for name, set := range seen {
		if !set {
			t.Errorf("%s is not tried", name)
		}
	}
	b, err := st.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeState(b)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "decoded", got, st)
	next := &loop{log: l.log}
	if err := got.load(next); err != nil {
		t.Fatal(err)
	}
	next.listeners = l.listeners // package activation makes them
	next.set.LogLevel = l.set.LogLevel
	again := next.save()
	// The clock has gone on, and both have gone on by the same time.
	if d := (again.Now - st.Now) - (again.Clock - st.Clock); d.Abs() > time.Second {
		t.Errorf("the loop's time is off by %v", d)
	}
	again.Now, again.Clock, again.App, again.Waiting = st.Now, st.Clock, st.App, st.Waiting
	same(t, "loaded and saved again", again, st)
	if next.open != l.open || next.atStake != l.atStake || l.atStake == 0 || next.in != l.in || next.alive() != l.alive() {
		t.Errorf("%d open, workers %v; want %d, %v", next.open, next.in, l.open, l.in)
	}
	// The command is saved word by word.
	if got, want := next.set.Command, l.set.Command; !reflect.DeepEqual(got, want) {
		t.Errorf("the command is\n%+v, was\n%+v", got, want)
	}
	for f := range reflect.ValueOf(l.set.Command).NumField() {
		name := reflect.TypeOf(l.set.Command).Field(f).Name
		filled := name == "Link" || name == "Journal" || name == "Groups" || name == "GroupName" // at each start
		if reflect.ValueOf(l.set.Command).Field(f).IsZero() && !filled {
			t.Errorf("%s of the command is not tried", name)
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

func TestTheMomentsOfTheLoopGoOn(t *testing.T) {
	l := fullLoop(t)
	st := l.save()
	st.Clock -= time.Minute // it took so long
	next := &loop{}
	if err := st.load(next); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(next.began) - time.Since(l.began) - time.Minute; d.Abs() > time.Second {
		t.Errorf("off by %v", d)
	}
	if !next.since().Equal(l.began) {
		t.Errorf("it began at %v, want %v", next.since(), l.began)
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
		"empty":          {nil, "no state of a master"},
		"something else": {[]byte(strings.Repeat("x", 1000)), "no state of a master"},
		"cut":            {good[:len(good)-1], "bytes, not"},
		"flipped":        {flipped, "checksum"},
		"format":         {edit(`"Format":"1"`, `"Format":"2"`), `version "1" wrote it in format "2", this program reads format "1"`},
		"unknown field":  {edit(`"Now":`, `"Later":1,"Now":`), `unknown field "Later"`},
		"a lost conn":    {edit(`"ID":1,"FD":1000`, `"ID":7,"FD":1000`), "a list has 1"},
		"no such state":  {edit(`"State":"parked"`, `"State":"lost"`), `is "lost"`},
		"wrong list":     {edit(`"State":"parked"`, `"State":"ending"`), "but not where these are"},
		"twice":          {edit(`"ID":2,"FD":1001`, `"ID":1,"FD":1001`), "a connection with id 1"},
		"pid":            {edit(`"PID":2001`, `"PID":-1`), "out of range"},
		"huge buffer":    {edit(`"MaxHeader":6`, `"MaxHeader":1000000000000`), "headers of"},
		"a generation":   {edit(`"Number":1,`, `"Number":4,`), "is of generation 1"},
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
	if _, err := ReadState(int(f.Fd())); err == nil || !strings.Contains(err.Error(), "no sealed memory") {
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
