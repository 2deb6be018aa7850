package master

import (
	"strconv"

	"github.com/scgid/scgid/master/process"
)

// group gives the command of a new worker a control group.
func (l *loop) group(c *process.Command, id uint64) {
	if l.workers.Grouping {
		c.Groups, c.GroupName = l.host.Groups, "worker-"+strconv.FormatUint(id, 10)
	}
}

// regroup opens the control groups of workers that have come along over
// execve(2).
func (l *loop) regroup() {
	l.workers.Grouping = l.workers.Grouping && l.host.Groups.Usable()
	for _, w := range l.workers.all {
		if w.Group == "" {
			continue
		}
		var err error
		if w.proc.Group, err = l.host.Groups.Reopen(string(w.Group)); err != nil {
			l.log.Warn("a worker's control group cannot be watched any more", "worker", w.ID, "err", err)
		}
	}
}

// checkGroup looks whether a worker that has just become ready has entered its
// control group, which happens outside our sight. That we have entered one
// ourselves at the start proves that it can be done: so this is said once, and
// nobody tries again.
func (l *loop) checkGroup(w *worker) {
	if l.workers.Grouping && w.proc.Group != nil && w.proc.Group.Empty() && !w.proc.Ended() {
		l.workers.Grouping = false
		l.log.Warn("a worker has not entered its control group; from now on workers share the master's and have no limits of their own",
			"worker", w.ID, "pid", w.proc.PID)
	}
}
