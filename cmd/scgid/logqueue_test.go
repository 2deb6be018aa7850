package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// A slow is a handler that writes nothing until it is let.
type slow struct {
	*slog.TextHandler
	let <-chan struct{}
}

func (h slow) Handle(ctx context.Context, r slog.Record) error {
	<-h.let
	return h.TextHandler.Handle(ctx, r)
}

// slowLog is a queue in front of a log that nobody reads until read is called.
func slowLog() (h queued, text *logBuffer, read func()) {
	let := make(chan struct{})
	text = &logBuffer{}
	plain := slog.NewTextHandler(text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return newQueue(slow{plain, let}), text, sync.OnceFunc(func() { close(let) })
}

func TestALogThatNobodyReadsStopsNobodyAndLosesALineForALine(t *testing.T) {
	h, text, read := slowLog()
	log := slog.New(h)
	const n = 3 * logRoom
	var all sync.WaitGroup
	for from := range 3 { // as the loop, the control socket and the bus
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range n / 3 {
				log.Info("line", "from", from, "i", i)
			}
		}()
	}
	all.Wait()
	dropped := h.Dropped()
	if dropped < n-logRoom-1 || dropped > n-logRoom {
		t.Errorf("%d of %d lines dropped, with room for %d", dropped, n, logRoom)
	}
	if began := time.Now(); h.Flush(20*time.Millisecond) || time.Since(began) < 20*time.Millisecond {
		t.Error("what nobody reads is flushed")
	}
	read()
	if !h.Flush(10 * time.Second) {
		t.Fatal("what is read is not flushed")
	}
	written := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(written) != int(n-dropped)+1 {
		t.Errorf("%d lines and %d dropped, of %d", len(written), dropped, n)
	}
	if want := fmt.Sprintf(`level=WARN msg="log lines were dropped because writing them took too long" lines=%d`, dropped); written[1] != want {
		t.Errorf("the next line but one is %s, want %s", written[1], want)
	}
	if h.Dropped() != dropped {
		t.Errorf("%d dropped, then %d", dropped, h.Dropped())
	}
}

func TestLinesOfRequestsLeaveRoomForOthers(t *testing.T) {
	h, text, read := slowLog()
	log := slog.New(h)
	for range 2 * logRoom {
		log.LogAttrs(t.Context(), slog.LevelInfo, "", slog.Any("access", visit("/x")))
	}
	dropped := h.Dropped()
	if dropped < 2*logRoom-requestRoom-1 {
		t.Errorf("%d dropped", dropped)
	}
	for range logRoom - requestRoom {
		log.Error("there is room")
	}
	read()
	if !h.Flush(10 * time.Second) {
		t.Fatal("not flushed")
	}
	if n := strings.Count(text.String(), "there is room"); n != logRoom-requestRoom || h.Dropped() != dropped {
		t.Errorf("%d lines, %d dropped besides", n, h.Dropped()-dropped)
	}
}

// A late is a value that must not be resolved by who logs it.
type late struct{ by chan string }

func (l late) LogValue() slog.Value { return slog.StringValue(<-l.by) }

func TestTheQueueResolvesValuesNotItsCallers(t *testing.T) {
	h, text, read := slowLog()
	read()
	by := make(chan string)
	slog.New(h).Info("x", "value", late{by})
	by <- "later" // only now: nobody has waited for it
	if !h.Flush(10*time.Second) || text.String() != "level=INFO msg=x value=later\n" {
		t.Errorf("got %q", text)
	}
}

func TestTheQueueKeepsWhatALoggerHas(t *testing.T) {
	h, text, read := slowLog()
	read()
	log := slog.New(h).With("a", 1).WithGroup("g").With("b", 2)
	log.Debug("not wanted")
	log.Info("x", "c", 3)
	slog.New(h).Info("y")
	if !h.Flush(10*time.Second) || text.String() != "level=INFO msg=x a=1 g.b=2 g.c=3\nlevel=INFO msg=y\n" {
		t.Errorf("got %q", text)
	}
	if log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("debug is enabled")
	}
}

func TestTheNextProgramCountsOn(t *testing.T) {
	h, _, read := slowLog()
	defer read()
	log := slog.New(h)
	for range logRoom + 100 {
		log.Info("line")
	}
	if h.Flush(time.Millisecond) {
		t.Error("flushed")
	}
	next, text, read := slowLog()
	read()
	next.inherit(h.leave())
	slog.New(next).Info("line")
	if !next.Flush(10 * time.Second) {
		t.Fatal("not flushed")
	}
	if next.Dropped() != logRoom+100 || !strings.HasPrefix(text.String(), fmt.Sprintf("level=INFO msg=line\nlevel=WARN msg=\"log lines were dropped because writing them took too long\" lines=%d\n", logRoom+100)) {
		t.Errorf("%d dropped, told %q", next.Dropped(), text)
	}
}
