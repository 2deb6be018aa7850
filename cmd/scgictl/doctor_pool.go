package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
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

// A trial is the request that doctor sends before it looks: it starts a pool that
// waits for one.
type trial struct {
	skip string // why none was sent
	code int
	took timing
	got  int64
	page []byte // the beginning of the reply's body
	err  error
	hint string // for err
}

// pageMost is how much of a reply is looked at.
const pageMost = 4096

// try sends the request through the first listener.
func (d *doctor) try(ctx context.Context) trial {
	switch u := d.service(); {
	case len(d.where) == 0:
		return trial{skip: "nowhere to send one"}
	case u != nil && u.failing():
		return trial{skip: doesNotStart}
	}
	to, err := parseEndpoint(d.where[0])
	if err != nil {
		return trial{skip: err.Error()}
	}
	spec := requestSpec{uri: d.uri}
	if d.host != "" {
		spec.headers = []string{"Host: " + d.host}
	}
	a, closed, err := spec.build(ctx, strings.NewReader(""))
	if err != nil {
		return trial{err: err, hint: "--uri names another path"}
	}
	defer closed()
	ctx, cancel := context.WithTimeout(ctx, d.timeout.d)
	defer cancel()
	var t trial
	page := &head{most: pageMost}
	t.took, t.got, t.err = a.send(ctx, to, func(r *http.Response) (io.Writer, error) {
		t.code = r.StatusCode
		return page, nil
	})
	t.page = page.b
	return t
}

// A head keeps the beginning of what is written.
type head struct {
	b    []byte
	most int
}

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), h.most-len(h.b))]...)
	return len(p), nil
}

// doesNotStart is the text of checks whose failure is that of the service's.
const doesNotStart = "the service does not start, see its unit below"

// checkRequest says how the application answered.
func (d *doctor) checkRequest(context.Context) {
	const what = "request"
	u := d.service()
	switch {
	case d.tried.skip != "":
		d.add(skipped, what, d.tried.skip, "")
	case d.tried.err != nil && d.status == nil && u != nil && u.failing():
		d.add(skipped, what, doesNotStart, "")
	default:
		d.gradeReply("GET "+d.uri, d.tried)
	}
}

// gradeReply grades the answer to the request that was tried. A status below 500 is
// never a failure: what "/" means is the application's affair.
func (d *doctor) gradeReply(asked string, t trial) {
	const what = "request"
	answer := fmt.Sprintf("%s: %d, %s, after %s", asked, t.code, plural(uint64(t.got), "byte"), duration(t.took.Whole))
	switch {
	case t.err != nil:
		e := control.AsError(t.err)
		hint := orElse(t.hint, e.Hint)
		if e.Code == control.CodeDenied {
			hint = "run doctor as root"
		}
		d.add(bad, what, asked+": "+e.Text, hint)
	case t.code == http.StatusServiceUnavailable:
		d.add(bad, what, answer+": the pool refuses, or the application does", "scgictl explain "+d.name)
	case t.code >= 500:
		d.add(bad, what, answer+": the application fails", d.logHint(d.target, d.name))
	case t.code == http.StatusBadRequest && refusesHost(t.page):
		d.add(notable, what, fmt.Sprintf("%s: the application does not take the host %q", answer, orElse(d.host, "localhost")), d.hostHint())
	case t.code >= 400:
		d.add(notable, what, answer, "--uri names a path that the application knows, --host its site's name")
	case t.took.Whole > time.Second:
		d.add(notable, what, answer+": that is slow", "scgictl explain "+d.name)
	default:
		d.add(good, what, answer, "")
	}
}

// refusesHost recognises Django's replies to a Host that is not among its
// ALLOWED_HOSTS, without and with DEBUG; see django.views.defaults and
// django.views.debug.
func refusesHost(page []byte) bool {
	return bytes.Contains(page, []byte("<h1>Bad Request (400)</h1>")) || bytes.Contains(page, []byte("DisallowedHost"))
}

// hostHint says how to ask as the web server does.
func (d *doctor) hostHint() string {
	host := "NAME, one of Django's ALLOWED_HOSTS"
	if d.site != "" {
		host = d.site
	}
	which := d.name
	if d.file != "" {
		which = "--config " + d.file
	}
	return "scgictl doctor " + which + " --host " + host
}
