package bus

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"github.com/scgid/scgid/control"
)

func TestEveryVerbWithABusNameIsAMethod(t *testing.T) {
	var want, have []string
	for _, v := range control.Verbs() {
		if v.Bus != "" {
			want = append(want, v.Bus)
		}
	}
	for _, m := range poolInterface.methods {
		if m.name != "ResetLimits" && m.name != "SetMaxBusy" { // flags of scale
			have = append(have, m.name)
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		t.Errorf("methods %v, verbs %v", have, want)
	}
}

func TestLabelIsAsSystemdsEscaping(t *testing.T) {
	for name, want := range map[string]string{"": "_", "wiki": "wiki", "my-app": "my_2dapp", "2nd": "_32nd", "a_b": "a_5fb", "a.b": "a_2eb", "x9": "x9", "é": "_c3_a9"} {
		if got := Label(name); got != want {
			t.Errorf("Label(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestSocketOfReadsAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/run/dbus/system_bus_socket":      "/run/dbus/system_bus_socket",
		"unix:path=/a%20b,guid=12":                   "/a b",
		"tcp:host=x,port=1;unix:abstract=/tmp/x":     "@/tmp/x",
		"unixexec:path=/bin/sh":                      "",
		"autolaunch:":                                "",
		"unix:" + "path=" + escapeAddress("/a,b;%c"): "/a,b;%c",
	} {
		got, err := socketOf(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", address, got, err, want)
		}
	}
}

// shown is what introspection shows of an object, a line for each member.
func shown(t *testing.T, c *dbus.Conn, path dbus.ObjectPath) string {
	t.Helper()
	n, err := introspect.Call(c.Object(testName, path))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	list := func(args []introspect.Arg, direction string) (out string) {
		for _, a := range args {
			if a.Name == "" {
				t.Errorf("%s: an argument has no name", path)
			}
			if a.Direction == direction {
				out += " " + a.Type + ":" + a.Name
			}
		}
		return out
	}
	for _, i := range n.Interfaces {
		if strings.HasPrefix(i.Name, "org.freedesktop.DBus.") && i.Name != managerIface && i.Name != propertiesIface {
			continue // godbus describes these
		}
		for _, m := range i.Methods {
			fmt.Fprintf(&b, "%s %s(%s ) ->%s\n", i.Name, m.Name, list(m.Args, "in"), list(m.Args, "out"))
		}
		for _, s := range i.Signals {
			fmt.Fprintf(&b, "%s %s signal%s\n", i.Name, s.Name, list(s.Args, ""))
		}
		for _, p := range i.Properties {
			fmt.Fprintf(&b, "%s %s %s %s", i.Name, p.Name, p.Type, p.Access)
			for _, a := range p.Annotations {
				fmt.Fprintf(&b, " %s=%s", a.Name[strings.LastIndex(a.Name, ".")+1:], a.Value)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// Programs depend on these names and types: a change is one of the interface.
func TestTheInterfacesAreAsPublished(t *testing.T) {
	b := startBus(t, "session", openConfig)
	b.run(t, newFakePool())
	c := b.client(t, os.Getuid())
	got := ""
	for _, path := range []dbus.ObjectPath{poolPath, pathOf(1), logPath, rootPath} {
		got += string(path) + "\n" + shown(t, c, path)
	}
	want, err := os.ReadFile("testdata/interfaces")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("shown:\n%s\nwant:\n%s", got, want)
	}
}

func TestPropertiesAreReadLive(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	b.run(t, p)
	c := b.client(t, os.Getuid())
	all := map[string]dbus.Variant{}
	if err := pool(c).Call(propertiesIface+".GetAll", 0, poolIface).Store(&all); err != nil {
		t.Fatal(err)
	}
	if len(all) != len(poolProperties) {
		t.Errorf("%d properties, want %d", len(all), len(poolProperties))
	}
	for name, want := range map[string]any{"Name": "my-app", "Version": "1.2.3", "Build": "b1", "Operation": "", "PID": uint32(4711), "Since": uint64(1700000000000001), "State": "running",
		"MaxWorkers": int32(8), "Workers": uint32(1), "Served": uint64(1203), "Exits": map[string]uint64{"exit status 1": 2},
		"Listeners": [][]any{{"scgi", "/run/x.sock", int32(3), int32(128)}}} {
		if got := all[name].Value(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v (%T), want %v", name, got, got, want)
		}
	}
	p.Update(control.Event{Kind: control.EventLost}, func(st *control.Status) { st.Requests.Served++ })
	if v, err := pool(c).GetProperty(poolIface + ".Served"); err != nil || v.Value() != uint64(1204) {
		t.Errorf("Served is %v, %v after one more", v, err)
	}
	w := c.Object(testName, pathOf(1))
	if v, err := w.GetProperty(workerIface + ".CPUUSec"); err != nil || v.Value() != uint64(1500000) {
		t.Errorf("CPUUSec is %v, %v", v, err)
	}
	if err := w.Call(propertiesIface+".GetAll", 0, workerIface).Store(&all); err != nil {
		t.Fatal(err)
	}
	for name, v := range all {
		if strings.Contains(v.String(), "secret") {
			t.Errorf("%s shows a request's URI to everybody", name)
		}
	}
}

func TestErrorsHaveStandardNames(t *testing.T) {
	b := startBus(t, "session", openConfig)
	b.run(t, newFakePool())
	c := b.client(t, os.Getuid())
	v := dbus.MakeVariant
	for _, tt := range []struct {
		path   dbus.ObjectPath
		method string
		args   []any
		want   string
	}{
		{poolPath, propertiesIface + ".Get", []any{poolIface, "Nothing"}, errUnknownProp},
		{poolPath, propertiesIface + ".Get", []any{"org.example.X", "State"}, errUnknownIface},
		{poolPath, propertiesIface + ".GetAll", []any{"org.example.X"}, errUnknownIface},
		{poolPath, propertiesIface + ".Set", []any{poolIface, "MaxWorkers", v(int32(9))}, errReadOnly},
		{poolPath, propertiesIface + ".Set", []any{poolIface, "Nothing", v(int32(9))}, errUnknownProp},
		{poolPath, propertiesIface + ".Set", []any{"org.example.X", "State", v("x")}, errUnknownIface},
		{poolPath, propertiesIface + ".Set", []any{poolIface, "State", v([]string{"x"})}, errInvalidArgs},
		{poolPath, propertiesIface + ".Get", []any{poolIface}, errInvalidArgs},
		{poolPath, propertiesIface + ".Get", []any{propertiesIface, "X"}, errUnknownProp},
		{poolPath, poolIface + ".Nothing", nil, errUnknownMethod},
		{poolPath, "org.example.X.Resume", nil, errUnknownIface},
		{poolPath, poolIface + ".Scale", []any{"8"}, errInvalidArgs},
		{poolPath, poolIface + ".Resume", []any{map[uint32]string{1: "x"}}, errInvalidArgs},
		{pathOf(99), propertiesIface + ".Get", []any{workerIface, "ID"}, errUnknownObject},
		{pathOf(99), introspectIface + ".Introspect", nil, errUnknownObject},
		{"/org/scgid1/worker/01", introspectIface + ".Introspect", nil, errUnknownObject},
		{"/nowhere", introspectIface + ".Introspect", nil, errUnknownObject},
		{poolPath, poolIface + ".RetireWorker", []any{uint64(99)}, "org.scgid1.Error.NoSuchWorker"},
		{poolPath, poolIface + ".RetireWorker", []any{uint64(0)}, "org.scgid1.Error.InvalidArgument"},
		{poolPath, poolIface + ".Scale", []any{int32(-2), int32(-1), int32(-1), int32(-1)}, "org.scgid1.Error.InvalidArgument"},
		{poolPath, poolIface + ".Scale", []any{int32(-1), int32(-1), int32(-1), int32(-1)}, "org.scgid1.Error.InvalidArgument"},
		{poolPath, poolIface + ".Scale", []any{int32(9), int32(2), int32(-1), int32(-1)}, "org.scgid1.Error.InvalidArgument"},
		{poolPath, poolIface + ".Pause", []any{uint64(1) << 60}, "org.scgid1.Error.InvalidArgument"},
		{logPath, propertiesIface + ".Set", []any{logIface, "LogLevel", v("loud")}, errInvalidArgs},
		{logPath, propertiesIface + ".Set", []any{logIface, "LogLevel", v(int32(3))}, errInvalidArgs},
		{logPath, propertiesIface + ".Set", []any{logIface, "LogTarget", v("kmsg")}, errReadOnly},
	} {
		err := c.Object(testName, tt.path).Call(tt.method, 0, tt.args...).Err
		if errorName(err) != tt.want {
			t.Errorf("%s %s %v: %s (%v), want %s", tt.path, tt.method, tt.args, errorName(err), err, tt.want)
		}
	}
}

func TestMethodsDoWhatTheirVerbsDo(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	p.Report = control.StopReport{Finished: 3, Lost: 1, Refused: 2, Took: 1500 * time.Millisecond}
	b.run(t, p)
	c := b.client(t, os.Getuid())
	keep := int32(-1)
	for _, tt := range []struct {
		method string
		args   []any
		want   []any
	}{
		{"Scale", []any{keep, int32(4), keep, keep}, []any{int32(1), int32(4), int32(1), int32(4)}},
		{"ResetLimits", nil, []any{int32(1), int32(8), int32(1), int32(4)}},
		{"Pause", []any{uint64(1500000)}, nil},
		{"Resume", nil, nil},
		{"RetireWorker", []any{uint64(1)}, nil},
		{"DumpWorker", []any{uint64(1)}, nil},
		{"Reload", nil, []any{uint32(3), "Listen= is read at the start only\nso is ListenMode="}},
		{"Rollback", nil, []any{uint32(4), "Listen= is read at the start only\nso is ListenMode="}},
		{"Upgrade", nil, []any{uint32(5), "Listen= is read at the start only\nso is ListenMode="}},
		{"KillWorker", []any{uint64(1)}, nil},
		{"Stop", []any{true, uint64(2000000)}, []any{uint64(3), uint64(1), uint64(2), uint64(1500000)}},
	} {
		call := pool(c).Call(poolIface+"."+tt.method, 0, tt.args...)
		if call.Err != nil || len(call.Body) != len(tt.want) || len(tt.want) > 0 && !reflect.DeepEqual(call.Body, tt.want) {
			t.Errorf("%s%v = %v, %v, want %v", tt.method, tt.args, call.Body, call.Err, tt.want)
		}
	}
	want := []string{"scale", "scale", "pause 1.5s", "resume", "retire", "dump", "reload", "rollback", "upgrade", "kill", "stop 2s now"}
	if got := p.Made(); !slices.Equal(got, want) {
		t.Errorf("orders %v, want %v", got, want)
	}
	// D-Bus allows a call without its interface.
	m := &dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(poolPath), dbus.FieldDestination: dbus.MakeVariant(testName), dbus.FieldMember: dbus.MakeVariant("Resume")}}
	if call := <-c.Send(m, make(chan *dbus.Call, 1)).Done; call.Err != nil {
		t.Errorf("Resume without interface: %v", call.Err)
	}
}

func TestLogControlSetsTheLogLevel(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	b.run(t, p)
	o := b.client(t, os.Getuid()).Object(testName, logPath)
	for set, want := range map[string]string{"debug": "debug", "notice": "warning", "crit": "err", "info": "info"} {
		if err := o.SetProperty(logIface+".LogLevel", dbus.MakeVariant(set)); err != nil {
			t.Errorf("%s: %v", set, err)
		}
		if v, err := o.GetProperty(logIface + ".LogLevel"); err != nil || v.Value() != want {
			t.Errorf("set %s: LogLevel is %v, %v, want %s", set, v, err, want)
		}
	}
	if v, err := o.GetProperty(logIface + ".SyslogIdentifier"); err != nil || v.Value() != "scgid" {
		t.Errorf("SyslogIdentifier is %v, %v", v, err)
	}
	if v, err := o.GetProperty(logIface + ".LogTarget"); err != nil || v.Value() != "console" && v.Value() != "journal" {
		t.Errorf("LogTarget is %v, %v", v, err)
	}
}

func TestTextsFromWorkersAreMadeValid(t *testing.T) {
	b := startBus(t, "session", openConfig)
	p := newFakePool()
	b.run(t, p)
	c := b.client(t, os.Getuid())
	news := signals(t, c)
	p.Lock()
	p.All[0].Status = "caf\xe9\x00"
	p.St.Exits["\xff"] = 1
	p.Unlock()
	if v, err := c.Object(testName, pathOf(1)).GetProperty(workerIface + ".Status"); err != nil || v.Value() != "caf\uFFFD\uFFFD" {
		t.Errorf("Status is %v, %v", v, err)
	}
	if v, err := pool(c).GetProperty(poolIface + ".Exits"); err != nil || v.Value().(map[string]uint64)["\uFFFD"] != 1 {
		t.Errorf("Exits is %v, %v", v, err)
	}
	p.Exit(1, "bad \xfe")
	if s := next(t, news, "WorkerExited"); s.Body[2] != "bad \uFFFD" {
		t.Errorf("reason is %q", s.Body[2])
	}
}
