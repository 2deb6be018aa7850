package units

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// controller says whether the machine's control groups have it.
func (m *machine) controller(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile(m.path("/sys/fs/cgroup/cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(strings.Fields(string(text)), name)
}

func TestLimitsThatCannotBeKeptAreSaidOnce(t *testing.T) {
	m := booted(t)
	const text = "no effect: there is no control group with the controller for it"
	p := newPool(t, "limits", "[Pool]\nMinWorkers=3\n"+wsgi+"MemoryMax=512M\nTasksMax=100\n")
	p.ask("/?x")
	p.waitGroups(3)
	want := 1
	if m.controller(t, "memory") && m.controller(t, "pids") {
		want = 0
	}
	if log := m.journal(t, "-u", p.service(), "-p", "warning"); strings.Count(log, text) != want {
		t.Errorf("%d warnings, want %d: %s", strings.Count(log, text), want, log)
	}
}

func TestWorkerOutOfMemoryIsKilledAlone(t *testing.T) {
	m := booted(t)
	if !m.controller(t, "memory") {
		t.Skip("needs the memory controller in cgroup v2")
	}
	p := newPool(t, "hungry", "[Pool]\nMinWorkers=3\nMaxWorkers=3\n"+wsgi+"MemoryMax=96M\n")
	p.ask("/?x")
	p.waitGroups(3)
	held := p.hold(1, "")
	master := p.show(p.service(), "MainPID")
	if r, err := ask(p.transport(), "/eat"); err == nil && r.code == 200 {
		t.Errorf("it has eaten enough: %+v", r)
	}
	if lost := held.release(); lost > 0 {
		t.Error("the neighbour has lost its request")
	}
	if now := p.show(p.service(), "MainPID"); now != master {
		t.Errorf("main process %s, was %s", now, master)
	}
	var st struct {
		Exits map[string]uint64 `json:"exits"`
	}
	if err := json.Unmarshal([]byte(m.run(t, "scgictl", "status", p.name, "--json")), &st); err != nil {
		t.Fatal(err)
	}
	if st.Exits["oom"] != 1 || len(st.Exits) != 1 {
		t.Errorf("exits %v", st.Exits)
	}
	if log := m.journal(t, "-u", p.service()); !strings.Contains(log, "killed by the kernel: out of memory (MemoryMax=96M)") {
		t.Errorf("the journal does not say why: %s", log)
	}
	p.waitGroups(3)
}
