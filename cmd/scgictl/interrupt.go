package main

import "context"

// orEnd returns what wait does, or ctx's error when ctx ends before: wait is
// left behind then. It is for what nothing else can end, such as reading from
// somebody at a terminal, in a process that ends itself soon after.
func orEnd[T any](ctx context.Context, wait func() (T, error)) (v T, err error) {
	type result struct {
		v   T
		err error
	}
	ended := make(chan result, 1)
	go func() {
		v, err := wait()
		ended <- result{v, err}
	}()
	select {
	case r := <-ended:
		return r.v, r.err
	case <-ctx.Done():
		return v, ctx.Err()
	}
}
