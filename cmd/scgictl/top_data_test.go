package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/control/metrics"
)

func TestPercentilesAreThoseOfTheTimeBetween(t *testing.T) {
	b := func(counts ...float64) (b buckets) {
		for i, n := range counts {
			b = append(b, bucket{[]float64{0.001, 0.01, 0.1, math.Inf(1)}[i], n})
		}
		return b
	}
	for _, tt := range []struct {
		old, new buckets
		want     percentiles
	}{
		{nil, nil, percentiles{}},
		{b(5, 5, 5, 5), b(5, 5, 5, 5), percentiles{}},
		{b(0, 0, 0, 0), b(100, 100, 100, 100), percentiles{500 * time.Microsecond, 950 * time.Microsecond, true}},
		{b(1000, 1000, 1000, 1000), b(1000, 1050, 1100, 1100), percentiles{10 * time.Millisecond, 91 * time.Millisecond, true}},
		{b(0, 0, 0, 0), b(0, 0, 0, 10), percentiles{100 * time.Millisecond, 100 * time.Millisecond, true}},
		{b(9, 9, 9, 9), b(1, 1, 1, 1), percentiles{}}, // they went back
	} {
		got := tt.new.since(tt.old).percentiles()
		if got.known != tt.want.known || (got.p50-tt.want.p50).Abs() > time.Microsecond || (got.p95-tt.want.p95).Abs() > time.Microsecond {
			t.Errorf("%v to %v: %v, want %v", tt.old, tt.new, got, tt.want)
		}
	}
}

// A movingPool is a memPool whose requests go on: 50 from one look to the next.
type movingPool struct {
	*memPool
	served atomic.Uint64
}

func (p *movingPool) Status(ctx context.Context) (control.Status, error) {
	st, err := p.memPool.Status(ctx)
	st.Requests.Served = 12345 + p.served.Add(50)
	return st, err
}

func (p *movingPool) Metrics(ctx context.Context) (control.Metrics, error) {
	m, err := p.memPool.Metrics(ctx)
	for range p.served.Load() {
		m.Queued.Add(200 * time.Microsecond)
		m.Service.Add(40 * time.Millisecond)
	}
	return m, err
}

func TestLooksTellRatesAndTimes(t *testing.T) {
	p := &movingPool{memPool: newPool("wiki", control.Running, 2, 0, false)}
	cl := api.NewClient(serveTop(t, p, control.Access{OwnUID: uint32(os.Getuid()), OwnFull: true, Group: -1, ReadGroup: -1}))
	m := newTop("wiki", time.Second, topLook{testScreen()})
	for i := range 2 {
		s, err := lookAt(context.Background(), cl)
		if err != nil {
			t.Fatal(err)
		}
		s.at = topEpoch.Add(time.Duration(i) * time.Second)
		m.take(topData{sample: s})
	}
	if p := m.frame.now(); p == nil || p.rate != 50 {
		t.Errorf("%+v, want 50 requests a second", p)
	}
	f := m.frame
	if f.queued.p50 < 100*time.Microsecond || f.queued.p95 > 250*time.Microsecond || f.service.p50 < 25*time.Millisecond || f.service.p95 > 50*time.Millisecond {
		t.Errorf("queue %v, service %v: not those of 200us and 40ms", f.queued, f.service)
	}
	if w := f.workers[0]; w.cpu != 0 || len(f.workers) != 3 {
		t.Errorf("%d workers, the first with %g %% CPU, want 3 and 0", len(f.workers), w.cpu)
	}
}

// Root makes sure once who answers, not at each look, and does not look where
// it cannot.
func TestTopMakesSureOnceWhoAnswers(t *testing.T) {
	p := newPool("wiki", control.Running, 1, 0, false)
	socket := serveTop(t, p, control.Access{OwnUID: uint32(os.Getuid()), OwnFull: true, Group: -1, ReadGroup: -1})
	tg := &target{Client: api.NewClient(socket), name: "wiki", unit: "scgid@wiki.service"}
	asked, wrong := 0, error(nil)
	tg.Verify(func(api.Peer) error { asked++; return wrong })
	c := &ctl{uid: 0}
	reader := c.topReader(context.Background(), tg)
	for range 3 {
		if _, err := lookAt(context.Background(), reader); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("made sure %d times in three looks, want once", asked)
	}
	wrong = control.Errorf(control.CodeFailed, "somebody else answers")
	if _, err := lookAt(context.Background(), c.topReader(context.Background(), tg)); err == nil || err.Error() != "somebody else answers" {
		t.Errorf("somebody else answers, but %v", err)
	}
}

// serveTop serves a pool on a socket and returns its path.
func serveTop(t *testing.T, p control.Pool, access control.Access) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "control.sock")
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewServer(api.Options{Pool: p, Access: access, Metrics: metrics.Handler(p.Metrics, "wiki", "1.2.3")})
	go s.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		l.Close()
	})
	return socket
}

func TestTopScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   filepath.Join("testdata", "top"),
		Setup: setUp,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"pool": startPool, "exits": exits},
	})
}
