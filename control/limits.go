// Package control is the vocabulary in which a pool is observed and steered:
// the words that the configuration, the control socket and the bus share.
//
// It owns nothing at run time and imports no other room of scgid; the state it
// names belongs to the master.
package control

import "fmt"

// WorkersMax is the highest number of workers any limit may name.
const WorkersMax = 4096

// Limits holds the size of a pool: how many workers there are at least and at
// most, and how many of them may be idle. The pool is never below MinWorkers
// nor above MaxWorkers, whatever the idle limits say.
type Limits struct {
	MinWorkers int `json:"min_workers"` // kept even when idle; 0 to WorkersMax
	MaxWorkers int `json:"max_workers"` // never exceeded, but for a reload's surge; 1 to WorkersMax
	MinIdle    int `json:"min_idle"`    // kept ready beyond the busy ones
	MaxIdle    int `json:"max_idle"`    // more idle ones than this are retired in time

	MaxBusy BusyLimit `json:"max_busy"` // requests at workers at the same time
}

// LimitError says which limit is wrong and why. Other is empty when the value
// is out of range by itself, else the key that it contradicts.
type LimitError struct {
	Key        string // as written in a configuration file, e.g. "MinWorkers"
	Value      int
	Other      string // e.g. "MaxWorkers"
	OtherValue int
	Min, Max   int // the range of Key, when Other is empty
}

func (e *LimitError) Error() string {
	if e.Other == "" {
		return fmt.Sprintf("%s (%d) is not in the range %d to %d", e.Key, e.Value, e.Min, e.Max)
	}
	return fmt.Sprintf("%s (%d) is greater than %s (%d)", e.Key, e.Value, e.Other, e.OtherValue)
}

// Validate returns nil, or a *LimitError for the first limit that is out of
// range or greater than one that must not be smaller.
func (l Limits) Validate() error {
	for _, r := range []struct {
		key        string
		value, min int
	}{
		{"MinWorkers", l.MinWorkers, 0},
		{"MaxWorkers", l.MaxWorkers, 1},
		{"MinIdle", l.MinIdle, 0},
		{"MaxIdle", l.MaxIdle, 0},
	} {
		if r.value < r.min || r.value > WorkersMax {
			return &LimitError{Key: r.key, Value: r.value, Min: r.min, Max: WorkersMax}
		}
	}
	if !l.MaxBusy.Valid() {
		return &LimitError{Key: "MaxBusy", Value: int(l.MaxBusy), Min: 1, Max: WorkersMax}
	}
	for _, r := range []struct {
		key   string
		value int
		other string
		limit int
	}{
		{"MinWorkers", l.MinWorkers, "MaxWorkers", l.MaxWorkers},
		{"MinIdle", l.MinIdle, "MaxIdle", l.MaxIdle},
		{"MinIdle", l.MinIdle, "MaxWorkers", l.MaxWorkers},
		{"MaxIdle", l.MaxIdle, "MaxWorkers", l.MaxWorkers},
	} {
		if r.value > r.limit {
			return &LimitError{Key: r.key, Value: r.value, Other: r.other, OtherValue: r.limit}
		}
	}
	return nil
}
