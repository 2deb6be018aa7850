package units

import (
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// A crash is what a master told of the one before.
type crash struct{ pid, lost, active int }

var told = regexp.MustCompile(`previous master crashed; .*pid=(\d+) lost=(\d+) at_workers=(\d+)`)

// crashes returns what the journal has of them.
func (p *pool) crashes() (all []crash) {
	p.t.Helper()
	for _, m := range told.FindAllStringSubmatch(p.m.journal(p.t, "-u", p.service()), -1) {
		var c crash
		for i, to := range []*int{&c.pid, &c.lost, &c.active} {
			*to, _ = strconv.Atoi(m[i+1])
		}
		all = append(all, c)
	}
	return all
}

// A state is what scgictl status says of a pool, as far as we look.
type state struct {
	State  string
	PID    int
	Scaled bool
	Limits struct {
		Max int `json:"max_workers"`
	}
	Queue struct {
		Waiting, Parked int
		Listeners       []struct{ Backlog int }
	}
	Requests struct{ Lost, Refused int }

	Version    string
	Since      time.Time
	Generation int
}

func (p *pool) status() (s state) {
	p.t.Helper()
	// The service is up a moment before its control socket answers.
	p.wait("an answer of the control socket", func() bool {
		out, err := p.m.try("scgictl", "status", p.name, "--json")
		return err == nil && json.Unmarshal([]byte(out), &s) == nil && s.PID > 0
	})
	return s
}

// killMaster kills the master, and returns when the next one serves.
func (p *pool) killMaster(meanwhile func()) {
	p.t.Helper()
	old := p.show(p.service(), "MainPID")
	p.m.run(p.t, "kill", "-KILL", old)
	p.waitShow(p.service(), "ActiveState", func(state string) bool { return state != "active" })
	meanwhile()
	p.waitShow(p.service(), "ActiveState", is("active"))
	if now := p.show(p.service(), "MainPID"); now == old || now == "0" {
		p.t.Fatalf("main process %s, was %s", now, old)
	}
}

func TestLimitsSetAtRunTimeOutliveACrashButNoRestart(t *testing.T) {
	p := newPool(t, "kept", "[Pool]\nMaxWorkers=2\n[Queue]\nMax=3\n"+wsgi)
	p.ask("/?first")
	p.wait("the entry of the descriptor store", func() bool { return p.show(p.service(), "NFileDescriptorStore") == "1" })
	p.m.run(t, "scgictl", "scale", p.name, "--max", "5")
	p.m.run(t, "scgictl", "scale", p.name, "--max", "1")
	p.m.run(t, "scgictl", "scale", p.name, "--max", "3")
	old := p.status()
	// Three at work, four of which half a header has come, three that wait and
	// two that nobody has accepted.
	held := p.hold(3, "")
	for range 4 {
		c, err := net.Dial("unix", p.m.path("/run/scgid/"+p.name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("70:CONTENT_LENGTH\x000\x00")); err != nil {
			t.Fatal(err)
		}
	}
	// One after the other: one that is accepted before its header has come is
	// not in the queue yet, and leaves its place there to the next.
	answers := make(chan error, 5)
	for i := range cap(answers) {
		go func() {
			_, err := askOK(p.transport(), "/?waiting")
			answers <- err
		}()
		p.wait(fmt.Sprint(i+1, " that wait"), func() bool {
			q := p.status().Queue
			return q.Parked == 4 && q.Waiting == min(i+1, 3) && len(q.Listeners) == 1 && q.Listeners[0].Backlog == max(i+1-3, 0)
		})
	}
	p.killMaster(func() { held.release() })
	if s := p.status(); !s.Scaled || s.Limits.Max != 3 || s.PID == old.PID {
		t.Errorf("after the crash: %+v", s)
	}
	if all := p.crashes(); len(all) != 1 || all[0] != (crash{old.PID, 7, 3}) {
		t.Errorf("the journal tells of %+v, want {%d 7 3}", all, old.PID)
	}
	lost := 0
	for range cap(answers) {
		if err := <-answers; err != nil {
			lost++
		}
	}
	if lost != 3 {
		t.Errorf("%d requests were lost, want the three that were waiting", lost)
	}
	if n := p.show(p.service(), "NFileDescriptorStore"); n != "1" {
		t.Errorf("%s entries in the descriptor store", n)
	}
	p.m.run(t, "systemctl", "daemon-reexec")
	p.killMaster(func() {})
	if s := p.status(); !s.Scaled || s.Limits.Max != 3 {
		t.Errorf("after a crash of the second and systemd executed again: %+v", s)
	}
	p.m.run(t, "systemctl", "restart", p.service())
	if s := p.status(); s.Scaled || s.Limits.Max != 2 {
		t.Errorf("after a restart: %+v", s)
	}
	if all := p.crashes(); len(all) != 2 {
		t.Errorf("the journal tells of %+v", all)
	}
}

// In the strict sandbox, too.
func TestPauseOutlivesACrash(t *testing.T) {
	p := newPool(t, "still", wsgi)
	p.dropIn(p.service(), "strict.conf", string(read(t, "examples/strict.conf")))
	p.ask("/?first")
	p.wait("the entry of the descriptor store", func() bool { return p.show(p.service(), "NFileDescriptorStore") == "1" })
	p.m.run(t, "scgictl", "pause", p.name)
	answer := make(chan error, 1)
	go func() {
		_, err := askOK(p.transport(), "/?paused")
		answer <- err
	}()
	p.killMaster(func() {})
	if s := p.status(); s.State != "paused" {
		t.Errorf("after the crash: %+v", s)
	}
	select {
	case err := <-answer:
		t.Errorf("a request went through: %v", err)
	default:
	}
	p.m.run(t, "scgictl", "resume", p.name)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}
