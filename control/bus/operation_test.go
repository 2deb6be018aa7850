package bus

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// changedTo waits until a property of the pool is told to be value.
func changedTo(t *testing.T, news chan *dbus.Signal, name string, value any) {
	t.Helper()
	for {
		s := next(t, news, "PropertiesChanged")
		if v, ok := s.Body[1].(map[string]dbus.Variant)[name]; ok && s.Path == poolPath {
			if v.Value() != value {
				t.Errorf("%s changed to %v, want %v", name, v, value)
			}
			return
		}
	}
}

func TestAReloadIsToldFromItsBeginningToItsEnd(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	release := p.Hold()
	clock := newFakeClock()
	b.run(t, p, func(f *Front) { f.clock = clock })
	c := b.client(t, os.Getuid())
	news := signals(t, c)
	done := pool(c).Go(poolIface+".Reload", 0, make(chan *dbus.Call, 1)).Done
	<-p.Held
	changedTo(t, news, "Operation", "reload: starting worker 9")
	release()
	if s := next(t, news, "ReloadFinished"); s.Path != poolPath || !reflect.DeepEqual(s.Body, []any{"reload", true, uint32(3), ""}) {
		t.Errorf("finished: %v", s)
	}
	if call := <-done; call.Err != nil || call.Body[0] != uint32(3) {
		t.Errorf("Reload = %v, %v", call.Body, call.Err)
	}
	clock.move(time.Second)
	changedTo(t, news, "Generation", uint32(3))
	if v, err := pool(c).GetProperty(poolIface + ".Operation"); err != nil || v.Value() != "" {
		t.Errorf("Operation is %v, %v", v, err)
	}
}

func TestAFailedReloadGivesItsCallerTheWholeReason(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	p.Reason = errors.New("worker 9 exited; it wrote last:\n  password=secret")
	b.run(t, p)
	c := b.client(t, os.Getuid())
	news := signals(t, c)
	err := pool(c).Call(poolIface+".Reload", 0).Err
	if errorName(err) != "org.scgid1.Error.Failed" || err.Error() != "cannot reload: worker 9 exited; it wrote last:\n  password=secret" {
		t.Errorf("Reload: %v", err)
	}
	// Everybody else hears why, but not what the application said.
	if s := next(t, news, "ReloadFinished"); !reflect.DeepEqual(s.Body, []any{"reload", false, uint32(2), "worker 9 exited; it wrote last:"}) {
		t.Errorf("finished: %v", s)
	}
}

// An upgrade ends in a process that is not on the bus yet, and events can be
// missed.
func TestEveryEndOfAnOperationIsToldOnce(t *testing.T) {
	b := startBus(t, "session", openConfig)
	c := b.client(t, os.Getuid())
	news := subscribe(t, c)
	p := newFakePool()
	end := func(id uint64, kind string, ago time.Duration) *control.Operation {
		now := time.Now()
		return &control.Operation{ID: id, Kind: kind, State: control.OpDone, Generation: 2, Began: now.Add(-ago - time.Second), Ended: now.Add(-ago)}
	}
	p.St.Operation = end(4, control.OpUpgrade, 0)
	clock := newFakeClock()
	clock.now = time.Now()
	r := b.run(t, p, func(f *Front) { f.clock = clock })
	read(t, c)
	if s := next(t, news, "ReloadFinished"); s.Body[0] != "upgrade" || s.Body[1] != true {
		t.Errorf("after an upgrade: %v", s)
	}
	p.Send(control.Event{Kind: control.EventOperation, Operation: p.St.Operation}) // that again
	p.Lock()
	p.St.Operation = end(5, control.OpRollback, 0)
	p.Unlock()
	p.Send(control.Event{Kind: control.EventMissed, Count: 3})
	if s := next(t, news, "ReloadFinished"); s.Body[0] != "rollback" {
		t.Errorf("after missed events: %v", s)
	}
	r.stop()

	// What is long over is no news, whoever starts.
	p.St.Operation = end(6, control.OpReload, 2*time.Minute)
	b.run(t, p, func(f *Front) { f.clock = clock })
	read(t, c)
	p.Exit(1, "x")
	for s := range news {
		if strings.HasSuffix(s.Name, ".ReloadFinished") {
			t.Errorf("told twice, or too late: %v", s)
		}
		if strings.HasSuffix(s.Name, ".WorkerExited") {
			break
		}
	}
}

func TestCallsThatWaitForOperationsLeaveRoomForOthers(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	release := p.Hold()
	b.run(t, p)
	c := b.client(t, os.Getuid())
	done := make(chan *dbus.Call, 100)
	for range waitingMax {
		pool(c).Go(poolIface+".Reload", 0, done)
	}
	for range waitingMax {
		<-p.Held
	}
	if err := pool(c).Call(poolIface+".Rollback", 0).Err; errorName(err) != errLimits {
		t.Errorf("one more: %v", err)
	}
	if v, err := pool(c).GetProperty(poolIface + ".State"); err != nil || v.Value() != control.Running {
		t.Errorf("State is %v, %v", v, err)
	}
	release()
	for range waitingMax {
		if call := <-done; call.Err != nil {
			t.Error(call.Err)
		}
	}
}
