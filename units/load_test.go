package units

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A load is clients that ask all the time, each one thing after the other.
type load struct {
	t     *testing.T
	good  atomic.Int64
	quit  chan struct{}
	busy  sync.WaitGroup
	mu    sync.Mutex
	bad   []failure // guarded by mu
	ended bool
}

// A failure is a request without the answer that belongs to it.
type failure struct {
	query string
	err   error
}

// newLoad starts clients of a pool, and returns when it is answered.
func newLoad(p *pool, clients int) *load {
	p.t.Helper()
	l := &load{t: p.t, quit: make(chan struct{})}
	for c := range clients {
		l.busy.Add(1)
		go func() {
			defer l.busy.Done()
			l.client(p, c)
		}()
	}
	p.t.Cleanup(func() { l.stop() })
	l.more(clients)
	return l
}

func (l *load) client(p *pool, c int) {
	to := p.transport()
	for i := 0; ; i++ {
		select {
		case <-l.quit:
			return
		default:
		}
		path, query := "/", fmt.Sprintf("c%d-%d", c, i)
		if i%8 == 0 {
			path = "/slow"
		}
		if _, err := askOK(to, path+"?"+query); err != nil {
			l.mu.Lock()
			l.bad = append(l.bad, failure{query, err})
			l.mu.Unlock()
			time.Sleep(5 * time.Millisecond) // nobody may be there at all
			continue
		}
		l.good.Add(1)
	}
}

// more waits for n further answers.
func (l *load) more(n int) {
	l.t.Helper()
	want := l.good.Load() + int64(n)
	for end := time.Now().Add(eventLimit); l.good.Load() < want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.t.Fatalf("%d answers in all and no more; failures: %v", l.good.Load(), l.bad)
		}
	}
}

// stop ends the clients, and returns what failed.
func (l *load) stop() []failure {
	if !l.ended {
		l.ended = true
		close(l.quit)
		l.busy.Wait()
	}
	return l.bad
}
