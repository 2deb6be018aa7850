package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// What may be read at any time is read all the time, through reloads and
// upgrades under load. With -race the servers are built so too, and end with
// another status than 0 after a race.
func TestReadersThroughReloadsAndUpgradesSeeNoRace(t *testing.T) {
	address := privateBus(t)
	u := startUpgradable(t, nil, "--set", "Control.Bus=session", "--set", "Pool.MinWorkers=2", "--set", "Pool.MaxWorkers=2")
	u.allReady(2)
	read := readAll(t, u, address)
	l := startTraffic(u.addr, 8)
	rounds := 1
	if soak() > 1 {
		rounds = 2 * soak()
	}
	for i := range rounds {
		for range 5 {
			if err := u.c.Call(t.Context(), "reload", nil, nil); err != nil {
				t.Fatalf("reload: %v", err)
			}
		}
		u.install([]string{"two", "one"}[i%2])
		if op, _ := u.upgrade(); op.State != control.OpDone {
			t.Fatalf("upgrade: %+v", op)
		}
	}
	looks := read.end()
	l.judge(t, l.end(t, u.journal))
	for key, why := range l.failed {
		t.Errorf("%s failed: %s", key, why)
	}
	for what, n := range looks {
		if n == 0 {
			t.Errorf("%s was never read", what)
		}
	}
	t.Logf("%d requests, %d failed, generation %d; read %v", len(l.good)+len(l.failed), len(l.failed), u.now().Generation, looks)
	u.stop()
	if strings.Contains(u.log.String(), "DATA RACE") {
		t.Errorf("the log tells of a race")
	}
}

// stateReaders read until end.
type stateReaders struct {
	stop atomic.Bool
	done sync.WaitGroup
	mu   sync.Mutex
	n    map[string]int // by what was read; guarded by mu
}

// readAll reads the log level, status, metrics and the bus's properties. A read
// may fail while a program takes over.
func readAll(t *testing.T, u *upgradable, bus string) *stateReaders {
	r := &stateReaders{n: map[string]int{"log level": 0, "status": 0, "metrics": 0, "properties": 0}}
	ctx := context.Background()
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", u.c.Socket())
		}}}
	r.read("log level", func() error { return u.c.Call(ctx, "log-level", nil, nil) })
	r.read("status", func() error { _, err := u.c.Status(ctx); return err })
	r.read("metrics", func() error {
		res, err := web.Get("http://pool/metrics")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return err
	})
	conn, err := dbus.Connect(bus)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	pool := conn.Object("org.scgid1.app.test", "/org/scgid1/pool")
	r.read("properties", func() error {
		var all map[string]dbus.Variant
		return pool.Call("org.freedesktop.DBus.Properties.GetAll", 0, "org.scgid1.Pool").Store(&all)
	})
	t.Cleanup(func() { r.end() })
	return r
}

func (r *stateReaders) read(what string, once func() error) {
	r.done.Add(1)
	go func() {
		defer r.done.Done()
		for !r.stop.Load() {
			if once() == nil {
				r.mu.Lock()
				r.n[what]++
				r.mu.Unlock()
			}
		}
	}()
}

// end returns how often each was read.
func (r *stateReaders) end() map[string]int {
	r.stop.Store(true)
	r.done.Wait()
	return r.n
}
