package units

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestTheFirstRequestStartsAPoolThatLeavesWhenIdle(t *testing.T) {
	m := booted(t)
	p := &pool{t: t, m: m, name: "lazy"}
	p.configure("[Pool]\nMinWorkers=0\nIdleExitSec=200ms\n" + cgi)
	t.Cleanup(p.end)
	m.run(t, "systemctl", "enable", "--now", p.socket())
	t.Cleanup(func() { _, _ = m.try("systemctl", "disable", p.socket()) })
	if _, err := os.Lstat(m.path("/etc/systemd/system/sockets.target.wants/" + p.socket())); err != nil {
		t.Error(err)
	}
	if state := p.show(p.service(), "ActiveState"); state != "inactive" || len(p.processes()) > 0 {
		t.Errorf("before the first request the service is %s, with processes %v", state, p.processes())
	}
	if info, err := os.Stat(m.path("/run/scgid/lazy.sock")); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	first := p.ask("/?one").pid(t)
	p.waitShow(p.service(), "ActiveState", is("inactive"))
	if got := p.show(p.service(), "Result"); got != "success" || len(p.processes()) > 0 {
		t.Errorf("after the idle exit the result is %s, with processes %v", got, p.processes())
	}
	if second := p.ask("/?two").pid(t); second == first {
		t.Error("the second request was answered by a process of the first start")
	}
}

func TestNoRequestIsLostAtTheMomentOfTheIdleExit(t *testing.T) {
	const pools, rounds, idle = 4, 50, 40 * time.Millisecond
	var asked sync.WaitGroup
	var all []*pool
	for i := range pools {
		all = append(all, newPool(t, fmt.Sprintf("race%d", i), fmt.Sprintf("[Pool]\nMinWorkers=0\nIdleExitSec=%dms\n%s", idle.Milliseconds(), cgi)))
	}
	starts := make([]int, pools)
	for i, p := range all {
		asked.Add(1)
		go func() {
			defer asked.Done()
			workers := map[int]bool{}
			for round := range rounds {
				r, err := askOK(p.transport(), "/?"+strconv.Itoa(round))
				if err != nil {
					t.Errorf("%s, round %d: %v", p.name, round, err)
					return
				}
				workers[r.pid(t)] = true
				// What is tested is time: around the end of the idle time.
				time.Sleep(idle + time.Duration(rand.Int63n(int64(60*time.Millisecond))) - 10*time.Millisecond)
			}
			starts[i] = len(workers)
		}()
	}
	asked.Wait()
	for i, p := range all {
		t.Logf("%s: %d requests met %d starts", p.name, rounds, starts[i])
		if starts[i] < rounds/10 {
			t.Errorf("%s was started %d times only: nothing was tested", p.name, starts[i])
		}
		if state := p.show(p.socket(), "ActiveState"); state != "active" {
			t.Errorf("the socket is %s", state)
		}
	}
}

func TestRestartUnderLoadFailsNoRequest(t *testing.T) {
	p := newPool(t, "again", "[Pool]\nMinWorkers=4\nMaxWorkers=4\n"+wsgi)
	l := newLoad(p, 32)
	masters := map[string]bool{}
	for range 5 {
		masters[p.show(p.service(), "MainPID")] = true
		p.m.run(t, "systemctl", "restart", p.service())
		l.more(100)
	}
	masters[p.show(p.service(), "MainPID")] = true
	if bad := l.stop(); len(bad) > 0 {
		t.Errorf("%d requests failed beside %d good ones: %v", len(bad), l.good.Load(), bad[0])
	}
	if len(masters) != 6 {
		t.Errorf("%d masters in 5 restarts", len(masters))
	}
	t.Logf("%d requests answered", l.good.Load())
}

func TestReexecutionOfSystemdUnderLoadFailsNoRequest(t *testing.T) {
	p := newPool(t, "reexec", "[Pool]\nMinWorkers=4\nMaxWorkers=4\n"+wsgi)
	l := newLoad(p, 32)
	master := p.show(p.service(), "MainPID")
	for range 2 {
		p.m.run(t, "systemctl", "daemon-reexec")
		l.more(100)
	}
	if bad := l.stop(); len(bad) > 0 {
		t.Errorf("%d requests failed beside %d good ones: %v", len(bad), l.good.Load(), bad[0])
	}
	if now := p.show(p.service(), "MainPID"); now != master {
		t.Errorf("main process %s, was %s", now, master)
	}
	// What it tells is still heard.
	p.waitShow(p.service(), "StatusText", func(s string) bool { return strings.HasPrefix(s, "0/4 busy") })
}

