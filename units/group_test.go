package units

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// group is where the control group of the service is seen from here.
func (p *pool) group() string {
	return filepath.Join(p.m.path("/sys/fs/cgroup/system.slice/system-scgid.slice"), p.service())
}

// groups lists the sub-groups, each with its processes as they are numbered
// here; those of the service itself are under "".
func (p *pool) groups() map[string][]int {
	p.t.Helper()
	all := map[string][]int{}
	files, _ := filepath.Glob(p.group() + "/*/cgroup.procs")
	for _, file := range append(files, filepath.Join(p.group(), "cgroup.procs")) {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it was just removed
		}
		name, _ := filepath.Rel(p.group(), filepath.Dir(file))
		name = strings.TrimPrefix(name, ".")
		all[name] = []int{}
		for _, pid := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				p.t.Fatal(err)
			}
			all[name] = append(all[name], n)
		}
	}
	return all
}

// waitGroups waits until there is the master with its n workers, each in a
// group of its own, and nobody and nothing else.
func (p *pool) waitGroups(n int) map[string][]int {
	p.t.Helper()
	var all map[string][]int
	p.wait(fmt.Sprintf("a control group for each of %d workers", n), func() bool {
		all = p.groups()
		workers := 0
		for name, pids := range all {
			switch {
			case name == "" && len(pids) == 0:
			case name == "master" && len(pids) == 1:
			case strings.HasPrefix(name, "worker-") && len(pids) == 1:
				workers++
			default:
				return false
			}
		}
		_, master := all["master"]
		return master && workers == n
	})
	return all
}

// A daemon is what a request to /daemon leaves behind.
type daemon struct {
	worker string // its number
	pidfd  int
}

