// Command scgibench sends SCGI requests to an address, checks the replies and
// says how fast they came.
//
// It owns its command line and its output; package load does the work and
// package cost measures the server. It speaks no HTTP and balances nothing.
package main

import (
	"fmt"
	"os"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // at least one request failed, or the measurement did
	exitUsage  = 2
)

func main() {
	var b bench
	err := b.command().Execute()
	switch {
	case err != nil && b.running:
		fmt.Fprintf(os.Stderr, "scgibench: %v\n", err)
		os.Exit(exitFailed)
	case err != nil:
		fmt.Fprintf(os.Stderr, "scgibench: %v\nscgibench: hint: see scgibench --help\n", err)
		os.Exit(exitUsage)
	case b.failed:
		os.Exit(exitFailed)
	}
	os.Exit(exitOK)
}
