package control

import (
	"errors"
	"testing"
)

func TestApplyTakesAlongWhatFollows(t *testing.T) {
	was := Limits{MinWorkers: 2, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}
	for _, tt := range []struct {
		name   string
		change Change
		want   Limits
		err    string
	}{
		{"nothing", Change{}, was, ""},
		{"max up", Change{MaxWorkers: some(16)}, Limits{2, 16, 1, 4, BusyAuto}, ""},
		{"max down", Change{MaxWorkers: some(3)}, Limits{2, 3, 1, 3, BusyAuto}, ""},
		{"max below min", Change{MaxWorkers: some(1)}, Limits{1, 1, 1, 1, BusyAuto}, ""},
		{"min up", Change{MinWorkers: some(5)}, Limits{5, 8, 1, 4, BusyAuto}, ""},
		{"min above max", Change{MinWorkers: some(12)}, Limits{12, 12, 1, 4, BusyAuto}, ""},
		{"min to 0", Change{MinWorkers: some(0)}, Limits{0, 8, 1, 4, BusyAuto}, ""},
		{"min idle above max idle", Change{MinIdle: some(6)}, Limits{2, 8, 6, 6, BusyAuto}, ""},
		{"max idle below min idle", Change{MaxIdle: some(0)}, Limits{2, 8, 0, 0, BusyAuto}, ""},
		{"min and max", Change{MinWorkers: some(3), MaxWorkers: some(3)}, Limits{3, 3, 1, 3, BusyAuto}, ""},
		{"all", Change{some(1), some(2), some(1), some(2), nil, false}, Limits{1, 2, 1, 2, BusyAuto}, ""},
		{"max busy", Change{MaxBusy: some(BusyOff)}, Limits{2, 8, 1, 4, BusyOff}, ""},
		{"max busy out of range", Change{MaxBusy: some(BusyLimit(-2))}, Limits{2, 8, 1, 4, -2}, "MaxBusy (-2) is not in the range 1 to 4096"},
		{"contradiction", Change{MinWorkers: some(9), MaxWorkers: some(8)}, Limits{9, 8, 1, 4, BusyAuto}, "MinWorkers (9) is greater than MaxWorkers (8)"},
		{"max idle above max", Change{MaxIdle: some(9)}, Limits{2, 8, 1, 9, BusyAuto}, "MaxIdle (9) is greater than MaxWorkers (8)"},
		{"min idle above max", Change{MinIdle: some(9)}, Limits{2, 8, 9, 8, BusyAuto}, "MinIdle (9) is greater than MaxIdle (8)"},
		{"no workers at all", Change{MaxWorkers: some(0)}, Limits{0, 0, 0, 0, BusyAuto}, "MaxWorkers (0) is not in the range 1 to 4096"},
	} {
		got := tt.change.Apply(was)
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
		if err := got.Validate(); err == nil && tt.err != "" || err != nil && err.Error() != tt.err {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.err)
		}
	}
}

// FuzzApply: a change of valid limits has exactly the values that it names,
// gives limits that are valid or are refused for a value that it names, and
// changes nothing when made again.
func FuzzApply(f *testing.F) {
	f.Add(2, 8, 1, 4, 3, -1, -1, -1)
	f.Add(0, 1, 0, 0, -1, 4096, 7, -1)
	f.Add(8, 8, 8, 8, -1, 0, -1, -1)
	f.Fuzz(func(t *testing.T, a, b, c, d, minW, maxW, minI, maxI int) {
		was := Limits{a, b, c, d, BusyAuto}
		if was.Validate() != nil {
			return
		}
		given := map[string]*int{}
		named := func(key string, n int) *int {
			if n < 0 || n > WorkersMax {
				return nil
			}
			given[key] = &n
			return &n
		}
		change := Change{MinWorkers: named("MinWorkers", minW), MaxWorkers: named("MaxWorkers", maxW),
			MinIdle: named("MinIdle", minI), MaxIdle: named("MaxIdle", maxI)}
		got := change.Apply(was)
		for key, n := range map[string]int{"MinWorkers": got.MinWorkers, "MaxWorkers": got.MaxWorkers, "MinIdle": got.MinIdle, "MaxIdle": got.MaxIdle} {
			if given[key] != nil && *given[key] != n {
				t.Fatalf("%+v by %v: %s is %d", was, given, key, n)
			}
		}
		if again := change.Apply(got); again != got {
			t.Fatalf("%+v by %v: %+v, then %+v", was, given, got, again)
		}
		if err := got.Validate(); err != nil {
			var le *LimitError
			if !errors.As(err, &le) || given[le.Key] == nil && given[le.Other] == nil {
				t.Fatalf("%+v by %v: %v", was, given, err)
			}
		}
	})
}