// daemon asks for one.
func (p *pool) daemon(name string) daemon {
	p.t.Helper()
	p.ask("/daemon?" + name)
	text, err := os.ReadFile(p.m.path("/var/lib/scgid/" + p.name + "/" + name + ".daemon"))
	if err != nil {
		p.t.Fatal(err)
	}
	// Its numbers are those of the machine.
	_, pid, _ := strings.Cut(string(text), " ")
	group := strings.TrimSpace(p.m.run(p.t, "sed", "-n", "s/^0:://p", "/proc/"+pid+"/cgroup"))
	d := daemon{worker: strings.TrimPrefix(filepath.Base(group), "worker-"), pidfd: -1}
	for _, here := range p.groups()[filepath.Base(group)] {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", here))
		if strings.HasPrefix(string(status), "Name:\tsleep\n") {
			if d.pidfd, err = unix.PidfdOpen(here, 0); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	if d.pidfd < 0 {
		p.t.Fatalf("the daemon is in %s, with nothing like it", group)
	}
	p.t.Cleanup(func() { unix.Close(d.pidfd) })
	return d
}

// alive says whether it has not ended.
func (d daemon) alive(t *testing.T) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(d.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n == 0
}

func TestEachWorkerHasAControlGroup(t *testing.T) {
	p := newPool(t, "grouped", "[Pool]\nMinWorkers=3\nMaxWorkers=6\n"+wsgi)
	p.ask("/?x")
	for _, dropIn := range []string{"", "examples/systemd-254.conf", "examples/strict.conf"} {
		if dropIn != "" {
			p.dropIn(p.service(), filepath.Base(dropIn), string(read(t, dropIn)))
			p.m.run(t, "systemctl", "restart", p.service())
		}
		p.waitGroups(3)
		p.m.run(t, "scgictl", "scale", p.name, "--min", "6")
		p.waitGroups(6)
		p.m.run(t, "scgictl", "scale", p.name, "--min", "1", "--max", "1")
		all := p.waitGroups(1)
		main := p.show(p.service(), "MainPID")
		if got := p.m.run(t, "sed", "-n", "s/^0:://p", "/proc/"+main+"/cgroup"); !strings.HasSuffix(got, p.service()+"/master\n") {
			t.Errorf("the master is in %s", got)
		}
		status := p.m.run(t, "systemctl", "status", "--no-pager", "-n0", p.service())
		for name := range all {
			if !strings.Contains(status, name) {
				t.Errorf("systemctl status does not show %s: %s", name, status)
			}
		}
	}
}

func TestDaemonsEndWithTheirWorkerAndNotWithItsNeighbour(t *testing.T) {
	p := newPool(t, "daemons", "[Pool]\nMinWorkers=3\nMaxWorkers=8\n"+wsgi)
	p.ask("/?x")
	for name, end := range map[string]func(worker string){
		"killed":  func(worker string) { p.m.run(t, "scgictl", "kill", p.name, worker) },
		"retired": func(worker string) { p.m.run(t, "scgictl", "retire", p.name, worker) },
		"crashed": func(worker string) {
			procs := filepath.Join("/sys/fs/cgroup/system.slice/system-scgid.slice", p.service(), "worker-"+worker, "cgroup.procs")
			p.m.run(t, "sh", "-c", "kill -SEGV $(head -n 1 "+procs+")")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			d := p.daemon(name)
			neighbour := d
			var all []*held
			for i := 0; neighbour.worker == d.worker && i < 6; i++ {
				// Most probably at the same worker, so that another has the next.
				all = append(all, p.hold(1, fmt.Sprint(name, i)))
				neighbour = p.daemon(fmt.Sprint(name, "-neighbour", i))
			}
			for _, h := range all {
				h.release()
			}
			if neighbour.worker == d.worker {
				t.Fatalf("all daemons are of worker %s", d.worker)
			}
			end(d.worker)
			p.wait("the end of the daemon", func() bool { return !d.alive(t) })
			if !neighbour.alive(t) {
				t.Error("the neighbour's daemon has ended too")
			}
			p.ask("/?" + name)
			p.m.run(t, "scgictl", "kill", p.name, neighbour.worker)
			p.wait("the end of the neighbour's daemon", func() bool { return !neighbour.alive(t) })
			p.wait("the end of both control groups", func() bool {
				all := p.groups()
				return all["worker-"+d.worker] == nil && all["worker-"+neighbour.worker] == nil
			})
		})
	}
}

func TestNoControlGroupIsLeftByAMasterThatWasKilled(t *testing.T) {
	p := newPool(t, "stale", "[Pool]\nMinWorkers=4\nMaxWorkers=4\n"+wsgi)
	p.ask("/?x")
	p.waitGroups(4)
	d := p.daemon("left")
	for range 3 {
		old := p.show(p.service(), "MainPID")
		p.m.run(t, "kill", "-KILL", old)
		p.waitShow(p.service(), "MainPID", func(now string) bool { return now != old && now != "0" })
		p.waitShow(p.service(), "ActiveState", is("active"))
		p.waitGroups(4)
	}
	if d.alive(t) {
		t.Error("a daemon of the first master's is left")
	}
	p.m.run(t, "systemctl", "stop", p.socket(), p.service())
	if _, err := os.Stat(p.group()); err == nil {
		t.Error("the service's control group is left")
	}
}

func TestWorkersThatCannotEnterTheirControlGroupServeAllTheSame(t *testing.T) {
	p := newPool(t, "barred", "[Pool]\nMinWorkers=1\nMaxWorkers=1\n"+wsgi)
	p.ask("/?x")
	p.waitGroups(1)
	// To move, one has to have the right for the group above both.
	p.m.run(t, "chown", "root:root", "/sys/fs/cgroup/system.slice/system-scgid.slice/"+p.service()+"/cgroup.procs")
	for i := range 3 {
		p.m.run(t, "scgictl", "kill", p.name, strconv.Itoa(i+1))
		p.ask("/?" + strconv.Itoa(i))
	}
	log := p.m.journal(t, "-u", p.service())
	for _, once := range []string{"from now on workers share the master's", "scgid: cannot enter the control group: permission denied"} {
		if n := strings.Count(log, once); n != 1 {
			t.Errorf("%q is said %d times: %s", once, n, log)
		}
	}
	if all := p.groups(); len(all["master"]) != 2 {
		t.Errorf("the last worker is not with its master: %v", all)
	}
}

// Nobody but a service that has one is to have its control group changed.
func TestMasterInATerminalLeavesItsControlGroupAlone(t *testing.T) {
	m := booted(t)
	p := &pool{t: t, m: m, name: "adhoc"}
	m.run(t, "systemd-run", "--unit=adhoc", "-p", "Delegate=yes", "sh", "-c",
		"scgid run --listen /run/adhoc.sock --name adhoc -- scgi-wsgi /srv/scgid-test/app.py:application; :")
	t.Cleanup(func() { _, _ = m.try("systemctl", "stop", "adhoc.service") })
	p.wait("an answer", func() bool {
		_, err := ask(transport(m.path("/run/adhoc.sock")), "/")
		return err == nil
	})
	if below, _ := filepath.Glob(m.path("/sys/fs/cgroup/system.slice/adhoc.service/*/cgroup.procs")); len(below) > 0 {
		t.Errorf("there are %v", below)
	}
}

func TestWorkersOfAUserHaveControlGroups(t *testing.T) {
	u := newTester(t)
	u.m.write(t, "/var/lib/scgid-tester/.config/scgid/grouped.conf", "[Pool]\nMinWorkers=2\nMaxWorkers=2\n"+cgi)
	u.m.run(t, "chown", "-R", "scgid-tester", "/var/lib/scgid-tester/.config")
	u.run("systemctl", "--user", "start", "scgid@grouped.socket")
	t.Cleanup(func() { _, _ = u.try("systemctl", "--user", "stop", "scgid@grouped.socket", "scgid@grouped.service") })
	if _, err := askOK(transport(u.m.path("/run/user/"+u.uid+"/scgid/grouped.sock")), "/?x"); err != nil {
		t.Fatal(err)
	}
	group := strings.TrimSpace(u.run("systemctl", "--user", "show", "-p", "ControlGroup", "--value", "scgid@grouped.service"))
	p := &pool{t: t}
	p.wait("a group for each worker", func() bool {
		workers, _ := filepath.Glob(u.m.path("/sys/fs/cgroup"+group) + "/worker-*")
		_, err := os.Stat(u.m.path("/sys/fs/cgroup" + group + "/master"))
		return len(workers) == 2 && err == nil
	})
}
