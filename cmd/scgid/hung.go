package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/scgid/scgid/master"
)

const (
	exitHung  = 3 // the loop gave no sign of life
	aliveIn   = time.Second
	stacksMax = 1 << 20
)

// finish begins the orderly exit. SIGTERM is also what the service manager's
// watchdog sends, when the loop has stopped feeding it: a loop that gives no
// sign of life cannot stop in order, so the process shows all goroutines, for a
// bug report, and ends. The workers continue until they have finished what they
// hold.
func finish(m *master.Master) {
	m.Finish()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), aliveIn)
		defer cancel()
		if _, err := m.Counters(ctx); err == nil || ctx.Err() == nil {
			return
		}
		stacks := make([]byte, stacksMax)
		stacks = stacks[:runtime.Stack(stacks, true)]
		say(fmt.Sprintf("scgid: the loop gave no sign of life within %v, leaving; all goroutines:\n%s\n", aliveIn, stacks))
		os.Exit(exitHung)
	}()
}
