package units

import (
	"bufio"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

// entries are the journal's, in all fields, by what args select. Values that
// are not strings are left out.
func (m *machine) entries(t *testing.T, args ...string) (all []map[string]string) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(m.journal(t, append([]string{"-o", "json", "--all"}, args...)...)))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var fields map[string]any
		if err := json.Unmarshal(lines.Bytes(), &fields); err != nil {
			t.Fatal(err)
		}
		entry := map[string]string{}
		for name, value := range fields {
			if text, ok := value.(string); ok {
				entry[name] = text
			}
		}
		all = append(all, entry)
	}
	return all
}

// entry waits for an entry whose message begins so, and wants these fields, by
// pairs of name and value.
func (p *pool) entry(args []string, begins string, want ...string) map[string]string {
	p.t.Helper()
	var found map[string]string
	p.wait("an entry in the journal: "+begins, func() bool {
		for _, e := range p.m.entries(p.t, args...) {
			if strings.HasPrefix(e["MESSAGE"], begins) {
				found = e
			}
		}
		return found != nil
	})
	for i := 0; i < len(want); i += 2 {
		if found[want[i]] != want[i+1] {
			p.t.Errorf("%.100q has %s=%q, want %q", begins, want[i], found[want[i]], want[i+1])
		}
	}
	return found
}

func TestJournalTellsMasterAndWorkersApart(t *testing.T) {
	for _, s := range sandboxes {
		t.Run(s.name, func(t *testing.T) {
			p := newPool(t, "apart_"+s.name, "[Pool]\nMinWorkers=2\nMaxWorkers=2\n[Request]\nAccessLog=yes\n"+wsgi)
			if s.dropIn != "" {
				p.dropIn(p.service(), "strict.conf", string(read(t, s.dropIn)))
			}
			p.ask("/log?apart")
			unit := []string{"-u", p.service()}
			p.entry(unit, "serving on=", "SYSLOG_IDENTIFIER", "scgid", "PRIORITY", "6", "SCGID_APP", p.name, "_TRANSPORT", "journal", "_COMM", "scgid")
			ready := p.entry(append(unit, "SCGID_WORKER=2"), "worker is ready worker=2 pid=", "SCGID_APP", p.name, "SCGID_SLOTS", "1")
			if ready["SCGID_PID"] == "" || ready["SCGID_PID"] == ready["_PID"] {
				t.Errorf("the process of worker 2 is %q, the master's %s", ready["SCGID_PID"], ready["_PID"])
			}

			access := p.entry(append(unit, "SCGID_URI=/log?apart"), "GET /log?apart 200 ", "SCGID_APP", p.name, "PRIORITY", "6",
				"SCGID_METHOD", "GET", "SCGID_CODE", "200", "SCGID_REQUEST", "1")
			for _, name := range []string{"SCGID_BYTES", "SCGID_QUEUE_USEC", "SCGID_SERVICE_USEC"} {
				if access[name] == "" || access[name] == "0" {
					t.Errorf("%s=%q", name, access[name])
				}
			}
			if !strings.Contains(access["MESSAGE"], " "+access["SCGID_BYTES"]+"B queue=") {
				t.Errorf("%s bytes, but %q", access["SCGID_BYTES"], access["MESSAGE"])
			}

			worker := p.name + "/w" + access["SCGID_WORKER"]
			lines := p.m.entries(t, "-t", worker)
			if len(lines) != 2 {
				t.Fatalf("%s has said: %v", worker, lines)
			}
			for i, want := range []struct{ message, priority string }{
				{"a warning of the application", "4"}, {"a plain line of the application", "6"},
			} {
				e := lines[i]
				if e["MESSAGE"] != want.message || e["PRIORITY"] != want.priority || e["_TRANSPORT"] != "stdout" || e["_SYSTEMD_UNIT"] != p.service() {
					t.Errorf("got %v, want %v", e, want)
				}
			}
			if e := lines[0]; e["_PID"] == ready["_PID"] {
				t.Errorf("the line is of process %s, the master", e["_PID"])
			}
			if log := strings.TrimSpace(p.m.journal(t, "-u", p.service(), "-p", "warning")); strings.Count(log, "\n") > 0 {
				t.Errorf("there are other warnings: %s", log)
			}
		})
	}
}

func TestAWorkerKilledInMidLineIsWholeInTheJournal(t *testing.T) {
	p := newPool(t, "midline", "[Pool]\nMaxWorkers=1\n"+wsgi)
	if r, err := ask(p.transport(), "/die"); err == nil && r.code == 200 {
		t.Fatalf("it answered: %+v", r)
	}
	worker := []string{"-t", "midline/w1"}
	p.entry(worker, "half a line", "_LINE_BREAK", "eof", "PRIORITY", "6")
	// The unit is not there for certain: journald asks for it by the process, and
	// that may be gone when it reads the line.
	if e := p.entry(worker, "a short line"); e["_SYSTEMD_UNIT"] != "" && e["_SYSTEMD_UNIT"] != p.service() {
		t.Errorf("the line is of unit %q", e["_SYSTEMD_UNIT"])
	}
	if e := p.entry(worker, "long "); e["MESSAGE"] != "long "+strings.Repeat("x", 40000) {
		t.Errorf("of the long line there are %d bytes", len(e["MESSAGE"]))
	}
	log := p.m.run(t, "scgictl", "log", p.name)
	for _, want := range []string{"half a line", "a short line", "Started scgid@midline.service", "serving on"} {
		if !strings.Contains(log, want) {
			t.Errorf("scgictl log lacks %q: %.2000s", want, log)
		}
	}
	if all := p.m.entries(t, worker...); len(all) != 3 {
		t.Errorf("%d lines: %v", len(all), all)
	}
	p.entry([]string{"SCGID_APP=midline", "SCGID_WORKER=1"}, "worker killed by SIGKILL", "PRIORITY", "4")
	p.entry([]string{"SCGID_APP=midline", "SCGID_REQUEST=1"}, "a request was lost with its worker", "PRIORITY", "4", "SCGID_URI", "/die", "SCGID_METHOD", "GET")
}

