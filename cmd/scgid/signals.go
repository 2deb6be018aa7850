package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/scgid/scgid/master"
)

// handled are the signals that steer the master, and SIGPIPE: a log that
// nobody reads any more must not end the server. SIGPIPE is handled, and not
// ignored, because workers would inherit that.
var handled = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE}

// captureSignals has signals delivered from here on.
func captureSignals() chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, handled...)
	return signals
}

// ignoreSignals has the kernel drop the signals that are handled. This holds
// over execve(2), unlike a handler: without it a signal would end the process
// before the next program handles it.
func ignoreSignals() { signal.Ignore(handled...) }

// watchSignals has signals steer the master until the function that it returns
// is called. With hangup SIGHUP means that the terminal has gone.
func watchSignals(m *master.Master, signals chan os.Signal, hangup bool, log logger) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		interrupts := 0
		for {
			var s os.Signal
			select {
			case s = <-signals:
			case <-stopped:
				return
			}
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
				if hangup {
					log.Info("the terminal has gone: finishing what was accepted")
					m.Finish()
					break
				}
				go m.Reload(context.Background()) // the log says what comes of it
			}
			if f, ok := s.(fence); ok {
				close(f)
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(stopped) // not signals: an upgrade may still fence them
	}
}

// A fence is put behind signals to see when they have been acted upon.
type fence chan struct{}

func (fence) Signal()        {}
func (fence) String() string { return "fence" }

// fenceSignals has the kernel drop signals until unfenceSignals, and waits a
// moment for those that came before.
func fenceSignals(signals chan os.Signal) {
	ignoreSignals()
	// Stop waits until the runtime has delivered what it holds, of whatever
	// signal.
	any := make(chan os.Signal, 1)
	signal.Notify(any, syscall.SIGWINCH)
	signal.Stop(any)
	limit := time.After(100 * time.Millisecond)
	f := make(fence)
	select {
	case signals <- f:
	case <-limit:
		return
	}
	select {
	case <-f:
	case <-limit:
	}
}

func unfenceSignals(signals chan os.Signal) { signal.Notify(signals, handled...) }
