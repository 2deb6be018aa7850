package bus

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// tool runs a program of the bus's users and returns what it says.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(need(t, name), args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func wants(t *testing.T, out string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestBusctlShowsAndSteers(t *testing.T) {
	need(t, "busctl")
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	b.run(t, p)
	busctl := func(args ...string) string {
		return tool(t, "busctl", append([]string{"--address=" + b.address, "--no-pager"}, args...)...)
	}
	wants(t, busctl("tree", "--list", testName), "/org/scgid1/pool", "/org/scgid1/worker/1", "/org/freedesktop/LogControl1")
	wants(t, busctl("introspect", testName, string(poolPath)), ".Scale method iiii iiii", ".Stop method bt tttt",
		`.State property s "running" emits-change`, `.Name property s "my-app" const`, ".Served property t 1203 -", ".WorkerExited signal tust",
		".Reload method - us -", ".Upgrade method - us -", ".ReloadFinished signal sbus -", `.Build property s "b1" const`, `.Operation property s "" emits-change`)
	wants(t, busctl("introspect", testName, string(pathOf(1))), ".PID property u 5001 emits-change")
	wants(t, busctl("introspect", testName, string(logPath)), `.LogLevel property s "info" writable`)
	wants(t, busctl("call", testName, string(poolPath), poolIface, "Scale", "iiii", "--", "-1", "4", "-1", "-1"), "iiii 1 4 1 4")
	wants(t, busctl("get-property", testName, string(poolPath), poolIface, "MaxWorkers", "Scaled"), "i 4 b true")
	wants(t, busctl("call", "--timeout=10min", testName, string(poolPath), poolIface, "Reload"), `us 3 "Listen= is read at the start only\nso is ListenMode="`)
	// What systemctl service-log-level does.
	busctl("set-property", testName, string(logPath), logIface, "LogLevel", "s", "debug")
	wants(t, busctl("get-property", testName, string(logPath), logIface, "LogLevel"), `s "debug"`)
	out, err := exec.Command("busctl", "--address="+b.address, "call", testName, string(poolPath), poolIface, "RetireWorker", "t", "99").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no worker 99; hint: scgictl workers shows them") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestGdbusReadsTheArgumentNames(t *testing.T) {
	need(t, "gdbus")
	b := startBus(t, "session", openConfig)
	b.run(t, newFakePool())
	out := tool(t, "gdbus", "introspect", "--address", b.address, "--dest", testName, "--object-path", string(rootPath), "--recurse")
	wants(t, out, "interface org.scgid1.Pool", "in i min_workers", "out t took_usec", "WorkerExited(t id,", "Reload(out u generation, out s notes);", "ReloadFinished(s kind, b ok, u generation, s reason);", "node /org/scgid1/worker/1",
		`@org.freedesktop.DBus.Property.EmitsChangedSignal("const") readonly s Name = 'my-app'`)
	wants(t, tool(t, "gdbus", "call", "--address", b.address, "--dest", testName, "--object-path", string(poolPath), "--method", poolIface+".Pause", "0"), "()")
}

func TestMain(m *testing.M) {
	// The tests' processes must not find the machine's own buses.
	os.Unsetenv("DBUS_SESSION_BUS_ADDRESS")
	os.Exit(m.Run())
}
