package config

import "testing"

func TestLimitsOfAGroupCanBeInfinite(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"":                                    {},
		"MemoryMax=1G\nTasksMax=16":           {1 << 30, 16},
		"MemoryMax=1048577\nTasksMax=4194304": {1<<20 + 1, 1 << 22},
		"MemoryMax=64T":                       {1 << 46},
		"MemoryMax=1G\nMemoryMax=infinity":    {},
		"MemoryMax=1G\nMemoryMax=\nTasksMax=99\nTasksMax=infinity": {},
	} {
		c := mustParse(t, exec+text+"\n")
		if got := [2]uint64{c.Worker.MemoryMax, c.Worker.TasksMax}; got != want {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
		checkRoundTrip(t, c)
	}
}
