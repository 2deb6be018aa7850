package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

// A grade says how bad a finding is.
type grade string

const (
	good    grade = "ok"
	notable grade = "warn"
	bad     grade = "fail"
	skipped grade = "skip" // could not be looked at
)

// A snapshot is a pool at one moment, as explain sees it.
type snapshot struct {
	as       string // what to type behind a verb: NAME, or --socket PATH
	status   control.Status
	requests []control.Request
	refused  uint64        // requests that were refused within over
	over     time.Duration // 0: nobody looked
	log      string        // where the application's own words are
}

// A reason is why requests wait, or are refused, or that they are not.
type reason struct {
	Grade grade  `json:"grade"`
	Cause string `json:"cause"` // for programs
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// why gives the reasons, the gravest kind of them first. There is at least one.
func (r snapshot) why() []reason {
	var all []reason
	for _, look := range []func() []reason{
		r.startFails, r.stopping, r.pause, r.refusals, r.waiting, r.backlogs, r.slowClients, r.foreign,
	} {
		all = append(all, look()...)
	}
	if !slices.ContainsFunc(all, func(x reason) bool { return x.Grade != good }) {
		s := r.status
		all = append([]reason{{good, "nothing-waits", fmt.Sprintf("nothing waits: %d of %s busy, %s idle",
			s.Workers.Busy, plural(s.Limits.MaxWorkers, "worker"), count(s.Workers.Idle)), ""}}, all...)
	}
	return all
}

// startFails is asked first: without workers all other reasons are consequences.
func (r snapshot) startFails() []reason {
	st := r.status.Starts
	if r.status.State != control.Failing && st.FailuresInRow == 0 {
		return nil
	}
	if r.status.State == control.Failing {
		return []reason{{bad, "start-failing", "the application does not start: " + failures(st), r.log}}
	}
	return []reason{{notable, "start-failing", "new workers do not start, those that run serve: " + failures(st), r.log}}
}

// failures says how starts went.
func failures(st control.StartCounts) string {
	text := plural(st.FailuresInRow, "failure")
	if st.FailuresInRow > 1 {
		text += " in a row"
	}
	if st.NextTryIn > 0 {
		text += ", next try in " + seconds(st.NextTryIn)
	}
	if st.LastFailure != "" {
		text += "; last: " + bounded(st.LastFailure, 300)
	}
	return text
}

// logHint says where the log of a pool is; t may be nil.
func (c *ctl) logHint(t *target, pool string) string {
	const text = "the application's own words are in the log"
	switch {
	case !c.underSystemd():
		return text + ", which is scgid's standard error"
	case c.socket != "":
		return text + ": scgictl log --socket " + c.socket
	}
	return text + ": scgictl log " + pool
}

// stopping is a pool at its beginning or end, where waiting is as it should be.
func (r snapshot) stopping() []reason {
	s := r.status
	switch s.State {
	case control.Draining:
		return []reason{{notable, "stopping", fmt.Sprintf("the pool is stopping: it finishes %s and takes no more",
			plural(s.Requests.Active+s.Queue.Waiting, "request")),
			"under systemd new connections wait in the socket until it is started again"}}
	case control.Starting:
		return []reason{{notable, "starting", fmt.Sprintf("the pool is starting: no worker has been ready yet (%s on the way)",
			plural(s.Workers.Starting, "worker")), ""}}
	}
	return nil
}

// pause is an operator's doing. The pool works, but nothing is accepted.
func (r snapshot) pause() []reason {
	s := r.status
	if s.State != control.Paused {
		return nil
	}
	text := "the intake is paused, until somebody resumes it"
	if s.ResumesIn > 0 {
		text = "the intake is paused, and resumes by itself in " + seconds(s.ResumesIn)
	}
	return []reason{{notable, "paused", text + "; new connections wait in the kernel's backlog", "scgictl resume " + r.as}}
}

// refusals tells those of this second from those that were counted before.
func (r snapshot) refusals() []reason {
	s := r.status
	if r.refused > 0 {
		return []reason{{bad, "refusing", fmt.Sprintf("requests are being refused with 503: %s within %s",
			count(r.refused), duration(r.over)), "they waited longer than [Queue] TimeoutSec=, or no worker starts"}}
	}
	if s.Requests.Refused > 0 {
		return []reason{{good, "refused", fmt.Sprintf("%s refused with 503 since the start %s ago, none right now",
			were(s.Requests.Refused, "request"), ago(s.Since)), ""}}
	}
	return nil
}

func were(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun + " was"
	}
	return plural(n, noun) + " were"
}