func TestKillOfTheMasterEndsNoRequestAtWork(t *testing.T) {
	const kills = 10
	p := newPool(t, "killed", "[Pool]\nMinWorkers=6\nMaxWorkers=6\n[Queue]\nMax=4\n"+wsgi+"Environment=NOTE=1\n")
	l := newLoad(p, 32)
	for kill := range kills {
		held := p.hold(4, strconv.Itoa(kill))
		old := p.show(p.service(), "MainPID")
		p.m.run(t, "kill", "-KILL", old)
		p.waitShow(p.service(), "ActiveState", func(state string) bool { return state != "active" })
		if lost := held.release(); lost > 0 {
			t.Errorf("%d requests that workers held were lost", lost)
		}
		l.more(100)
		if now := p.show(p.service(), "MainPID"); now == old {
			t.Error("the dead master answers")
		}
	}
	bad := l.stop()
	// Lost may be what was accepted and no worker had: the queue, and those of
	// which the header had not come.
	begun := p.begun()
	for _, f := range bad {
		if begun[f.query] > 0 || !refused(f.err) && !strings.Contains(f.err.Error(), "unexpected EOF") { // accepted, nothing sent yet
			t.Errorf("a worker had begun %d times with the request that failed: %v", begun[f.query], f.err)
		}
	}
	for query, times := range begun {
		if times > 1 {
			t.Errorf("%s was executed %d times", query, times)
		}
	}
	if len(begun) < int(l.good.Load()) {
		t.Errorf("%d requests begun, %d answered", len(begun), l.good.Load())
	}
	t.Logf("%d requests answered, %d lost that no worker had", l.good.Load(), len(bad))
	if n := p.show(p.service(), "NRestarts"); n != strconv.Itoa(kills) {
		t.Errorf("%s restarts", n)
	}
	// Each of these masters has told of the one before, and at most one
	// connection is on its way to a worker when a master is killed.
	told, lost := p.crashes(), 0
	for _, c := range told {
		lost += c.lost
		if c.active < 4 {
			t.Errorf("%d requests were at workers, want the 4 that were held, at least", c.active)
		}
	}
	if len(told) != kills || lost < len(bad) || lost > len(bad)+kills {
		t.Errorf("%d crashes were told, with %d connections lost; want %d and %d", len(told), lost, kills, len(bad))
	}
}

// begun returns how often the application began each request.
func (p *pool) begun() map[string]int {
	p.t.Helper()
	text, err := os.ReadFile(p.m.path("/var/lib/scgid/" + p.name + "/begun"))
	if err != nil {
		p.t.Fatal(err)
	}
	times := map[string]int{}
	for _, query := range strings.Fields(string(text)) {
		times[query]++
	}
	return times
}

func TestLoopThatHangsIsToldByTheWatchdogAndNoRequestLost(t *testing.T) {
	m := booted(t)
	const program = "/usr/sbin/scgid-fault"
	if err := build(m.path(program), "scgid", "-tags", "scgid_fault"); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, "looped", "[Pool]\nMinWorkers=4\nMaxWorkers=4\n"+wsgi)
	p.dropIn(p.service(), "fault.conf", "[Service]\nWatchdogSec=2s\nExecStart=\nExecStart="+program+" serve %i\n")
	held := p.hold(3, "")
	old := p.show(p.service(), "MainPID")
	m.write(t, "/var/lib/scgid/looped/hang", "")
	go func() { _, _ = ask(p.transport(), "/?changes-the-status") }()
	p.waitShow(p.service(), "Result", is("watchdog"))
	_ = os.Remove(m.path("/var/lib/scgid/looped/hang"))
	held.release()
	p.waitShow(p.service(), "ActiveState", is("active"))
	if now := p.show(p.service(), "MainPID"); now == old || now == "0" {
		t.Errorf("main process %s, was %s", now, old)
	}
	p.ask("/?again")
	log := m.journal(t, "-u", p.service())
	for _, want := range []string{"gave no sign of life", "goroutine 1 [", "master.(*loop).run"} {
		if !strings.Contains(log, want) {
			t.Errorf("the journal does not have %q", want)
		}
	}
	if strings.Contains(log, "SIGABRT") {
		t.Error("somebody was aborted")
	}
}

