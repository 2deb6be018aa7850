package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

// Descriptors that a master has open besides those of connections and
// workers: logs, listeners, control connections.
const descriptorReserve = 64

// Descriptors for one worker: both ends of its link, its page, its pidfd, three
// files of its control group, and the connection that it works on.
const descriptorsOfWorker = 8

// descriptorNeed is what the master may have open: besides workers there are
// connections that wait, and some whose header is not whole yet. In a reload,
// workers of the old generation that continue with long requests are added: as
// many as there may be workers.
func descriptorNeed(queue, workers int) (need, reload int) {
	parked := 4*workers + 64
	need = descriptorsOfWorker*workers + queue + parked + descriptorReserve
	return need, need + descriptorsOfWorker*workers
}

// checkDescriptors compares the limit of the running master, not the unit's: it may
// have been started with another one.
func (d *doctor) checkDescriptors(context.Context) {
	const what = "descriptors"
	if !d.detailed() || d.status.PID <= 0 {
		d.add(skipped, what, d.noMaster(), "")
		return
	}
	limit, err := openFilesLimit(d.status.PID)
	if err != nil {
		d.add(skipped, what, err.Error(), "")
		return
	}
	need, reload := descriptorNeed(d.status.Queue.Limit, d.status.Limits.MaxWorkers)
	text := fmt.Sprintf("process %d may open %d files and needs up to %d, in a reload up to %d", d.status.PID, limit, need, reload)
	hint := fmt.Sprintf("set LimitNOFILE=%d in scgid@%s.service, or lower MaxWorkers=", max(2*reload, 1024), d.name)
	switch {
	case limit < uint64(need):
		d.add(bad, what, text, hint)
	case limit < uint64(reload):
		d.add(notable, what, text, hint)
	default:
		d.add(good, what, text, "")
	}
}

var openFiles = regexp.MustCompile(`(?m)^Max open files +(\d+|unlimited) `)

// openFilesLimit reads the soft RLIMIT_NOFILE of a process from proc(5).
func openFilesLimit(pid int) (uint64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return 0, err
	}
	m := openFiles.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("/proc/%d/limits does not tell the number of open files", pid)
	}
	if string(m[1]) == "unlimited" {
		return 1 << 62, nil
	}
	return strconv.ParseUint(string(m[1]), 10, 64)
}

// noMaster says why there is nothing to tell.
func (d *doctor) noMaster() string {
	if d.status != nil {
		return "the master does not tell you"
	}
	return "no running master to ask"
}

// checkWorkers says whether the application starts.
func (d *doctor) checkWorkers(context.Context) {
	const what = "workers"
	s := d.status
	if !d.detailed() {
		text := d.noMaster()
		if s == nil && d.passed("configuration") && d.conf != nil {
			text += "; the command " + bounded(d.conf.Worker.ExecStart[0], 120) + " is there"
		}
		d.add(skipped, what, text, "")
		return
	}
	all := fmt.Sprintf("%s of %s failed", count(s.Starts.Failed), plural(s.Starts.Total, "start"))
	now := fmt.Sprintf("%d idle, %d busy, %d starting", s.Workers.Idle, s.Workers.Busy, s.Workers.Starting)
	switch {
	case s.State == control.Failing:
		d.add(bad, what, "the application does not start: "+failures(s.Starts), d.logHint(d.target, d.name))
	case s.Starts.FailuresInRow > 0:
		d.add(notable, what, now+"; new ones do not start: "+failures(s.Starts), d.logHint(d.target, d.name))
	case s.Workers.Total == 0 && s.Limits.MinWorkers > 0 && s.State == control.Running:
		d.add(notable, what, "none is running at this moment; "+all, "scgictl events "+d.name)
	case s.Starts.Failed > 0:
		d.add(good, what, now+"; "+all+", the last one was good", "")
	default:
		d.add(good, what, now+"; no start failed", "")
	}
}

