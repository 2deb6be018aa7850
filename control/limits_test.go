package control

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestValidateNamesTheLimitThatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		l    Limits
		key  string
		want string
	}{
		{Limits{1, 8, 1, 4, BusyAuto}, "", ""},
		{Limits{0, 1, 0, 0, BusyAuto}, "", ""},
		{Limits{4096, 4096, 4096, 4096, BusyAuto}, "", ""},
		{Limits{8, 8, 1, 1, BusyAuto}, "", ""},
		{Limits{9, 8, 1, 4, BusyAuto}, "MinWorkers", "MinWorkers (9) is greater than MaxWorkers (8)"},
		{Limits{1, 8, 5, 4, BusyAuto}, "MinIdle", "MinIdle (5) is greater than MaxIdle (4)"},
		{Limits{1, 8, 1, 9, BusyAuto}, "MaxIdle", "MaxIdle (9) is greater than MaxWorkers (8)"},
		{Limits{1, 8, 9, 9, BusyAuto}, "MinIdle", "MinIdle (9) is greater than MaxWorkers (8)"},
		{Limits{-1, 8, 1, 4, BusyAuto}, "MinWorkers", "MinWorkers (-1) is not in the range 0 to 4096"},
		{Limits{0, 0, 0, 0, BusyAuto}, "MaxWorkers", "MaxWorkers (0) is not in the range 1 to 4096"},
		{Limits{0, 4097, 0, 0, BusyAuto}, "MaxWorkers", "MaxWorkers (4097) is not in the range 1 to 4096"},
		{Limits{0, 1, -2, 0, BusyAuto}, "MinIdle", "MinIdle (-2) is not in the range 0 to 4096"},
		{Limits{0, 1, 0, -1, BusyAuto}, "MaxIdle", "MaxIdle (-1) is not in the range 0 to 4096"},
	} {
		err := tt.l.Validate()
		if tt.want == "" {
			if err != nil {
				t.Errorf("%+v: %v, want no error", tt.l, err)
			}
			continue
		}
		var le *LimitError
		if !errors.As(err, &le) || le.Key != tt.key || err.Error() != tt.want {
			t.Errorf("%+v: %v, want %s", tt.l, err, tt.want)
		}
	}
}

func TestLimitsAreNamedInJSON(t *testing.T) {
	b, err := json.Marshal(Limits{1, 8, 2, 4, BusyAuto})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"min_workers":1,"max_workers":8,"min_idle":2,"max_idle":4,"max_busy":"auto"}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
}
