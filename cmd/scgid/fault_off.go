//go:build !scgid_fault

package main

import "github.com/scgid/scgid/master"

// faulty is nothing, but in a build for tests of what becomes of a pool whose
// master hangs; see fault_on.go.
func faulty(n master.Notifier) master.Notifier { return n }
