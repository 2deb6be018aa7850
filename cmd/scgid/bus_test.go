package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// privateBus starts a session bus of the test's own and returns its address.
func privateBus(t *testing.T) string {
	t.Helper()
	address := "unix:path=" + filepath.Join(t.TempDir(), "bus")
	startBus(t, "--session", "--address="+address)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
	return address
}

// startBus runs a dbus-daemon until the test ends, and waits until it answers.
func startBus(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(need(t, "dbus-daemon"), append(args, "--nofork", "--print-address")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

// The same pool, steered by busctl and through the control socket: each sees
// what the other did.
func TestBusAndSocketShowTheSamePool(t *testing.T) {
	busctl := need(t, "busctl")
	address := privateBus(t)
	s, c := controlled(t, "--set", "Control.Bus=session")
	events := watch(t, c)
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	changed := make(chan *dbus.Signal, 100)
	conn.Signal(changed)
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchObjectPath("/org/scgid1/pool")); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) (string, error) {
		out, err := exec.Command(busctl, append([]string{"--address=" + address, "--timeout=30", "--"}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	pool := []string{"org.scgid1.app.test", "/org/scgid1/pool", "org.scgid1.Pool"}
	s.until("the pool is on the bus", func() bool {
		out, err := call(append([]string{"get-property"}, append(pool, "MaxWorkers")...)...)
		return err == nil && out == "i 8"
	})

	if out, err := call(append([]string{"call"}, append(pool, "Scale", "iiii", "-1", "5", "-1", "-1")...)...); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	st, err := c.Status(t.Context())
	if err != nil || st.Limits.MaxWorkers != 5 {
		t.Errorf("the socket shows %+v, %v", st.Limits, err)
	}
	if err := c.Call(t.Context(), "scale", map[string]any{"max_workers": 3}, nil); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for seen := false; !seen; {
		select {
		case s := <-changed:
			if s.Name != "org.freedesktop.DBus.Properties.PropertiesChanged" || len(s.Body) < 2 {
				continue
			}
			props, _ := s.Body[1].(map[string]dbus.Variant)
			seen = props["MaxWorkers"].Value() == int32(3)
		case <-deadline:
			t.Fatal("PropertiesChanged did not tell of the new limit")
		}
	}
	if n := strings.Count(strings.Join(events(), " "), control.EventLimits); n != 2 {
		t.Errorf("%d changes of limits were told on the socket, want 2", n)
	}
	if out, err := call(append([]string{"call"}, append(pool, "Stop", "bt", "false", "0")...)...); err != nil || !strings.HasPrefix(out, "tttt ") {
		t.Errorf("Stop: %q %v", out, err)
	}
}