func TestMasterThatIsStoppedIsReplacedAndNoRequestLost(t *testing.T) {
	p := newPool(t, "hung", "[Pool]\nMinWorkers=4\nMaxWorkers=4\n"+wsgi)
	p.dropIn(p.service(), "quick.conf", "[Service]\nWatchdogSec=1s\n")
	held := p.hold(3, "")
	old := p.show(p.service(), "MainPID")
	p.m.run(t, "kill", "-STOP", old)
	p.waitShow(p.service(), "Result", is("watchdog"))
	waiting := make(chan error, 1)
	go func() {
		_, err := askOK(p.transport(), "/?meanwhile")
		waiting <- err
	}()
	held.release()
	if err := <-waiting; err != nil {
		t.Errorf("a request meanwhile: %v", err)
	}
	p.waitShow(p.service(), "ActiveState", is("active"))
	if now := p.show(p.service(), "MainPID"); now == old || now == "0" {
		t.Errorf("main process %s, was %s", now, old)
	}
	if log := p.m.journal(t, "-u", p.service()); strings.Contains(log, "status=6/ABRT") || strings.Contains(log, "SIGABRT") {
		t.Errorf("somebody was aborted: %s", log)
	}
}

func TestApplicationThatCannotStartLeavesServiceAndSocketUp(t *testing.T) {
	m := booted(t)
	m.write(t, "/srv/scgid-test/late.py", "import there_is_no_such_module\n")
	p := newPool(t, "late", "[Queue]\nTimeoutSec=200ms\n[Worker]\nExecStart=scgi-wsgi /srv/scgid-test/late.py:application\n")
	m.run(t, "systemctl", "start", p.service())
	p.waitShow(p.service(), "StatusText", func(s string) bool { return strings.Contains(s, "does not start") })
	const clients, each = 20, 10
	var asked sync.WaitGroup
	for range clients {
		asked.Add(1)
		go func() {
			defer asked.Done()
			for range each {
				r, err := ask(p.transport(), "/")
				if err != nil || r.code != 503 || r.header.Get("Retry-After") == "" {
					t.Errorf("want 503 with Retry-After, got %+v, %v", r, err)
					return
				}
			}
		}()
	}
	asked.Wait()
	if got := p.show(p.service(), "ActiveState") + " " + p.show(p.socket(), "ActiveState"); got != "active active" {
		t.Errorf("service and socket are %s", got)
	}
	if n := p.show(p.service(), "NRestarts"); n != "0" {
		t.Errorf("%s restarts", n)
	}
	if log := m.journal(t, "-u", p.service()); !strings.Contains(log, "there_is_no_such_module") {
		t.Errorf("the journal does not say why: %s", log)
	}
	app, err := os.ReadFile("testdata/app.py")
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "/srv/scgid-test/late.py", string(app))
	p.wait("an answer of the mended application", func() bool {
		_, err := askOK(p.transport(), "/?mended")
		return err == nil
	})
	p.waitShow(p.service(), "StatusText", func(s string) bool { return !strings.Contains(s, "does not start") })
}

func TestBrokenConfigurationFailsTheStartAndKeepsTheSocket(t *testing.T) {
	p := newPool(t, "broken", "[Pool]\nMinWorker=1\n"+wsgi)
	out, err := p.m.try("systemctl", "start", p.service())
	if err == nil {
		t.Errorf("the start succeeds: %s", out)
	}
	if log := p.m.journal(t, "-u", p.service()); !strings.Contains(log, "/etc/scgid/broken.conf:2") || !strings.Contains(log, "MinWorkers") {
		t.Errorf("the journal does not say what is wrong: %s", log)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := askOK(p.transport(), "/?waited")
		waiting <- err
	}()
	p.waitShow(p.service(), "NRestarts", func(n string) bool { return len(n) > 0 && n >= "2" })
	if state := p.show(p.socket(), "ActiveState"); state != "active" {
		t.Errorf("the socket is %s", state)
	}
	p.configure(wsgi)
	if err := <-waiting; err != nil {
		t.Errorf("the request that waited for a good configuration: %v", err)
	}
}