// waiting explains the master's own queue.
func (r snapshot) waiting() []reason {
	s := r.status
	if s.Queue.Waiting == 0 {
		return nil
	}
	head := plural(s.Queue.Waiting, "request") + " waiting"
	if s.Queue.OldestAge > 0 {
		head += ", the first for " + seconds(s.Queue.OldestAge)
	}
	all := []reason{r.cause(head)}
	if s.Queue.Limit > 0 && s.Queue.Waiting >= s.Queue.Limit {
		all = append(all, reason{notable, "queue-full", fmt.Sprintf("the queue is full (%d of %d): more connections wait in the kernel's backlog, where the master cannot see them",
			s.Queue.Waiting, s.Queue.Limit), "nothing fails by that; [Queue] Max= sets how many are accepted ahead"})
	}
	return all
}

// cause says what the first of the queue waits for.
func (r snapshot) cause(head string) reason {
	s := r.status
	taken := s.Workers.Total - s.Workers.Retiring
	switch {
	case s.State == control.Failing:
		return reason{bad, "no-worker", head + ": no worker starts", "they get 503 after [Queue] TimeoutSec="}
	case s.Workers.Busy >= s.Limits.MaxWorkers:
		return reason{bad, "saturated", fmt.Sprintf("%s: %s (MaxWorkers=%d)%s%s", head,
			allBusy(s.Workers.Busy), s.Limits.MaxWorkers, r.saturatedFor(), r.oldest()), r.moreWorkers()}
	case s.Busy.Held > 0:
		return r.held(head)
	case s.Workers.Starting > 0:
		return reason{notable, "growing", fmt.Sprintf("%s: %d busy, %s on the way%s", head, s.Workers.Busy,
			plural(s.Workers.Starting, "worker"), r.oldest()),
			fmt.Sprintf("more idle workers kept ready: scgictl scale %s --min-idle %d", r.as, s.Limits.MinIdle+max(1, s.Workers.Starting))}
	case s.Workers.Retiring > 0 && s.Workers.Total >= s.Limits.MaxWorkers:
		return reason{notable, "retiring", fmt.Sprintf("%s: %d busy, and %s on the way out still counts towards MaxWorkers=%d", head,
			s.Workers.Busy, plural(s.Workers.Retiring, "worker"), s.Limits.MaxWorkers), "scgictl workers " + r.as}
	case s.Workers.Idle > 0:
		return reason{good, "moment", head + ": only for this moment, " + plural(s.Workers.Idle, "worker") + " idle", ""}
	}
	return reason{notable, "no-worker", fmt.Sprintf("%s: %d of %s busy, and none is being started at this moment", head, taken,
		plural(s.Limits.MaxWorkers, "worker")), "scgictl events " + r.as}
}

// held explains requests that wait though a worker is idle.
func (r snapshot) held(head string) reason {
	s := r.status
	text := fmt.Sprintf("%s for a hot worker: %d busy at the same time are enough for %s",
		head, s.Busy.Limit, plural(s.Busy.CPUs, "CPU"))
	if s.Limits.MaxBusy != control.BusyAuto {
		return reason{notable, "held", fmt.Sprintf("%s for a place: MaxBusy=%s", head, s.Limits.MaxBusy),
			"scgictl scale " + r.as + " --max-busy auto"}
	}
	return reason{good, "held", text, "MaxBusy= in scgid.conf(5) says why that is quicker; off: scgictl scale " + r.as + " --max-busy off"}
}

func allBusy(n int) string {
	if n == 1 {
		return "the only worker is busy"
	}
	return "all " + plural(n, "worker") + " are busy"
}

