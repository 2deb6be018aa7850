//go:build !scgid_broken

package main

// broken is nothing, but in a build for tests of programs that cannot take
// over; see broken_on.go.
func broken() error { return nil }
