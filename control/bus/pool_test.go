package bus

import (
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/controltest"
)

// newFakePool is a pool with one worker, which is busy.
func newFakePool() *controltest.Pool {
	p := controltest.New(control.Status{Name: "my-app", PID: 4711, Version: "1.2.3", Build: "b1", Since: time.UnixMicro(1700000000000001), Generation: 2,
		Limits:   control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4},
		Queue:    control.Queue{Limit: 8, Listeners: []control.Listener{{Name: "scgi", Address: "/run/x.sock", Backlog: 3, BacklogLimit: 128}}},
		Requests: control.RequestCounts{Served: 1203}, Exits: map[string]uint64{"exit status 1": 2}},
		func(id uint64) control.Worker {
			return control.Worker{ID: id, PID: 5000 + int(id), State: control.WorkerReady, Generation: 2, Since: time.Now(), Slots: 1, CanDump: true, Served: 212,
				CPUSeconds: 1.5, MemoryBytes: 1 << 20, Status: "fine", Active: 1, Request: &control.Request{ID: 7, URI: "/secret?token=1", AgeSeconds: 0.25}}
		})
	p.NoWorkerHint = "scgictl workers shows them"
	p.Notes = []string{"Listen= is read at the start only", "so is ListenMode="}
	return p
}
