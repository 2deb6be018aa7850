package master

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// Reload reads the configuration again and replaces all workers; see
// control.Pool.
func (m *Master) Reload(ctx context.Context) (control.Operation, error) {
	return m.operate(ctx, control.OpReload, func(op *operation) error {
		set, notes, err := op.reread()
		if err != nil {
			return err
		}
		return op.replace(notes, func(l *loop) (*generation, error) { return l.gens.add(set), nil })
	})
}

// Rollback goes back to the generation before: its configuration, and the
// directory where it ran; see control.Pool.
func (m *Master) Rollback(ctx context.Context) (control.Operation, error) {
	return m.operate(ctx, control.OpRollback, func(op *operation) error {
		return op.replace(nil, func(l *loop) (*generation, error) {
			if l.gens.previous == nil {
				return nil, control.Errorf(control.CodeState, "there is no generation before this one").
					WithHint("there is one after a reload, until the master ends")
			}
			g := l.gens.add(l.gens.previous.set)
			g.Proven, g.Dir = l.gens.previous.Proven, l.gens.previous.Dir
			return g, nil
		})
	})
}

func (op *operation) reread() (Settings, []string, error) {
	if op.m.host.Reread == nil {
		return Settings{}, nil, fmt.Errorf("this pool has no configuration that could be read again")
	}
	if err := op.step(func(o *control.Operation) { o.Step = "reading the configuration" }); err != nil {
		return Settings{}, nil, err
	}
	return op.m.host.Reread()
}

// replace has all workers replaced by those of the generation that next makes:
// when one of it is ready, and has answered the probe, the others follow.
// Before that nothing changes.
func (op *operation) replace(notes []string, next func(*loop) (*generation, error)) error {
	var g *generation
	var w *worker
	var t *canary
	atOnce := false
	err := do(op.ctx, op.m, func(l *loop) (err error) {
		if g, err = next(l); err != nil {
			return err
		}
		// An application that does not start has nothing to lose.
		if atOnce = l.backoff.Failures > 0 && l.workers.in[ready] == 0; atOnce {
			l.adopt(g)
		}
		w = l.startCanary(g)
		t = w.canary
		l.op.Now.Notes = notes
		l.op.Now.Step = fmt.Sprintf("starting worker %d of generation %d", w.ID, g.Number)
		l.tellOperation()
		return nil
	})
	if err != nil {
		return err
	}
	if err := op.await(w, t); err != nil {
		return err
	}
	if err := op.probe(w, g); err != nil {
		t.report(err)
		_ = do(context.Background(), op.m, func(l *loop) error { l.abandonCanary(w); return nil })
		return fmt.Errorf("worker %d of generation %d did not answer Request.ProbeURI=%s as it should: %w", w.ID, g.Number, g.set.ProbeURI, err)
	}
	return op.rollOver(w, g, atOnce)
}

// rollOver lets w serve and waits until all others are replaced.
func (op *operation) rollOver(w *worker, g *generation, adopted bool) error {
	var result chan error
	err := do(op.ctx, op.m, func(l *loop) error {
		if w.State != ready || w.canary == nil {
			return control.Errorf(control.CodeFailed, "worker %d of generation %d was ready and has gone", w.ID, g.Number)
		}
		if adopted {
			l.beginRoll()
		} else {
			l.adopt(g)
		}
		l.admit(w)
		result = l.gens.roll.result
		l.log.Info("a new generation serves", "generation", g.Number, "worker", w.ID, "directory", g.Dir)
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-op.ctx.Done():
		return errStopped
	}
}

// probe has the canary answer a request before anybody else's.
func (op *operation) probe(w *worker, g *generation) error {
	uri := g.set.ProbeURI
	if uri == "" {
		return nil
	}
	if err := op.step(func(o *control.Operation) { o.Step = fmt.Sprintf("asking worker %d for %s", w.ID, uri) }); err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "probe")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		unix.Close(pair[1])
		return err
	}
	if err := do(op.ctx, op.m, func(l *loop) error { return l.passProbe(w, pair[1]) }); err != nil {
		conn.Close()
		return err
	}
	return ask200(op.ctx, conn, uri, g.set.StartTimeout)
}

// probeBody is how much of the reply to a probe is read, in bytes: closing early
// would look to the application as if its client had left.
const probeBody = 1 << 20

// ask200 sends a request on conn, which it takes, and wants a reply with 2xx
// or 3xx.
func ask200(ctx context.Context, conn net.Conn, uri string, limit time.Duration) error {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if uri[0] == '/' {
		uri = "http://localhost" + uri
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "scgid (probe)")
	to := &scgi.Transport{Dial: func(context.Context) (net.Conn, error) { return conn, nil }}
	res, err := to.RoundTrip(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, probeBody))
	res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("it answered %s", res.Status)
	}
	return nil
}
