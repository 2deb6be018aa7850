package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/scgid/scgid/master"
)

// steering are the signals that steer the master.
var steering = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}

// catchSignals has signals delivered from here on.
func catchSignals() chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, steering...)
	// SIGPIPE: a log that nobody reads any more must not end the server; to
	// catch it, unlike ignoring it, is not passed on to workers.
	signal.Notify(signals, syscall.SIGPIPE)
	return signals
}

// watchSignals steers the master until the function that it returns is called.
func watchSignals(m *master.Master, signals chan os.Signal, log logger) (stop func()) {
	go func() {
		interrupts := 0
		for s := range signals {
			switch s {
			case syscall.SIGTERM:
				finish(m)
			case syscall.SIGINT:
				if interrupts++; interrupts == 1 {
					log.Info("interrupted: finishing what was accepted; interrupt again to hurry")
					m.Finish()
				} else {
					m.Harden()
				}
			case syscall.SIGHUP:
				go m.Reload(context.Background()) // the log says what comes of it
			}
			if m, ok := s.(mark); ok {
				close(m)
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}

// A mark is put behind signals to see when they have been acted upon.
type mark chan struct{}

func (mark) Signal()        {}
func (mark) String() string { return "mark" }

// muteSignals has the kernel drop the signals that steer, until
// unmuteSignals, and waits a moment for those that came before. A signal that
// is ignored stays so over execve(2), until the next program asks for it.
func muteSignals(signals chan os.Signal) {
	signal.Ignore(steering...)
	// Stop waits until the runtime has delivered what it holds, of whatever
	// signal.
	any := make(chan os.Signal, 1)
	signal.Notify(any, syscall.SIGWINCH)
	signal.Stop(any)
	limit := time.After(100 * time.Millisecond)
	m := make(mark)
	select {
	case signals <- m:
	case <-limit:
		return
	}
	select {
	case <-m:
	case <-limit:
	}
}

func unmuteSignals(signals chan os.Signal) { signal.Notify(signals, steering...) }