func (r snapshot) saturatedFor() string {
	if r.status.Saturated <= 0 {
		return ""
	}
	return " for " + seconds(r.status.Saturated)
}

// oldest names the request that has been at work the longest: it is what
// people look for.
func (r snapshot) oldest() string {
	var old *control.Request
	for i, q := range r.requests {
		if q.State == control.RequestActive && (old == nil || q.AgeSeconds > old.AgeSeconds) {
			old = &r.requests[i]
		}
	}
	if old == nil {
		return ""
	}
	return fmt.Sprintf("; the oldest request at work is %s %s, %s, worker %d",
		bounded(old.Method, 20), bounded(old.URI, 120), seconds(old.AgeSeconds), old.Worker)
}

// moreWorkers is the hint where all are busy: either there are too few, or the
// requests take too long.
func (r snapshot) moreWorkers() string {
	now := r.status.Limits.MaxWorkers
	if now >= control.WorkersMax {
		return "MaxWorkers= is at its bound: look for what makes the requests slow, scgictl requests " + r.as
	}
	return fmt.Sprintf("raise MaxWorkers= if the machine has room: scgictl scale %s --max %d; or see what they do: scgictl requests %s",
		r.as, min(max(2*now, now+1), control.WorkersMax), r.as)
}

// backlogs explains what waits in the kernel.
func (r snapshot) backlogs() []reason {
	var all []reason
	for _, l := range r.status.Queue.Listeners {
		if l.Backlog <= 0 {
			continue
		}
		where := bounded(orElse(l.Address, l.Name), 120)
		text := fmt.Sprintf("kernel backlog of listener %s is %s", where, fill(l.Backlog, l.BacklogLimit))
		switch {
		case l.BacklogLimit > 0 && l.Backlog >= l.BacklogLimit:
			all = append(all, reason{bad, "backlog-full", text + ": it is full, and web servers cannot connect (nginx says 502)",
				"raise Backlog= in scgid@" + r.status.Name + ".socket, and net.core.somaxconn"})
		case l.BacklogLimit > 0 && l.Backlog >= l.BacklogLimit-l.BacklogLimit/5:
			all = append(all, reason{bad, "backlog-filling", text + ": when it is full web servers cannot connect",
				"raise Backlog= in scgid@" + r.status.Name + ".socket, and net.core.somaxconn"})
		default:
			all = append(all, reason{notable, "backlog", text, ""})
		}
	}
	return all
}

// fill writes "120/128". On a Unix socket the kernel lets one more in than
// the limit says, see listen(2) and unix(7).
func fill(n, limit int) string {
	if limit <= 0 {
		return count(n)
	}
	return fmt.Sprintf("%d/%d", n, limit)
}

// slowClients are connections without a whole header yet. They hold no worker, so
// they are no reason to worry until they are many.
func (r snapshot) slowClients() []reason {
	parked, most := r.status.Queue.Parked, r.status.Limits.MaxWorkers
	if parked == 0 {
		return nil
	}
	x := reason{good, "parked", plural(parked, "connection") + " with a request that is not whole yet", ""}
	if parked > most {
		x.Grade = notable
		x.Hint = "these clients send slowly; they get 408 after [Request] HeaderTimeoutSec="
	}
	return []reason{x}
}

// foreignFor is how long something that is no request is worth a word.
const foreignFor = 10 * time.Minute

// foreign is a web server that is set up wrongly.
func (r snapshot) foreign() []reason {
	var all []reason
	for _, f := range r.status.Foreign {
		if age := time.Duration(f.AgeSeconds * float64(time.Second)); age < foreignFor {
			all = append(all, reason{notable, "foreign-" + bounded(f.Kind, 20), fmt.Sprintf("%s (%s, the last %s ago)",
				bounded(f.Text, 300), count(f.Count), seconds(f.AgeSeconds)), "scgictl request " + r.as + " shows whether the pool itself answers"})
		}
	}
	return all
}

// bounded cuts text from outside. What makes it harmless is the screen.
func bounded(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