// checkRequest asks the application, through the first listener.
func (d *doctor) checkRequest(ctx context.Context) {
	const what = "request"
	if len(d.where) == 0 {
		d.add(skipped, what, "nowhere to send one", "")
		return
	}
	to, err := parseEndpoint(d.where[0])
	if err != nil {
		d.add(skipped, what, err.Error(), "")
		return
	}
	a, closed, err := requestSpec{uri: d.uri}.build(ctx, strings.NewReader(""))
	if err != nil {
		d.add(bad, what, err.Error(), "--uri names another path")
		return
	}
	defer closed()
	ctx, cancel := context.WithTimeout(ctx, d.timeout.d)
	defer cancel()
	code := 0
	took, got, err := a.send(ctx, to, func(r *http.Response) (io.Writer, error) {
		code = r.StatusCode
		return io.Discard, nil
	})
	d.gradeReply("GET "+d.uri, code, took, got, err)
}

// gradeReply grades the answer to the request that was tried. A status below 500 is
// never a failure: what "/" means is the application's affair.
func (d *doctor) gradeReply(asked string, code int, took timing, got int64, err error) {
	const what = "request"
	answer := fmt.Sprintf("%s: %d, %s, after %s", asked, code, plural(uint64(got), "byte"), duration(took.Whole))
	switch {
	case err != nil:
		e := control.AsError(err)
		hint := e.Hint
		if e.Code == control.CodeDenied {
			hint = "run doctor as root"
		}
		d.add(bad, what, asked+": "+e.Text, hint)
	case code == http.StatusServiceUnavailable:
		d.add(bad, what, answer+": the pool refuses, or the application does", "scgictl explain "+d.name)
	case code >= 500:
		d.add(bad, what, answer+": the application fails", d.logHint(d.target, d.name))
	case code >= 400:
		d.add(notable, what, answer, "--uri names a path that the application knows")
	case took.Whole > time.Second:
		d.add(notable, what, answer+": that is slow", "scgictl explain "+d.name)
	default:
		d.add(good, what, answer, "")
	}
}

// A unitState is what systemd says of a unit.
type unitState struct {
	name, load, active, sub, result string
	restarts                        string
	listens                         []string // addresses, of a socket unit
}

// readUnits asks systemd, if it runs this machine.
func (d *doctor) readUnits(ctx context.Context) []unitState {
	if !d.underSystemd() || !isName(d.name) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	args := []string{"show", "-p", "Id,LoadState,ActiveState,SubState,Result,NRestarts,Listen",
		"scgid@" + d.name + ".socket", "scgid@" + d.name + ".service"}
	if d.own || d.target != nil && d.target.unit == "" && d.uid != 0 {
		args = append([]string{"--user"}, args...)
	}
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	if err != nil {
		return nil
	}
	return parseUnits(string(out))
}

// parseUnits reads what systemctl show prints: KEY=VALUE lines, a blank line
// between units.
func parseUnits(text string) []unitState {
	var all []unitState
	for _, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		var u unitState
		fields := map[string]*string{"Id": &u.name, "LoadState": &u.load, "ActiveState": &u.active,
			"SubState": &u.sub, "Result": &u.result, "NRestarts": &u.restarts}
		for _, line := range strings.Split(part, "\n") {
			key, value, _ := strings.Cut(line, "=")
			if to := fields[key]; to != nil {
				*to = value
			}
			// Listen=/run/scgid/wiki.sock (Stream)
			if addr, ok := strings.CutSuffix(value, " (Stream)"); ok && key == "Listen" {
				u.listens = append(u.listens, addr)
			}
		}
		if u.load == "loaded" {
			all = append(all, u)
		}
	}
	return all
}

// checkUnits comes last: a unit that has failed is the consequence of what was
// found before.
func (d *doctor) checkUnits(context.Context) {
	const what = "unit"
	for _, u := range d.units {
		text := fmt.Sprintf("%s is %s (%s)", u.name, u.active, u.sub)
		if u.restarts != "" && u.restarts != "0" {
			text += ", restarted " + u.restarts + " times"
		}
		switch {
		case u.active == "failed":
			d.add(bad, what, text+": "+u.result, d.systemctl()+"status "+u.name)
		case u.active == "inactive" && strings.HasSuffix(u.name, ".socket"):
			d.add(notable, what, text, d.toStart(d.systemctl()+"enable --now "+u.name+", unless scgid opens its sockets itself"))
		default:
			d.add(good, what, text, "")
		}
	}
}
