package bus

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

func TestAfterABusRestartTheNamesAreOwnedAgain(t *testing.T) {
	b := startBus(t, "session", openConfig)
	r := b.run(t, newFakePool())
	b.stop()
	<-r.errs
	b.start(t)
	b.await(t, testName)
	c := b.client(t, os.Getuid())
	if v, err := pool(c).GetProperty(poolIface + ".State"); err != nil || v.Value() != "running" {
		t.Errorf("State is %v, %v", v, err)
	}
	if err := c.Object(Base, poolPath).Call(poolIface+".Resume", 0).Err; err != nil {
		t.Errorf("Resume by %s: %v", Base, err)
	}
}

func TestNoBusIsReportedOnceAndLookedForMoreAndMoreSeldom(t *testing.T) {
	b := startBus(t, "session", openConfig)
	b.stop()
	os.Remove(filepath.Join(b.dir, "bus"))
	clock := newFakeClock()
	r := b.begin(t, newFakePool(), func(f *Front) { f.clock = clock })
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if d := <-clock.asked; d != want*time.Second {
			t.Errorf("pause of %v, want %d s", d, want)
		}
		clock.move(want * time.Second)
	}
	<-clock.asked
	if len(r.errs) != 1 {
		t.Errorf("%d errors reported, want 1", len(r.errs))
	}
	if err := <-r.errs; !strings.Contains(err.Error(), "cannot connect to the system bus") {
		t.Errorf("reported %v", err)
	}
	// It comes, goes, and the pauses begin anew.
	b.start(t)
	clock.move(time.Minute)
	b.await(t, testName)
	c := b.client(t, os.Getuid())
	if err := pool(c).Call(poolIface+".Resume", 0).Err; err != nil {
		t.Error(err)
	}
	for len(clock.asked) > 0 {
		<-clock.asked // the follower's
	}
	clock.move(steady)
	b.stop()
	<-r.errs
	if d := <-clock.asked; d != time.Second {
		t.Errorf("pause of %v after the bus was there, want 1 s", d)
	}
}

func TestRunEndsWithItsContextWhateverTheBusDoes(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	l, err := net.Listen("unix", dir+"/bus") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	f := New(Options{Pool: newFakePool(), Name: "x", Address: "unix:path=" + dir + "/bus"})
	go func() { ended <- f.Run(ctx) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run did not end")
	}
}

func TestTwoInstancesAnswerToTheirNamesAndQueueForTheCommonOne(t *testing.T) {
	b := startBus(t, "session", openConfig)
	first := b.run(t, newFakePool())
	b.run(t, newFakePool(), func(f *Front) { f.o.Name = "9lives" })
	c := b.client(t, os.Getuid())
	var queue []string
	if err := c.BusObject().Call("org.freedesktop.DBus.ListQueuedOwners", 0, Base).Store(&queue); err != nil || len(queue) != 2 {
		t.Errorf("queue %v, %v", queue, err)
	}
	for _, name := range []string{testName, "org.scgid1.app._39lives"} {
		if err := c.Object(name, poolPath).Call(poolIface+".Resume", 0).Err; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	first.stop()
	if err := c.Object(Base, poolPath).Call(poolIface+".Resume", 0).Err; err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

func TestANameInUseIsReportedAndWaitedFor(t *testing.T) {
	b := startBus(t, "session", openConfig)
	first := b.run(t, newFakePool())
	second := b.begin(t, newFakePool())
	if err := <-second.errs; !strings.Contains(err.Error(), testName+" is in use by another process") {
		t.Errorf("reported %v", err)
	}
	first.stop()
	b.await(t, testName)
	if err := pool(b.client(t, os.Getuid())).Call(poolIface+".Resume", 0).Err; err != nil {
		t.Error(err)
	}
}

func TestAStopIsReportedThoughTheFrontEndsWithIt(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	p.Report = control.StopReport{Finished: 5}
	release := p.Hold()
	r := b.run(t, p)
	c := b.client(t, os.Getuid())
	call := pool(c).Go(poolIface+".Stop", 0, nil, false, uint64(0))
	<-p.Held
	r.cancel()
	for { // until it takes no more calls
		if _, err := pool(c).GetProperty(poolIface + ".State"); err != nil {
			break
		}
	}
	release()
	<-call.Done
	if call.Err != nil || call.Body[0] != uint64(5) {
		t.Errorf("%v, %v", call.Body, call.Err)
	}
}

func TestMoreCallsThanBoundedAreRefusedAndNothingLeaks(t *testing.T) {
	b := startBus(t, "session", openConfig)
	c := b.client(t, os.Getuid())
	if err := c.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
	t.Run("calls", func(t *testing.T) {
		checkLeaks(t)
		p := newFakePool()
		release := p.Hold()
		r := b.run(t, p)
		done := make(chan *dbus.Call, 100)
		for range callsMax {
			pool(c).Go(poolIface+".Resume", 0, done)
		}
		for range callsMax {
			<-p.Held
		}
		if err := pool(c).Call(poolIface+".Resume", 0).Err; errorName(err) != errLimits {
			t.Errorf("one more: %v", err)
		}
		release()
		for range callsMax {
			if call := <-done; call.Err != nil {
				t.Error(call.Err)
			}
		}
		if err := pool(c).Call(poolIface+".Resume", 0).Err; err != nil {
			t.Errorf("after that: %v", err)
		}
		r.stop()
	})
}

// rawCall encodes a call by hand, for what godbus does not send.
func rawCall(serial uint32, signature string, body []byte) []byte {
	var h []byte
	align := func(n int) {
		for len(h)%n != 0 {
			h = append(h, 0)
		}
	}
	field := func(code byte, sig, value string) {
		align(8)
		h = append(h, code, 1, sig[0], 0)
		if sig == "g" {
			h = append(h, byte(len(value)))
		} else {
			h = binary.LittleEndian.AppendUint32(h, uint32(len(value)))
		}
		h = append(append(h, value...), 0)
	}
	field(1, "o", string(poolPath))
	field(2, "s", poolIface)
	field(3, "s", "Resume")
	field(6, "s", testName)
	field(8, "g", signature)
	fields := len(h)
	align(8)
	msg := []byte{'l', typeCall, 0, 1}
	for _, n := range []int{len(body), int(serial), fields} {
		msg = binary.LittleEndian.AppendUint32(msg, uint32(n))
	}
	return append(append(msg, h...), body...)
}

func TestHostileMessagesDoNotDisturbTheConnection(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	r := b.run(t, p)
	bad := map[string][]byte{
		// A dictionary of signatures, which godbus cannot decode: {"s": "x"}.
		"a{gs}": append([]byte{13, 0, 0, 0, 0, 0, 0, 0, 1, 's', 0, 0, 1, 0, 0, 0}, 'x', 0)[:18],
		"ay":    append(binary.LittleEndian.AppendUint32(nil, 8<<20), make([]byte, 8<<20)...),
		"v":     {5, 'a', '{', 'g', 's', '}', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"h":     {7, 0, 0, 0},
	}
	bad["a{gs}"][0] = 10
	for signature, body := range bad {
		t.Run(signature, func(t *testing.T) {
			raw, err := net.Dial("unix", b.dir+"/bus")
			if err != nil {
				t.Fatal(err)
			}
			wire := newWire(raw, nil)
			c, err := dbus.NewConn(wire)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(os.Getuid()))}); err != nil {
				t.Fatal(err)
			}
			if err := c.Hello(); err != nil {
				t.Fatal(err)
			}
			got := make(chan *dbus.Message, 10)
			c.Eavesdrop(got)
			if _, err := wire.Write(rawCall(1000, signature, body)); err != nil {
				t.Fatal(err)
			}
			for m := range got {
				if m.Type != dbus.TypeError {
					continue
				}
				if name := m.Headers[dbus.FieldErrorName].Value(); name != errInvalidArgs {
					t.Errorf("answer %v %v", name, m.Body)
				}
				break
			}
		})
	}
	if err := pool(b.client(t, os.Getuid())).Call(poolIface+".Resume", 0).Err; err != nil {
		t.Error(err)
	}
	if got := p.Made(); len(got) != 1 {
		t.Errorf("orders %v, want the last", got)
	}
	if len(r.errs) > 0 {
		t.Errorf("reported %v", <-r.errs)
	}
}

