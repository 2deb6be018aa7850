// Package load sends SCGI requests to one address, or HTTP requests to a web
// server in front, as fast as it can or with a pause, and checks every reply.
//
// A Load says what to send and what to expect; Run owns its sockets and its
// threads until it returns. It shares the machine with the server it
// measures, so it is built to be cheap: one epoll loop over raw system calls,
// one request built once, nothing allocated per request. It measures no
// server (package cost does) and prints nothing.
package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scgid/scgid/worker/scgi"
)

// Bounds of a Load.
const (
	MaxClients = 16384
	MaxBody    = 4 << 30
)

// A Load is one run against one address. The zero value of a field means its
// default.
type Load struct {
	Address  string        // /path, unix:/path, @abstract, host:port
	Clients  int           // that send at the same time; default 1
	Threads  int           // that the clients are spread over; default 1
	Requests int64         // in all; 0 for no bound
	Duration time.Duration // no request starts after it; 0 for no bound
	Timeout  time.Duration // of one request, connect to end of reply; default 30 s
	Pause    time.Duration // of a client between two requests

	Method string     // default GET, or POST with a body
	URI    string     // default /
	Body   int64      // bytes sent as the request body
	Vars   []scgi.Var // added to the request, or in place of those of the same name
	HTTP   bool       // speak HTTP/1.0, which closes the connection too, instead of SCGI; without Vars

	Expect Expect

	done atomic.Int64 // requests ended so far
}

// Done counts the requests that have ended; it may be called during Run.
func (l *Load) Done() int64 { return l.done.Load() }

// Run sends the requests and returns when all have ended. The end of
// Duration lets the requests on their way finish; the end of ctx gives them a
// second, or Timeout if that is shorter. Both leave a Result that holds what
// there was. An error means that nothing was sent.
func (l *Load) Run(ctx context.Context) (*Result, error) {
	run, err := l.prepare()
	if err != nil {
		return nil, err
	}
	l.done.Store(0)
	return l.start(ctx, run)
}

// Check returns the error that Run would return before it sends anything, and
// sends nothing.
func (l *Load) Check() error {
	_, err := l.prepare()
	return err
}

func (l *Load) prepare() (*run, error) {
	if err := l.fill(); err != nil {
		return nil, err
	}
	to, err := resolve(l.Address)
	if err != nil {
		return nil, err
	}
	req, err := l.request()
	if err != nil {
		return nil, err
	}
	check, err := l.Expect.checker()
	if err != nil {
		return nil, err
	}
	check.head = l.Method == "HEAD"
	return &run{to: to, req: req, check: check, timeout: l.Timeout, pause: l.Pause,
		ended: &l.done, polite: l.Threads >= runtime.GOMAXPROCS(0)}, nil
}

// start runs the engines and adds up what they measured.
func (l *Load) start(ctx context.Context, run *run) (*Result, error) {
	run.left.Store(l.Requests)
	run.endless = l.Requests == 0
	engines := make([]*engine, l.Threads)
	for i := range engines {
		e, err := newEngine(run, share(l.Clients, l.Threads, i))
		if err != nil {
			closeAll(engines[:i])
			return nil, err
		}
		engines[i] = e
	}
	defer closeAll(engines)
	defer context.AfterFunc(ctx, func() { run.stop.Store(true) })()

	cpu := ownCPU()
	run.epoch = time.Now()
	run.until = int64(l.Duration)
	var wg sync.WaitGroup
	for _, e := range engines {
		wg.Add(1)
		go func() {
			defer wg.Done()
			e.loop()
		}()
	}
	wg.Wait()
	return l.result(engines, ownCPU()-cpu), nil
}

func closeAll(engines []*engine) {
	for _, e := range engines {
		e.close()
	}
}

// share is the part of n that falls to one of so many.
func share(n, of, i int) int { return n*(i+1)/of - n*i/of }

// fill sets the defaults and refuses what cannot be meant.
func (l *Load) fill() error {
	l.Clients = cmp.Or(l.Clients, 1)
	l.Threads = cmp.Or(l.Threads, 1)
	l.Timeout = cmp.Or(l.Timeout, 30*time.Second)
	switch {
	case l.Clients < 1 || l.Clients > MaxClients:
		return fmt.Errorf("clients: %d is not between 1 and %d", l.Clients, MaxClients)
	case l.Threads < 1 || l.Threads > l.Clients:
		return fmt.Errorf("threads: %d is not between 1 and the number of clients", l.Threads)
	case l.Requests < 0 || l.Duration < 0 || l.Pause < 0 || l.Timeout < 0:
		return errors.New("requests, duration, pause and timeout cannot be negative")
	case l.Requests == 0 && l.Duration == 0:
		return errors.New("a run needs a number of requests or a duration")
	case l.HTTP && len(l.Vars) > 0:
		return errors.New("HTTP has no variables")
	case l.Body < 0 || l.Body > MaxBody:
		return fmt.Errorf("body: %d is not between 0 and %d bytes", l.Body, int64(MaxBody))
	}
	return nil
}