func TestUnknownPoolIsRefusedVisibly(t *testing.T) {
	m := booted(t)
	for _, unit := range []string{"scgid@nosuch.socket", "scgid@nosuch.service"} {
		if out, err := m.try("systemctl", "start", unit); err == nil {
			t.Errorf("systemctl start %s succeeds: %s", unit, out)
		}
	}
	p := &pool{t: t, m: m, name: "nosuch"}
	if state := p.show(p.socket(), "ActiveState"); state == "active" {
		t.Error("the socket of a pool without a configuration stays up")
	}
}

func TestStopAnswersWhatWasAcceptedAndLeavesNoProcess(t *testing.T) {
	p := newPool(t, "halt", "[Pool]\nMinWorkers=6\nMaxWorkers=6\n"+wsgi+"Environment=NOTE=1\n")
	held := p.hold(3, "")
	l := newLoad(p, 32)
	if len(p.processes()) < 7 {
		t.Fatalf("processes %v", p.processes())
	}
	stopped := make(chan error, 1)
	go func() {
		out, err := p.m.try("systemctl", "stop", p.service(), p.socket())
		if err != nil {
			err = fmt.Errorf("%v: %s", err, out)
		}
		stopped <- err
	}()
	p.waitShow(p.service(), "ActiveState", is("deactivating"))
	held.release()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	bad := l.stop()
	begun := p.begun()
	for _, f := range bad {
		if begun[f.query] > 0 || !refused(f.err) {
			t.Errorf("a request that was not merely refused, begun %d times: %v", begun[f.query], f.err)
			break
		}
	}
	if got := p.show(p.service(), "Result") + " " + p.show(p.service(), "ExecMainStatus"); got != "success 0" {
		t.Errorf("the service ended as %s", got)
	}
	if left := p.processes(); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	if _, err := os.Stat(p.m.path("/run/scgid/" + p.name)); err == nil {
		t.Error("the runtime directory is left")
	}
	if left, _ := filepath.Glob(p.m.path("/run/scgid/" + p.name + ".sock")); len(left) > 0 {
		t.Error("the socket is left")
	}
	log := p.m.journal(t, "-u", p.service())
	if !strings.Contains(log, ", 0 lost, ") {
		t.Errorf("no report of the stop without loss: %s", log)
	}
}

// refused says that nobody had accepted the request: there is no socket, or it
// was closed with the connection in its backlog.
func refused(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ECONNREFUSED, syscall.ENOENT, syscall.ECONNRESET, syscall.EPIPE} {
		if strings.Contains(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}

func TestStopOfTheTargetStopsAllPools(t *testing.T) {
	a, b := newPool(t, "one", cgi), newPool(t, "two", cgi)
	a.m.run(t, "systemctl", "start", "scgid.target")
	a.ask("/?a")
	b.ask("/?b")
	a.m.run(t, "systemctl", "stop", "scgid.target")
	for _, p := range []*pool{a, b} {
		p.waitShow(p.service(), "ActiveState", is("inactive"))
		p.waitShow(p.socket(), "ActiveState", is("inactive"))
	}
}

// The unit's TimeoutStopSec= is for what comes after a crash. An orderly stop has
// StopTimeoutSec=, and asks systemd for it.
func TestAStopTakesWhatTheConfigurationAllows(t *testing.T) {
	p := newPool(t, "patient", wsgi+"StopTimeoutSec=60s\n")
	p.dropIn(p.service(), "stop.conf", "[Service]\nTimeoutStopSec=2s\n")
	p.ask("/?here")
	h := p.hold(1, "stop")
	stopped := make(chan error, 1)
	go func() {
		_, err := p.m.try("systemctl", "stop", p.service())
		stopped <- err
	}()
	p.waitShow(p.service(), "ActiveState", is("deactivating"))
	select {
	case err := <-stopped:
		t.Errorf("the stop did not wait: %v", err)
	case <-time.After(7 * time.Second): // what the unit allows, three times: stop, SIGTERM, SIGKILL
	}
	if lost := h.release(); lost > 0 {
		t.Error("the request at work was cut")
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if result := p.show(p.service(), "Result"); result != "success" {
		t.Errorf("the result is %s", result)
	}
}
