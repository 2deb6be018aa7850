package worker

import (
	"context"
	"sync/atomic"

	"github.com/scgid/scgid/worker/scgi"
)

// A requestContext is the context of a request. Few handlers ask for its end, so
// the client is watched only from the moment when one does: by Done, by Err, or
// by making another context of it.
type requestContext struct {
	context.Context // of package context, ended by the watch and by the request's end

	vars scgi.Header
	body *body
	told atomic.Bool // the body knows that the client is to be watched
}

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} {
	c.watch()
	return c.Context.Done()
}

// Err implements context.Context. The first call looks whether the client has
// left by then.
func (c *requestContext) Err() error {
	c.watch()
	return c.Context.Err()
}

// Value implements context.Context. Package context looks this way for what it
// could end, as does context.Cause, which calls neither Done nor Err.
func (c *requestContext) Value(key any) any {
	if key == (varsKey{}) {
		return c.vars
	}
	v := c.Context.Value(key)
	if v == any(c.Context) {
		c.watch()
	}
	return v
}

func (c *requestContext) watch() {
	if !c.told.Swap(true) {
		c.body.watchClient()
	}
}
