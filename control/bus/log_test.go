package bus

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// A change by way of the bus is as much to be found in the log as one by the
// control socket: who, and what.
func TestChangesAreLoggedWithTheirCaller(t *testing.T) {
	b := startBus(t, "session", openConfig)
	var mu sync.Mutex
	var log []string
	b.run(t, newFakePool(), func(f *Front) {
		f.o.Log = func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf(format, args...))
		}
	})
	c := b.client(t, os.Getuid())
	keep := int32(-1)
	_ = pool(c).Call(poolIface+".Scale", 0, keep, int32(4), keep, keep)
	_ = pool(c).Call(poolIface+".Scale", 0, keep, int32(-9), keep, keep) // no order at all
	_ = pool(c).Call(poolIface+".KillWorker", 0, uint64(99))
	_, _ = pool(c).GetProperty(poolIface + ".State")
	_ = c.Object(testName, logPath).SetProperty(logIface+".LogLevel", dbus.MakeVariant("debug"))
	who := fmt.Sprintf("uid %d (pid %d)", os.Getuid(), os.Getpid())
	want := []string{
		"bus: " + who + " asks to change the limits: max_workers=4",
		"bus: " + who + " asks to kill a worker: worker=99",
		"bus: cannot kill a worker for " + who + ": there is no worker 99",
		"bus: " + who + ` asks to change the log level: level="debug"`,
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(log, want) {
		t.Errorf("log:\n%q\nwant\n%q", log, want)
	}
}