// This one is too long for a datagram.
func TestALongLineOfTheMasterIsWholeInTheJournal(t *testing.T) {
	p := &pool{t: t, m: booted(t), name: "longline"}
	p.m.write(t, "/srv/scgid-test/long.sh", "exec scgid run --name longline --listen @longline -- sleep $(head -c 120000 /dev/zero | tr '\\0' x)\n")
	p.m.run(t, "systemd-run", "--unit=longline", "sh", "/srv/scgid-test/long.sh")
	t.Cleanup(func() { _, _ = p.m.try("systemctl", "stop", "longline.service") })
	e := p.entry([]string{"-u", "longline.service"}, "serving on=", "SCGID_APP", p.name)
	long := "sleep " + strings.Repeat("x", 120_000)
	if !strings.HasSuffix(e["MESSAGE"], "\""+long+"\"") || e["SCGID_COMMAND"] != long {
		t.Errorf("%d bytes of the message and %d of the field", len(e["MESSAGE"]), len(e["SCGID_COMMAND"]))
	}
}

func TestARestartOfTheJournalLosesNoLine(t *testing.T) {
	p := newPool(t, "rejournal", "[Pool]\nMaxWorkers=1\n[Request]\nAccessLog=yes\n"+wsgi)
	p.ask("/?before")
	p.m.run(t, "systemctl", "restart", "systemd-journald.service")
	p.ask("/log?after")
	p.entry([]string{"-t", "rejournal/w1"}, "a warning of the application")
	p.entry([]string{"-u", p.service()}, "GET /log?after 200 ", "SCGID_APP", p.name)
}

// As in a RootDirectory= that does not have them.
func TestWithoutTheJournalsSocketsLinesComeByStderr(t *testing.T) {
	p := newPool(t, "unreached", "[Pool]\nMaxWorkers=1\n"+wsgi)
	p.dropIn(p.service(), "hidden.conf", "[Service]\nInaccessiblePaths=/run/systemd/journal\n")
	p.ask("/log?x")
	unit := []string{"-u", p.service()}
	p.entry(unit, "serving on=", "PRIORITY", "6", "_TRANSPORT", "stdout", "SYSLOG_IDENTIFIER", "scgid")
	p.entry(unit, "a worker has no stream of its own in the journal", "PRIORITY", "4", "_TRANSPORT", "stdout")
	p.entry(unit, "a warning of the application", "PRIORITY", "4", "SYSLOG_IDENTIFIER", "scgid")
}

// Journald is the reader of all logs of the machine, and may hang.
func TestAJournalThatHangsHoldsUpNeitherControlNorTheStop(t *testing.T) {
	p := newPool(t, "hung", "[Pool]\nMinWorkers=2\nMaxWorkers=2\n[Request]\nAccessLog=yes\n"+wsgi)
	p.ask("/")
	journald := strings.TrimSpace(p.m.run(t, "systemctl", "show", "-P", "MainPID", "systemd-journald.service"))
	signal := func(name string) { p.m.run(t, "sh", "-c", "kill -"+name+" "+journald) }
	t.Cleanup(func() { signal("CONT") })
	within := func(limit time.Duration, argv ...string) string {
		t.Helper()
		began := time.Now()
		out := p.m.run(t, argv...)
		if took := time.Since(began); took > limit {
			t.Errorf("%q took %v", argv, took)
		}
		return out
	}
	signal("STOP")
	l := newLoad(p, 8)
	l.more(3000)
	if bad := l.stop(); len(bad) > 0 {
		t.Errorf("%d requests failed beside %d good ones: %v", len(bad), l.good.Load(), bad[0])
	}
	// Each is a process of its own, which has to be started too.
	within(2*time.Second, "scgictl", "scale", "hung", "--max", "3")
	within(2*time.Second, "scgictl", "pause", "hung")
	within(2*time.Second, "scgictl", "resume", "hung")
	within(2*time.Second, "scgictl", "log-level", "hung", "debug")
	metrics := within(2*time.Second, "scgictl", "metrics", "hung")
	dropped := regexp.MustCompile(`(?m)^scgid_log_lines_dropped_total\{pool="[^"]*"\} ([1-9]\d*)`).FindStringSubmatch(metrics)
	if dropped == nil {
		t.Fatalf("no line was dropped:\n%s", metrics)
	}
	signal("CONT")
	p.entry([]string{"-u", p.service()}, "log lines were dropped because writing them took too long", "SCGID_APP", p.name, "PRIORITY", "4")

	signal("STOP")
	l = newLoad(p, 8)
	l.more(3000)
	l.stop()
	within(10*time.Second, "scgictl", "stop", "hung", "--wait")
	p.waitShow(p.service(), "MainPID", is("0"))
}