func TestTheBusSendsNoDescriptors(t *testing.T) {
	b := startBus(t, "session", openConfig)
	b.run(t, newFakePool())
	c, err := dbus.Connect(b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.SupportsUnixFDs() {
		t.Fatal("the client cannot send descriptors")
	}
	before := openFDs(t)
	for range 10 {
		if err := pool(c).Call(poolIface+".Resume", 0, dbus.UnixFD(0)).Err; err == nil {
			t.Error("a descriptor was taken")
		}
	}
	if after := openFDs(t); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

func TestAConnectionThatEndsInAMessageIsNoPanic(t *testing.T) {
	whole := rawCall(1, "s", []byte{1, 0, 0, 0, 'x', 0})
	for n := range len(whole) + 1 {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(whole[:n])
			theirs.Close()
		}()
		w := newWire(ours, nil)
		w.framed = true
		if _, err := dbus.DecodeMessage(w); (err == nil) != (n == len(whole)) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
		ours.Close()
	}
}

// fromBus says whether the bus itself is the sender of a message.
func fromBus(msg []byte) bool {
	order, _ := orderOf(msg[0])
	h, _ := parseHeader(msg, order)
	return h.sender == busSender
}

// What a peer of the pool, such as polkit's, could answer to crash it.
func TestRepliesOfOddTypesDoNotPass(t *testing.T) {
	for signature, pass := range map[string]bool{"": true, "s": true, "uu": true, polkitReply: true, "a{gs}": false, "v": false, "ay": false, "a{sv}": false} {
		msg := rawCall(1, signature, nil)
		msg[1] = typeReply
		if got := passes(msg, binary.LittleEndian, nil); got != pass {
			t.Errorf("a reply of type %q passes: %v", signature, got)
		}
	}
}

// FuzzWire: what passes is bounded, and godbus decodes it, or says that it does
// not, without a panic.
func FuzzWire(f *testing.F) {
	f.Add(rawCall(1, "s", []byte{1, 0, 0, 0, 'x', 0}))
	f.Add(rawCall(1, "ssv", []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 's', 0}))
	f.Add(rawCall(1, "a{gs}", nil))
	reply := rawCall(1, "a{gs}", append([]byte{10, 0, 0, 0, 0, 0, 0, 0, 1, 's', 0, 0, 1, 0, 0, 0}, 'x', 0))
	reply[1] = typeReply
	f.Add(reply)
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(data)
			theirs.Close()
		}()
		w := newWire(ours, func(string, uint32) {})
		w.framed = true
		defer ours.Close()
		for {
			msg, err := w.next()
			if err != nil {
				return
			}
			if len(msg) > 16+callMax+replyMax {
				t.Fatalf("%d bytes passed", len(msg))
			}
			if len(msg) > 0 && !fromBus(msg) {
				_, _ = dbus.DecodeMessage(bytes.NewReader(msg))
			}
		}
	})
}
