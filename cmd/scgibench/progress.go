package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress shows how far the run has come, once a second from the second
// second on, if standard error is a terminal: a file or a pipe has only the
// result. The caller calls done before it prints anything else.
func (b *bench) progress() (done func()) {
	if !isTerminal(os.Stderr) {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	begin, tick := time.Now(), time.NewTicker(time.Second)
	go func() {
		defer close(gone)
		b.show(os.Stderr, begin, tick.C, quit)
	}()
	return func() {
		tick.Stop()
		close(quit)
		<-gone
	}
}

// show keeps one line of progress on the terminal w, and leaves none there.
func (b *bench) show(w io.Writer, begin time.Time, tick <-chan time.Time, quit <-chan struct{}) {
	const clearLine = "\r\x1b[K"
	shown := false
	for {
		select {
		case <-quit:
			if shown {
				fmt.Fprint(w, clearLine)
			}
			return
		case now := <-tick:
			// A short run ends before anyone would look.
			if so := now.Sub(begin); so > 1900*time.Millisecond {
				n := b.load.Done()
				fmt.Fprintf(w, clearLine+"%.0f s: %d requests, %.0f/s", so.Seconds(), n, float64(n)/so.Seconds())
				shown = true
			}
		}
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
