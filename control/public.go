package control

import (
	"context"
	"sync"
	"time"
)

// PublicStatus is what everybody may know of a pool.
type PublicStatus struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// publicAge is how old it may be.
const publicAge = 250 * time.Millisecond

// A PublicReader reads the public status of one pool. It asks the pool seldom,
// however often it is called: callers that may know no more must not keep the
// master busy. It may be used from any goroutine.
type PublicReader struct {
	mu     sync.Mutex
	at     time.Time    // guarded by mu; zero when nothing was read
	cached PublicStatus // guarded by mu
}

// Read returns the public status of p, which is the same in each call.
func (r *PublicReader) Read(ctx context.Context, p Pool) (PublicStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < publicAge {
		return r.cached, nil
	}
	st, err := p.Status(ctx)
	if err != nil {
		return PublicStatus{}, err
	}
	r.at, r.cached = time.Now(), PublicStatus{st.Name, st.State}
	return r.cached, nil
}
