package main

import (
	"os/signal"
	"testing"
)

// An upgrade may be about to fence signals when the pool ends.
func TestSignalsCanBeFencedAfterTheyAreNotWatchedAnyMore(t *testing.T) {
	defer signal.Reset(handled...)
	signals := captureSignals()
	watchSignals(nil, signals, false, logger{})()
	fenceSignals(signals)
	unfenceSignals(signals)
}
