package master

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// handOn stops the loop of r where it stands and has another master, made of
// its state, go on with the same descriptors: an upgrade without execve(2).
// between runs when neither loop does.
func (r *rig) handOn(between func()) *rig {
	t := r.t
	t.Helper()
	var st *State
	stopped, end := make(chan error), make(chan bool)
	var stop func(l *loop)
	stop = func(l *loop) {
		if l.reaper.inFlight > 0 { // its end would come to us
			r.box.post(stop)
			return
		}
		b, err := l.save().encode()
		if err == nil {
			st, err = decodeState(b)
		}
		stopped <- err
		<-end
		// Nothing of it is ours any more.
		*l = loop{host: l.host, log: l.log, poll: l.poll, box: l.box, gens: generations{current: l.gens.current}, stage: draining, events: events{subscribers: l.events.subscribers}}
		l.count.Exits = map[string]uint64{}
	}
	r.box.post(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(end) }) // after that of the next master
	if between != nil {
		between()
	}
	next := &rig{t: t, addr: r.addr, dir: r.dir, log: r.log, notes: &notes{ready: make(chan struct{})}, result: make(chan error, 1)}
	listeners := r.loop.host.Listeners
	m, err := Restore(st, Host{Name: "test", PID: st.PID, Version: "next", Build: "next", Listeners: listeners, Notify: next.notes, Log: testLog(r.log)})
	if err != nil {
		t.Fatal(err)
	}
	next.Master = m
	go func() { next.result <- m.Run() }()
	t.Cleanup(func() {
		next.Finish()
		if err := next.end(); err != nil {
			t.Error(err)
		}
		<-next.done
	})
	return next
}

func TestWhatWasAtEveryPlaceIsServedByTheNextMaster(t *testing.T) {
	both(t, "plain", fixed(3), func(t *testing.T, r *rig) {
		r.idle(3)
		before := r.workers()
		var held, lets = [3]func() string{}, [3]func(){}
		for i := range held {
			c, let := r.held([]string{"a", "b", "c"}[i])
			held[i], lets[i] = func() string { return r.want(c, "200 OK") }, let
		}
		waits := r.send("/pid")
		r.until("one waits", waitingIs(1))
		parked := r.dial()
		whole := request("/worker")
		parked.Write(whole[:10])
		r.until("one is parked", parkedIs(1))
		silent := r.dial() // nothing sent
		r.until("another is parked", parkedIs(2))
		ended := r.dial()
		ended.Write([]byte("junk"))
		r.until("one is ending", func(control.Status, Counters) bool {
			n := 0
			r.inLoop(func(l *loop) { n = l.conns.ending.len })
			return n == 1
		})
		if _, err := r.Scale(t.Context(), control.Change{MaxWorkers: ptr(7)}); err != nil {
			t.Fatal(err)
		}
		st, counts := r.now(), r.counters()

		next := r.handOn(func() {
			parked.Write(whole[10:]) // while nobody looks
			ended.Close()
		})

		got := next.now()
		if !got.Since.Equal(st.Since) || got.PID != st.PID || got.Limits.MaxWorkers != 7 || !got.Scaled || got.Build != "next" || got.Generation != st.Generation {
			t.Errorf("the status is\n%+v, was\n%+v", got, st)
		}
		if after := next.workers(); len(after) < 3 || after[0].pid != before[0].pid || after[1].pid != before[1].pid || after[2].pid != before[2].pid {
			t.Errorf("workers %+v, were %+v", after, before)
		}
		next.until("the ended one is gone", func(control.Status, Counters) bool {
			n := 0
			next.inLoop(func(l *loop) { n = l.conns.ending.len })
			return n == 0
		})
		for i := range held {
			lets[i]()
			held[i]()
		}
		next.want(waits, "200 OK")
		next.want(parked, "200 OK")
		silent.Write(request("/"))
		next.want(silent, "200 OK")
		next.get("/") // and new ones
		next.until("all are counted", func(_ control.Status, c Counters) bool { return c.Served == counts.Served+7 })
		if c := next.counters(); c.Accepted != counts.Accepted+1 || c.Malformed != 1 || c.Lost+c.Refused+c.Retried != 0 {
			t.Errorf("%+v, before %+v", c, counts)
		}
	})
}

func ptr[T any](x T) *T { return &x }

// The pidfd of a worker that has died meanwhile is readable at once.
func TestWhatAWorkerThatDiedMeanwhileHadNotReadIsServed(t *testing.T) {
	for _, kind := range []string{"plain", "hold"} {
		t.Run(kind, func(t *testing.T) {
			checkFDs(t)
			r, odd, held := beginOnce(t, kind)
			note := filepath.Join(r.dir, "note")
			if kind == "plain" {
				r.signal(odd, unix.SIGSTOP) // it receives nothing
			}
			c := r.send("/note", "NOTE", note, "KEY", "a")
			r.until("passed", func(s control.Status, _ Counters) bool { return s.Workers.Busy == 1 })
			if kind == "hold" {
				r.file(held) // received and not read: what has to be told by the hash
			}
			next := r.handOn(func() { r.signal(odd, unix.SIGKILL) })
			next.want(c, "200 OK")
			next.executed(note, "a", 1)
			if c := next.counters(); c.Retried != 1 || c.Lost != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// Deadlines that were set before hold after.
func TestDeadlinesHoldOverTheHandover(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) {
		oneWorker(s)
		s.QueueMax = 10
		s.QueueTimeout = time.Hour
		s.HeaderTimeout = 2 * time.Hour
	})
	r.idle(1)
	c, let := r.held("a")
	waits, parked := r.send("/"), r.dial()
	parked.Write([]byte("9"))
	r.until("one waits", waitingIs(1))
	r.until("one is parked", parkedIs(1))
	if err := r.Pause(t.Context(), 3*time.Hour); err != nil {
		t.Fatal(err)
	}
	r.skip(30 * time.Minute)
	next := r.handOn(nil)
	if got := next.now(); got.State != control.Paused || got.ResumesIn < 2.4*3600 || got.ResumesIn > 2.6*3600 {
		t.Errorf("%s, resumes in %v s", got.State, got.ResumesIn)
	}
	next.skip(31 * time.Minute)
	next.want(waits, "503 Service Unavailable")
	next.skip(60 * time.Minute)
	next.want(parked, "408 Request Timeout")
	next.skip(time.Hour)
	next.until("it resumes", func(s control.Status, _ Counters) bool { return s.State == control.Running })
	let()
	next.want(c, "200 OK")
}

func TestANextMasterTellsTheServiceManagerAgain(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	<-r.notes.ready
	next := r.handOn(nil)
	<-next.notes.ready
	next.until("status is said", func(control.Status, Counters) bool { return len(next.notes.all()) >= 2 })
}

// The next program may have no watchdog any more: it must not feed one then.
func TestAWatchdogAlarmEndsWithTheWatchdog(t *testing.T) {
	l := newLoop(newHost(Host{Notify: &notes{}}))
	l.gens.current = l.gens.add(settings("plain"))
	l.alarms[watchdogDue] = 5
	l.takeOver(&State{})
	if at := l.alarms[watchdogDue]; at != 0 {
		t.Errorf("it is fed at %v", at)
	}
}
