package api

import (
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/controltest"
)

// newMemPool is a pool with two idle workers.
func newMemPool() *controltest.Pool {
	p := controltest.New(control.Status{Name: "wiki", PID: 4711, Version: "1.2", Since: time.Unix(1700000000, 0).UTC(), Generation: 1,
		Limits: control.Limits{MinWorkers: 2, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4},
		Queue:  control.Queue{Limit: 8, Listeners: []control.Listener{{Name: "scgi", Address: "/run/scgid/wiki/socket", Backlog: 3, BacklogLimit: 128}}}},
		func(id uint64) control.Worker {
			return control.Worker{ID: id, PID: 5000 + int(id), State: control.WorkerReady, Slots: 1, CanDump: true}
		})
	p.Now = func() time.Time { return time.Unix(1700000000, 0).UTC() }
	p.MayResume = func(state string) error {
		if state != control.Paused {
			return control.Errorf(control.CodeState, "the pool is %s", state)
		}
		return nil
	}
	p.Report.Took = time.Second
	p.Settings = []control.Setting{{Section: "Pool", Key: "MaxWorkers", Value: "8", Origin: "default"}}
	p.Notes = []string{"Listen= is read at the start only"}
	return p
}
